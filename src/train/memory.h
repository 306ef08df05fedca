// The memory of this process, as the kernel counts it.
#pragma once

#include <cstdint>

namespace graft {

int64_t peak_resident_bytes();  // the most so far

// Gives free pages of the heap back to the system; a malloc keeps them for itself otherwise.
void release_free_memory();

}  // namespace graft
