// The version of the program, as written into adapters and shown by --version. Its one place is the
// project's CMakeLists.txt.
//
// Files have versions of their own, which count up where an older graft would not understand them.
#pragma once

#include <cstdint>
#include <string>

#include "graft/errors.h"

namespace graft {

extern const char* const kVersionText;

// A file that a newer graft wrote: there is nothing wrong with it.
class NewerVersion : public InputError {
 public:
  using InputError::InputError;
};

// Throws NewerVersion where the file `source` has a later version than `newest`, the last one that
// this graft reads.
void check_version(int64_t version, int64_t newest, const std::string& source);

}  // namespace graft
