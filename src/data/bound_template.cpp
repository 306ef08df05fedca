#include "data/bound_template.h"

#include <algorithm>

#include "base/error.h"
#include "data/cells.h"

namespace graft::detail {

bool has_columns(const Table& table, const Template& text) {
  const std::vector<std::string> columns = text.columns();
  return std::all_of(columns.begin(), columns.end(), [&](const std::string& column) {
    return table.find_column(column).has_value();
  });
}

BoundTemplate::BoundTemplate(const Template& text, const Table& table, const std::string& purpose)
    : table_(&table) {
  for (const Template::Piece& piece : text.pieces)
    places_.push_back({&piece, piece.column.empty() ? 0 : table.column(piece.column, purpose)});
}

std::string BoundTemplate::render(size_t row) const {
  std::string out;
  for (const Place& place : places_)
    out += place.piece->column.empty() ? place.piece->literal : filtered(row, place);
  return out;
}

std::string BoundTemplate::at(size_t row) const {
  std::vector<size_t> columns;
  for (const Place& place : places_) {
    if (!place.piece->column.empty()) columns.push_back(place.column);
  }
  return columns.size() == 1 ? cell_at(*table_, row, columns.front()) : table_->at(row);
}

std::optional<size_t> BoundTemplate::only_column() const {
  const bool is_cell =
      places_.size() == 1 && !places_[0].piece->column.empty() && places_[0].piece->filters.empty();
  return is_cell ? std::optional<size_t>(places_[0].column) : std::nullopt;
}

bool BoundTemplate::lacks_cell(size_t row) const {
  return std::any_of(places_.begin(), places_.end(), [&](const Place& place) {
    return !place.piece->column.empty() && is_absent(*table_, row, place.column);
  });
}

bool BoundTemplate::is_blank(size_t row) const {
  bool has_cell = false;
  for (const Place& place : places_) {
    if (place.piece->column.empty()) continue;
    has_cell = true;
    if (!is_absent(*table_, row, place.column) && !table_->rows[row].cells[place.column].empty())
      return false;
  }
  return has_cell;
}

std::string BoundTemplate::filtered(size_t row, const Place& place) const {
  const bool is_number = table_->rows[row].kind(place.column) == CellKind::kNumber;
  const std::string& cell =
      is_number ? table_->rows[row].cells[place.column] : text_cell(*table_, row, place.column);
  try {
    return apply_filters(cell, place.piece->filters);
  } catch (const InputError& fault) {
    throw InputError(cell_at(*table_, row, place.column) + fault.what());
  }
}

BoundPrompt::BoundPrompt(const Prompt& prompt, const Table& table, const std::string& of_task)
    : table_(&table), text_(prompt.text, table, "the prompt" + of_task) {
  if (!prompt.with_column) return;
  column_ = table.column(*prompt.with_column, "the prompt" + of_task);
  with_text_.emplace(*prompt.with_text, table, "the prompt" + of_task);
}

std::string BoundPrompt::render(size_t row) const {
  const bool is_with =
      column_ && !is_absent(*table_, row, *column_) && !text_cell(*table_, row, *column_).empty();
  return is_with ? with_text_->render(row) : text_.render(row);
}

}  // namespace graft::detail
