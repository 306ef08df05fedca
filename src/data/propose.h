// A first task for a file of rows: what its columns seem to be, and what its labels are called.
#pragma once

#include <string>

#include "data/task.h"

namespace graft {

struct Proposal {
  Task task;
  std::string yaml;  // of the task, with counts as comments; load_task of it gives `task`
};

// The label is the column that a common name says (label, category, sentiment, ...), else the one
// with the fewest values that come again; the text is the column that a common name says, else the
// longest. Spellings of a label that differ in case or white space alone become one: the commonest,
// of equals the first in the file. A label of many numbers makes a regression; a column of lists of
// turns, prompt and target (also instruction and output, question and answer; as texts or as lists
// of turns) a generation; options and which of them is right a choice; and where a ready task reads
// such rows a comment names it. usual_names.h has the names. Throws InputError where no column can
// be told to be a label, with what each column holds; for a file of other software, by its first
// bytes or its name's ending; and what read_table throws. The format is `given`, else what the name
// tells, else what the rows look like, which the task then names.
Proposal propose_task(const Path& file, std::optional<TableFormat> given = std::nullopt);

// Pure: the same of a table that was read without a task. `name`: of the task. `format`: where the
// extension does not tell.
Proposal propose_task(const Table& table, const std::string& name,
                      std::optional<TableFormat> format = std::nullopt);

}  // namespace graft
