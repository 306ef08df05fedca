// Cells of a table, with messages that name their place, and what fills examples from them.
// Internal to src/data.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/task.h"

namespace graft::detail {

// "a text", "no such key", ...
std::string kind_shown(CellKind kind);
// "data.tsv:7: column "label": "
std::string cell_at(const Table& table, size_t row, size_t column);
// The cell, which must be a text. Throws InputError.
const std::string& text_cell(const Table& table, size_t row, size_t column);
// "; write 3.51" of "3,51", where a number is wanted; "" of what has no decimal comma.
std::string decimal_point_hint(const std::string& cell);
// Null or no such key.
inline bool is_absent(const Table& table, size_t row, size_t column) {
  const CellKind kind = table.rows[row].kind(column);
  return kind == CellKind::kNull || kind == CellKind::kMissing;
}

// The text that a row gives a template. A template that is a column's name alone takes texts only;
// one with places takes numbers, too. The table and the template must outlive it. Throws InputError
// where the table lacks a column, and at the cell.
using CellText = std::function<std::string(size_t row)>;
CellText text_of_row(const Template& text, const Table& table, const std::string& purpose);

// A list or an object in JSON. Requires: the cell is one. Throws InputError for a repeated key.
Node tree_cell(const Table& table, size_t row, size_t column);
// A cell that is a list in JSON, of what `wanted` says. Throws InputError.
Node list_cell(const Table& table, size_t row, size_t column, const std::string& wanted);
// The texts of a list in a document, and of a cell that is one. Throws InputError.
std::vector<std::string> texts_of(const Node& list, const std::string& at);
std::vector<std::string> texts_cell(const Table& table, size_t row, size_t column);
// A cell that is a list of turns: {role, content} or {from, value}; doc/data.md has the rules.
// Throws InputError, turns counted from 1.
std::vector<Turn> turns_cell(const Table& table, size_t row, size_t column);

// "0.25 -1 3e-2", numbers with blanks between them; in JSON also a list of numbers. Throws
// InputError.
std::vector<float> embedding_cell(const Table& table, size_t row, size_t column);
// "0 1 2" or "0,1,2", distinct rows of a subspace in any order; in JSON also a list of integers.
// Ascending; none where the cell is absent or an empty text. Throws InputError.
std::vector<int64_t> subspace_cell(const Table& table, size_t row, size_t column);

// Of a generation or choice: the row's template or data set, else the task's name.
std::string group_of(const Table& table, size_t row, const Task& task);

// Fills in what a row of `table` says, but for id, embedding and subspace. The table and the task
// must outlive it.
using Filler = std::function<void(size_t row, Example& example)>;
Filler generation_filler(const Table& table, const Task& task, LabelUse use);
Filler choice_filler(const Table& table, const Task& task, LabelUse use);
Filler cloze_filler(const Table& table, const Task& task);  // segments only

}  // namespace graft::detail
