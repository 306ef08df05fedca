// Internal to src/session.
//
// The border of the library: what leaves its public functions is of graft/errors.h.
#pragma once

#include <string>

#include "train/out_of_memory.h"

namespace graft {

// Throws again, as one of graft/errors.h, the exception that is being handled: a refusal of the
// file system as IoError, what only a bug throws as InternalError. Any other is the program's own,
// of its observer or its on_text, and passes as it is.
[[noreturn]] void rethrow_public();

// What f returns; `way_out`: what lowers its need of memory.
template <class F>
auto with_public_errors(const std::string& way_out, const F& f) -> decltype(f()) {
  try {
    return with_memory_need({0, way_out}, f);
  } catch (...) {
    rethrow_public();
  }
}

}  // namespace graft
