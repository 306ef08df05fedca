// What people and other tools read of a study: `graft sweep table`, and `graft report` with its
// page and files.
#pragma once

#include <string>

#include "base/files.h"
#include "cli/commands.h"

namespace graft {

// A study's file: `name` itself, or the one in that folder.
Path store_in(const std::string& name);

// graft sweep table.
void add_study_table(CLI::App& sweep, Action& action);

}  // namespace graft
