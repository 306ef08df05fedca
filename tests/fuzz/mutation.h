// Damage that files really get, and that hands do to them: by a seeded generator, so that a number
// names a case for good.
#pragma once

#include <string>

#include "base/files.h"
#include "base/random.h"

namespace graft::testing {

// `bytes` with one to three of: bits flipped, bytes replaced, a stretch removed, doubled, moved or
// zeroed, the end cut off, a number in the text changed, a control character, a very long word or a
// quote put in.
std::string mutated(std::string bytes, Random& random);

// Mutates one regular file below `folder`, or, one time in twenty, puts an empty file, a folder, an
// endless device or a socket in its place, or removes it. Returns what was done, for messages.
std::string mutate_file(const Path& folder, Random& random);

}  // namespace graft::testing
