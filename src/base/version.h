// The version of the program, as written into adapters and shown by --version.
#pragma once

namespace graft {

inline constexpr const char* kVersionText = "0.1.0";

}  // namespace graft
