// Inside src/data: cells of a table, with messages that name their place, and what fills examples from them.
#pragma once

#include <functional>
#include <string>

#include "data/task.h"

namespace graft::detail {

// "a text", "no such key", ...
std::string kind_shown(CellKind kind);
// "data.tsv:7: column "label": "
std::string cell_at(const Table& table, size_t row, size_t column);
// The cell, which must be a text. Throws InputError.
const std::string& text_cell(const Table& table, size_t row, size_t column);
// Null or no such key.
inline bool is_absent(const Table& table, size_t row, size_t column) {
  const CellKind kind = table.rows[row].kind(column);
  return kind == CellKind::kNull || kind == CellKind::kMissing;
}

// Fills in what a row of `table` says, but for id and embedding. The table and the task must outlive it.
using Filler = std::function<void(size_t row, Example& example)>;
Filler generation_filler(const Table& table, const Task& task, LabelUse use);
Filler choice_filler(const Table& table, const Task& task, LabelUse use);
Filler cloze_filler(const Table& table, const Task& task);  // segments only

}  // namespace graft::detail
