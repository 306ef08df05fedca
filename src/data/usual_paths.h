// What stands under usual names inside lists and objects (usual_names.h), by which a task is
// proposed. Internal to src/data.
#pragma once

#include <string>
#include <vector>

#include "data/reader.h"

namespace graft::detail {

// The paths that a file may have: a prompt with its first answer and all of them, a question with
// its options, a text in the two languages that come first. Outer columns are found whatever the
// case of their names.
std::vector<std::string> usual_paths(const Table& table);

}  // namespace graft::detail
