// Templates and prompts whose places are columns of a table, which must outlive them, as must what
// they are made of. Internal to src/data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/task.h"

namespace graft::detail {

bool has_columns(const Table& table, const Template& text);

class BoundTemplate {
 public:
  // `purpose` says who asks, as for Table::column. Throws InputError when the table lacks a column.
  BoundTemplate(const Template& text, const Table& table, const std::string& purpose);

  // Throws InputError when a cell is neither a text nor a number, or lacks the text that a filter
  // looks for.
  std::string render(size_t row) const;
  // To open a message about the text of a row: its cell where there is one alone.
  std::string at(size_t row) const;
  // The column, where the text of a row is one cell as it stands.
  std::optional<size_t> only_column() const;
  // Whether one of its cells is absent; whether none of them says anything.
  bool lacks_cell(size_t row) const;
  bool is_blank(size_t row) const;

 private:
  struct Place {
    const Template::Piece* piece;
    size_t column;
  };

  std::string filtered(size_t row, const Place& place) const;

  const Table* table_;
  std::vector<Place> places_;
};

class BoundPrompt {
 public:
  BoundPrompt(const Prompt& prompt, const Table& table, const std::string& of_task);

  std::optional<size_t> only_column() const { return column_ ? std::nullopt : text_.only_column(); }
  std::string render(size_t row) const;

 private:
  const Table* table_;
  BoundTemplate text_;
  std::optional<size_t> column_;
  std::optional<BoundTemplate> with_text_;
};

}  // namespace graft::detail
