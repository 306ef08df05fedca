#include "data/column_values.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/wording.h"
#include "data/task.h"
#include "text/unicode.h"

namespace graft::detail {

namespace {

// White space at the ends goes; labels may not have any.
std::string trimmed(const std::string& text) {
  const std::u32string all = decode_utf8(text, "a label");
  size_t begin = 0, end = all.size();
  while (begin < end && is_space(all[begin])) ++begin;
  while (end > begin && is_space(all[end - 1])) --end;
  return to_utf8(std::u32string_view(all).substr(begin, end - begin));
}

void add_spelling(const std::string& cell, Group& group) {
  ++group.rows;
  const auto same = std::find_if(group.spellings.begin(), group.spellings.end(),
                                 [&](const Group::Spelling& s) { return s.text == cell; });
  if (same == group.spellings.end()) group.spellings.push_back({cell, 1});
  else ++same->rows;
}

}  // namespace

std::string folded(const std::string& text) {
  std::string out;
  bool has_gap = false;
  for (const char32_t c : decode_utf8(text, "a cell")) {
    if (is_space(c)) {
      has_gap = true;
      continue;
    }
    if (has_gap && !out.empty()) out += ' ';
    has_gap = false;
    append_utf8(out, lower(c));
  }
  return out;
}

std::string Group::name() const {
  const auto most =
      std::max_element(spellings.begin(), spellings.end(),
                       [](const Spelling& a, const Spelling& b) { return a.rows < b.rows; });
  const std::string text = trimmed(most->text);
  return without_zero_fraction(text).value_or(text);
}

bool Group::comes_before(const Group& other) const {
  const std::string a = name(), b = other.name();
  const std::optional<double> x = finite_number(a), y = finite_number(b);
  return x && y && *x != *y ? *x < *y : a < b;
}

Column column_of(const Table& table, size_t index) {
  Column out;
  out.name = table.columns[index];
  out.index = index;
  out.rows = static_cast<int64_t>(table.rows.size());
  std::unordered_map<std::string, size_t> places;
  for (const Row& row : table.rows) {
    const std::string& cell = row.cells[index];
    const bool is_tree = row.kind(index) == CellKind::kTree;
    const std::string text = is_tree ? cell : folded(cell);
    if (text.empty()) {
      if (out.absent++ == 0) out.first_absent = row_name(row.line, row.entry);
      continue;
    }
    const std::optional<std::string> whole = without_zero_fraction(text);
    const bool is_number = finite_number(cell).has_value();
    const bool has_point = cell.find_first_of(".eE") != std::string::npos;
    out.trees += is_tree ? 1 : 0;
    if (is_tree && out.first_tree.empty() && cell != "[]" && cell != "{}") out.first_tree = cell;
    out.numbers += is_number ? 1 : 0;
    out.fractions += is_number && has_point && !whole ? 1 : 0;
    out.characters += static_cast<int64_t>(cell.size());
    const auto [place, is_new] = places.try_emplace(whole.value_or(text), out.groups.size());
    if (is_new) out.groups.emplace_back();
    add_spelling(cell, out.groups[place->second]);
  }
  return out;
}

bool is_amount(const Column& column) {
  return column.is_number() && (column.fractions > 0 || column.groups.size() > 20);
}

}  // namespace graft::detail
