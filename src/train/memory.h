// The memory of this process, as the kernel counts it.
#pragma once

#include <cstdint>

namespace graft {

int64_t peak_resident_bytes();   // the most so far

}  // namespace graft
