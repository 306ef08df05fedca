// JSONL and a JSON list of objects, read by nlohmann's event parser: rows are filled as the events
// come, no tree is built.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "base/counting_iterator.h"
#include "base/document.h"
#include "base/error.h"
#include "base/json_error.h"
#include "base/output_file.h"
#include "base/spelling.h"
#include "data/rows.h"

namespace graft::detail {

namespace {

constexpr size_t kMaxDepth = 64;

// "1.50" -> "1.5", "1.0" -> "1", "1e2" -> "100"; an integer keeps its digits, however many.
std::string canonical_number(double value, const std::string& text) {
  if (text.find_first_of(".eE") == std::string::npos) return text;
  return value == 0 ? "0" : Node::number(value).scalar;
}

class RowBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  RowBuilder(std::string_view text, const Origin& origin, const TableOptions& options, Table& table)
      : text_(text),
        origin_(origin),
        table_(table),
        known_bytes_(options.known_bytes),
        line_(origin.first_line) {
    table_.columns = options.known_columns;
    for (size_t c = 0; c < table_.columns.size(); ++c) index_[table_.columns[c]] = c;
  }

  // Parses text[begin, end): one object, or with `is_list` a list of objects.
  void parse(size_t begin, size_t end, bool is_list) {
    begin_ = begin;
    consumed_ = 0;
    depth_ = 0;
    row_depth_ = is_list ? 2 : 1;
    const char* const data = text_.data();
    nlohmann::json::sax_parse(CountingIterator(data + begin, &consumed_),
                              CountingIterator(data + end, &consumed_), this);
  }

  // Lines are counted on from the last call, so that a whole file costs O(bytes).
  int64_t line_of(size_t offset) {
    if (offset > counted_) {
      const auto at = [&](size_t i) { return text_.begin() + static_cast<std::ptrdiff_t>(i); };
      line_ += std::count(at(counted_), at(offset), '\n');
      counted_ = offset;
    }
    return line_;
  }

  bool null() override { return value("", CellKind::kNull, "null"); }
  bool boolean(bool v) override {
    return value(v ? "true" : "false", CellKind::kBoolean, "a truth value");
  }
  bool number_integer(number_integer_t v) override {
    return value(std::to_string(v), CellKind::kNumber, "a number");
  }
  bool number_unsigned(number_unsigned_t v) override {
    return value(std::to_string(v), CellKind::kNumber, "a number");
  }
  bool number_float(number_float_t v, const string_t& t) override {
    return value(canonical_number(v, t), CellKind::kNumber, "a number");
  }
  bool binary(binary_t&) override { return false; }
  bool string(string_t& v) override {
    if (v.find('\0') != std::string::npos)
      throw InputError(here() + "a text holds the character \\u0000");
    return value(std::move(v), CellKind::kText, "a text");
  }
  bool start_object(std::size_t) override { return open('{'); }
  bool start_array(std::size_t) override { return open('['); }
  bool end_object() override { return close('}'); }
  bool end_array() override { return close(']'); }

  bool key(string_t& name) override {
    if (name.find('\0') != std::string::npos)
      throw InputError(here() + "a key holds the character \\u0000");
    if (depth_ > row_depth_) {
      separate();
      tree_ += nlohmann::json(name).dump() + ":";
      needs_comma_ = false;
      return true;
    }
    const auto [found, is_new] = index_.try_emplace(name, table_.columns.size());
    if (is_new) table_.columns.push_back(name);
    check_shape();
    column_ = found->second;
    Row& row = table_.rows.back();
    if (column_ >= row.cells.size()) {
      row.cells.resize(column_ + 1);
      row.kinds.resize(column_ + 1, CellKind::kMissing);
    }
    if (row.kinds[column_] != CellKind::kMissing)
      throw InputError(here() + "key " + quote(name) + " appears twice in one object");
    return true;
  }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::json::exception& error) override {
    throw InputError(place(origin_, text_, begin_ + (position == 0 ? 0 : position - 1)) +
                     "not valid JSON near " + quote(last_token) + ": " +
                     json_error_reason(error.what()));
  }

 private:
  std::string here() const {
    return place(origin_, text_, begin_ + (consumed_ == 0 ? 0 : consumed_ - 1));
  }

  // Where a row or the list of rows must begin.
  void expect_row(const std::string& found) const {
    if (depth_ >= row_depth_) return;
    const std::string wanted = row_depth_ == 1 ? "one object a line"
                               : depth_ == 0   ? "a list of objects"
                                               : "an object";
    std::string way_out;
    if (row_depth_ == 1 && found == "a list")
      way_out = "; a file that is one JSON list is named .json";
    if (row_depth_ == 2 && depth_ == 0 && found == "an object")
      way_out = "; a file with one object a line is named .jsonl";
    throw InputError(here() + "expected " + wanted + ", found " + found + way_out);
  }

  bool value(std::string text, CellKind kind, const std::string& found) {
    expect_row(found);
    if (depth_ > row_depth_) {
      separate();
      tree_ += kind == CellKind::kText   ? nlohmann::json(text).dump()
               : kind == CellKind::kNull ? "null"
                                         : text;
      return true;
    }
    set(std::move(text), kind);
    return true;
  }

