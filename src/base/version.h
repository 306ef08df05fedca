// The version of the program, as written into adapters and shown by --version. Its one place is the
// project's CMakeLists.txt.
#pragma once

namespace graft {

extern const char* const kVersionText;

}  // namespace graft
