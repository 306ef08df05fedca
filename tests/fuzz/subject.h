// What the driver of mutations reads: a kind of folder, a sound one of it, and the reader with all
// that may come out of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/files.h"

namespace graft::testing {

struct Subject {
  std::string name;
  // Fills an empty folder with a sound case; `number` chooses among several.
  std::function<void(const Path& folder, uint64_t number)> make;
  // Reads the folder as the product does. Throws InputError or IoError for what it refuses; what it
  // accepts is used, and must be what was read: InternalError where it is not.
  std::function<void(const Path& folder)> read;
};

const std::vector<Subject>& subjects();

}  // namespace graft::testing