  bool open(char bracket) {
    const bool is_row = bracket == '{' && depth_ + 1 == row_depth_;
    const bool is_list_of_rows = bracket == '[' && depth_ == 0 && row_depth_ == 2;
    if (is_row) {
      table_.rows.emplace_back();
      table_.rows.back().line = line_of(begin_ + consumed_);
      if (row_depth_ == 2) table_.rows.back().entry = std::ssize(table_.rows);
      check_shape();
    } else if (!is_list_of_rows) {
      expect_row(bracket == '{' ? "an object" : "a list");
      if (depth_ == row_depth_) {  // a nested value begins
        tree_.clear();
        needs_comma_ = false;
      }
      separate();
      tree_ += bracket;
      needs_comma_ = false;
    }
    if (++depth_ > kMaxDepth)
      throw InputError(here() + "nested deeper than " + std::to_string(kMaxDepth) + " levels");
    return true;
  }

  bool close(char bracket) {
    --depth_;
    if (depth_ < row_depth_) return true;
    tree_ += bracket;
    needs_comma_ = true;
    if (depth_ == row_depth_) set(std::move(tree_), CellKind::kTree);
    return true;
  }

  void separate() {
    if (needs_comma_) tree_ += ",";
    needs_comma_ = true;
  }

  void set(std::string text, CellKind kind) {
    Row& row = table_.rows.back();
    row.cells[column_] = std::move(text);
    row.kinds[column_] = kind;
  }

  // Every row gets a cell for every column: without a bound, rows of distinct keys would ask for
  // the square of the file's size.
  void check_shape() const {
    if (table_.rows.size() * table_.columns.size() <= 4 * (known_bytes_ + text_.size()) + 65536)
      return;
    throw InputError(here() + "too many different keys: " + std::to_string(table_.columns.size()) +
                     " in " + std::to_string(table_.rows.size()) +
                     " rows; the objects of a data file share their keys");
  }

  std::string_view text_;
  const Origin& origin_;
  Table& table_;
  uint64_t known_bytes_;
  std::unordered_map<std::string, size_t> index_;  // column name -> index
  size_t begin_ = 0, consumed_ = 0;                // where the parser started and how far it came
  size_t counted_ = 0;
  int64_t line_;
  size_t depth_ = 0, row_depth_ = 1;  // brackets open now; inside a row
  size_t column_ = 0;                 // being filled
  std::string tree_;                  // the nested value being read
  bool needs_comma_ = false;
};

// Every row as wide as the table; refuses a file that holds nothing.
void finish(Table& table) {
  if (table.rows.empty()) throw InputError(table.source + ": expected rows, found none");
  const bool is_read = std::any_of(table.rows.begin(), table.rows.end(),
                                   [](const Row& row) { return row.fault.empty(); });
  if (table.columns.empty() && is_read)
    throw InputError(table.source + ": expected objects with keys, found empty ones only");
  for (Row& row :
       table.rows) {  // O(rows x columns), which check_shape bounded by the size of the text
    row.cells.resize(table.columns.size());
    row.kinds.resize(table.columns.size(), CellKind::kMissing);
  }
}

// What nobody named the format of may not be JSON lines at all: the first line tells.
std::string other_format(const Origin& origin, const TableOptions& options) {
  if (options.format || origin.first_line != 1 || !named_descriptor(origin.source)) return "";
  return "; rows without a file name, as of the standard input, are read as JSON lines: " +
         option_name("data_format") + " csv, or format: csv in the task, says otherwise";
}

}  // namespace

Table parse_json_lines(std::string_view text, const Origin& origin, const TableOptions& options) {
  Table table;
  table.source = origin.source;
  RowBuilder builder(text, origin, options, table);
  const auto parse_line = [&](size_t begin, size_t end) {
    if (options.keeps_faulty_rows) check_text(text, begin, end, origin);
    if (text.substr(begin, end - begin).find_first_not_of(" \t\r") == std::string_view::npos)
      throw InputError(place(origin, text, begin) +
                       "expected one object a line, found a blank line; remove it");
    builder.parse(begin, end, /*is_list=*/false);
  };
  const size_t end_of_rows = text.find_last_not_of(" \t\r\n") + 1;  // blank lines may follow
  for (size_t begin = 0; begin < end_of_rows;) {
    const size_t end = std::min(text.find('\n', begin), text.size()),
                 whole_rows = table.rows.size();
    try {
      parse_line(begin, end);
    } catch (const InputError& fault) {
      const std::string message = fault.what() + (begin == 0 ? other_format(origin, options) : "");
      if (!options.keeps_faulty_rows) throw InputError(message);
      table.rows.resize(whole_rows);  // without what the line began
      table.rows.push_back({{}, {}, builder.line_of(begin), message});
    }
    begin = end + 1;
  }
  finish(table);
  return table;
}

Table parse_json_list(std::string_view text, const Origin& origin, const TableOptions& options) {
  Table table;
  table.source = origin.source;
  RowBuilder builder(text, origin, options, table);
  builder.parse(0, text.size(), /*is_list=*/true);
  finish(table);
  return table;
}

}  // namespace graft::detail
