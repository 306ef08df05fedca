// `graft sweep table`, and what it shares with `graft report`.
#pragma once

#include <string>

#include "base/files.h"
#include "cli/commands.h"
#include "study/table.h"

namespace graft {

// A study's file: `name` itself, or the one in that folder. Throws InputError where a folder has
// none, with what it has.
Path store_in(const std::string& name);

// Which scores count, and what is compared.
void add_table_options(CLI::App& command, StudyTableOptions& options);

// graft sweep table.
void add_study_table(CLI::App& sweep, Action& action);

}  // namespace graft
