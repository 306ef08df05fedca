// Cells that hold several numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "data/cells.h"

namespace graft::detail {

namespace {

const char* past_blanks(const char* at, const char* end) {
  return std::find_if(at, end, [](char c) { return c != ' '; });
}

// "0 1 2" or "0,1,2"; nothing where it is neither.
std::optional<std::vector<int64_t>> listed_integers(const std::string& text) {
  std::vector<int64_t> out;
  const char *const end = text.data() + text.size(), *at = past_blanks(text.data(), end);
  while (true) {
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error != std::errc{}) return std::nullopt;
    out.push_back(value);
    at = past_blanks(stop, end);
    if (at == end) return out;
    if (*at == ',') at = past_blanks(at + 1, end);
    else if (at == stop) return std::nullopt;
  }
}

// The text of a list's elements, as a cell of text has them.
std::string list_text(const Table& table, size_t row, size_t column) {
  std::string text;
  for (const Node& item : list_cell(table, row, column, "a list of integers").items) {
    const bool is_number = item.kind == Node::Kind::kScalar && !item.is_string;
    text += (text.empty() ? "" : ",") + (is_number ? item.scalar : to_json(item, -1));
  }
  if (text.empty()) {
    throw InputError(cell_at(table, row, column) +
                     "expected rows of a subspace, found an empty list; null says that all act");
  }
  return text;
}

}  // namespace

std::vector<float> embedding_cell(const Table& table, size_t row, size_t column) {
  const bool is_list = table.rows[row].kind(column) == CellKind::kTree &&
                       table.rows[row].cells[column].starts_with("[");
  std::string text = is_list ? table.rows[row].cells[column] : text_cell(table, row, column);
  if (is_list) {
    text = text.substr(1, text.size() - 2);
    std::replace(text.begin(), text.end(), ',', ' ');
  }
  std::vector<float> values;
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    if (*at == ' ') {
      ++at;
      continue;
    }
    float value = 0;
    const auto [stop, error] = std::from_chars(at, end, value);
    const bool ends_well = stop == end || *stop == ' ';
    if (error != std::errc{} || !ends_well || !std::isfinite(value)) {
      throw InputError(cell_at(table, row, column) +
                       "expected finite numbers with blanks between them, found " +
                       quote(std::string(at, end)));
    }
    values.push_back(value);
    at = stop;
  }
  if (values.empty())
    throw InputError(cell_at(table, row, column) + "expected an embedding, found an empty field");
  return values;
}

std::vector<int64_t> subspace_cell(const Table& table, size_t row, size_t column) {
  if (is_absent(table, row, column)) return {};
  const CellKind kind = table.rows[row].kind(column);
  const bool is_plain = kind == CellKind::kText || kind == CellKind::kNumber;
  const std::string text = is_plain ? table.rows[row].cells[column] : list_text(table, row, column);
  if (text.empty()) return {};
  std::optional<std::vector<int64_t>> rows = listed_integers(text);
  if (!rows || *std::min_element(rows->begin(), rows->end()) < 0) {
    throw InputError(cell_at(table, row, column) +
                     "expected rows of a subspace, counted from 0, such as 0 1 2 or 0,1,2, found " +
                     quote(text));
  }
  std::sort(rows->begin(), rows->end());
  if (const auto twice = std::adjacent_find(rows->begin(), rows->end()); twice != rows->end())
    throw InputError(cell_at(table, row, column) + "expected distinct rows, found " +
                     std::to_string(*twice) + " twice");
  return std::move(*rows);
}

}  // namespace graft::detail
