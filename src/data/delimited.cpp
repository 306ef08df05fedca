// TSV and CSV. One pass over the text; a record is a row's fields with the line it begins on.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/printable.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "data/rows.h"

namespace graft::detail {

namespace {

struct Record {
  std::vector<std::string> fields;
  int64_t line = 0;
  bool is_blank_line = false;  // nothing between two line ends, not even a pair of quotes
};

// What separates fields, and whether a field may stand in quotes.
struct Dialect {
  char separator = '\t';
  bool has_quotes = false;
};

// Excel's own way to say what separates the fields of a CSV file: a line before all others, which
// it does not show.
constexpr std::string_view kSeparatorKey = "sep=";

std::string separator_name(char separator) {
  switch (separator) {
    case ',': return "a comma";
    case ';': return "a semicolon";
    case '\t': return "a tab";
    default: return "the delimiter " + quote(std::string(1, separator));
  }
}

// What separates the fields of a CSV file, by its first line: a comma, unless there is none outside
// of quotes while there are semicolons or tabs, of one kind and, where the columns are known, as
// many as these need.
char shown_separator(std::string_view text, size_t num_columns) {
  size_t commas = 0, semicolons = 0, tabs = 0;
  bool is_quoted = false;
  for (const char c : text) {
    if (c == '"') is_quoted = !is_quoted;
    if (is_quoted) continue;
    if (c == '\n') break;
    commas += c == ',' ? 1 : 0;
    semicolons += c == ';' ? 1 : 0;
    tabs += c == '\t' ? 1 : 0;
  }
  const auto fits = [&](size_t count) {
    return count > 0 && (num_columns == 0 || count + 1 == num_columns);
  };
  if (commas == 0 && tabs == 0 && fits(semicolons)) return ';';
  if (commas == 0 && semicolons == 0 && fits(tabs)) return '\t';
  return ',';
}

class RecordReader {
 public:
  // `begin`: behind so many bytes, which are whole lines.
  RecordReader(std::string_view text, size_t begin, const Dialect& dialect, const Origin& origin)
      : text_(text),
        dialect_(dialect),
        origin_(origin),
        end_of_content_(text.find_last_not_of("\r\n") + 1),  // 0 where there is none
        offset_(begin),
        line_(origin.first_line +
              std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(begin), '\n')) {}

  size_t offset() const { return offset_; }
  bool at_end() const { return offset_ >= text_.size(); }
  bool only_line_ends_follow() const { return is_line_end(offset_) && offset_ >= end_of_content_; }

  Record next() {
    Record record;
    record.line = line_;
    const size_t begin = offset_;
    do {
      record.fields.push_back(dialect_.has_quotes ? csv_field() : tsv_field());
    } while (take_separator());
    record.is_blank_line =
        record.fields.size() == 1 && record.fields[0].empty() && offset_ == begin;
    take_line_end();
    return record;
  }

 private:
  bool is_line_end(size_t i) const {
    return i >= text_.size() || text_[i] == '\n' || text_.substr(i, 2) == "\r\n";
  }

  bool take_separator() {
    if (at_end() || text_[offset_] != dialect_.separator) return false;
    ++offset_;
    return true;
  }

  void take_line_end() {
    if (at_end()) return;
    offset_ += text_[offset_] == '\r' ? 2 : 1;
    ++line_;
  }

  std::string tsv_field() {
    const size_t begin = offset_;
    while (!is_line_end(offset_) && text_[offset_] != dialect_.separator) ++offset_;
    return std::string(text_.substr(begin, offset_ - begin));
  }

  std::string csv_field() {
    if (!at_end() && text_[offset_] == '"') return quoted_field();
    const size_t begin = offset_;
    while (!is_line_end(offset_) && text_[offset_] != dialect_.separator) {
      if (text_[offset_] == '"') {
        throw InputError(place(origin_, text_, offset_) +
                         "a quote inside a field without quotes; put the field in quotes and "
                         "double it, or use TSV, where a "
                         "quote is a letter");
      }
      if (text_[offset_] == '\r')
        throw InputError(place(origin_, text_, offset_) +
                         "a carriage return without a line feed; put the field in quotes");
      ++offset_;
    }
    return std::string(text_.substr(begin, offset_ - begin));
  }

  std::string quoted_field() {
    const size_t begin = offset_++;
    std::string out;
    for (;; ++offset_) {
      if (at_end())
        throw InputError(place(origin_, text_, begin) +
                         "this quote is never closed; a quote inside a field in quotes is doubled");
      const char c = text_[offset_];
      if (c == '\n') ++line_;
      if (c == '"') {
        if (text_.substr(offset_ + 1, 1) != "\"") break;
        ++offset_;
      }
      out += c;
    }
    ++offset_;
    if (is_line_end(offset_) || text_[offset_] == dialect_.separator) return out;
    throw InputError(
        place(origin_, text_, offset_) + "expected " + separator_name(dialect_.separator) +
        " or the end of the line after a closing quote, found " + quote(text_.substr(offset_, 1)) +
        "; a quote inside a field in quotes is doubled");
  }

  std::string_view text_;
  Dialect dialect_;
  const Origin& origin_;
  size_t end_of_content_;  // behind it there are only characters of line ends
  size_t offset_;
  int64_t line_;
};

void check_columns(const std::vector<std::string>& columns, const std::string& at) {
  std::set<std::string> seen;
  for (const std::string& column : columns) {
    if (!seen.insert(column).second && !column.empty()) {
      throw InputError(at + "column " + quote(column) +
                       " appears twice; if the first line is a row and not the columns' names, " +
                       "list the columns in the task");
    }
  }
}

// The fields that no column is made of: those without a name behind the first one.
std::vector<size_t> further_unnamed(const std::vector<std::string>& fields) {
  std::vector<size_t> found;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].empty()) found.push_back(i);
  }
  if (!found.empty()) found.erase(found.begin());
  return found;
}

// Takes such fields out of a record, where they must be empty.
void take_out(const std::vector<size_t>& unnamed, const std::string& source, Record& record) {
  if (unnamed.empty()) return;
  std::vector<std::string> kept;
  for (size_t i = 0, next = 0; i < record.fields.size(); ++i) {
    if (next == unnamed.size() || i != unnamed[next]) {
      kept.push_back(std::move(record.fields[i]));
      continue;
    }
    if (!record.fields[i].empty()) {
      throw InputError(source + ":" + std::to_string(record.line) + ": field " +
                       std::to_string(i + 1) + " holds " + quote(record.fields[i]) +
                       ", and the first line has no name for it; name it there, or empty it; if " +
                       "the first line is a row, list the columns in the task");
    }
    ++next;
  }
  record.fields = std::move(kept);
}

bool names_none(const std::vector<std::string>& fields, const std::vector<std::string>& names) {
  return std::find_first_of(fields.begin(), fields.end(), names.begin(), names.end()) ==
         fields.end();
}

// Whether a cell is in quotes, or a piece of one is.
bool has_enclosing_quote(const std::vector<std::string>& cells) {
  return std::any_of(cells.begin(), cells.end(), [](const std::string& cell) {
    return cell.starts_with('"') || cell.ends_with('"');
  });
}

std::string wrong_count(const Table& table, const Record& record, const Dialect& dialect) {
  const size_t expected = table.fields.size();
  std::string message =
      table.source + ":" + std::to_string(record.line) + ": expected " + std::to_string(expected) +
      " " + plural(static_cast<int64_t>(expected), "field") + " (" + listed_names(table.fields) +
      "), found " + (record.is_blank_line ? "a blank line" : std::to_string(record.fields.size()));
  if (record.is_blank_line) return message + "; remove it";
  if (!dialect.has_quotes) {
    const bool has_quotes =  // of a cell with a line break those may be in the row before
        has_enclosing_quote(record.fields) ||
        (!table.rows.empty() && has_enclosing_quote(table.rows.back().cells));
    message += "; a TSV field holds no tab and no line break";
    if (!has_quotes) return message + ": use CSV with quotes or JSONL";
    return message + ", and its quotes are letters; where they enclose fields the file is CSV: " +
           option_name("data_format") + " csv, or format: csv in the task";
  }
  message += "; a field with " + separator_name(dialect.separator) +
             " or a line break is written in quotes";
  const bool is_guess =  // a comma, beside what else may have been meant
      std::any_of(table.fields.begin(), table.fields.end(), [](const std::string& name) {
        return name.find_first_of(";\t|") != std::string::npos;
      });
  if (dialect.separator == ',' && !is_guess) return message;
  return message + ", and delimiter: in the task says what separates fields";
}

// The columns, and the records that are left as rows.
void read_records(RecordReader& reader, std::string_view text, const Origin& origin,
                  const TableOptions& options, const Dialect& dialect, Table& table) {
  const std::vector<size_t> unnamed = further_unnamed(table.fields);
  Record names{table.fields};
  take_out(unnamed, origin.source, names);
  table.columns = std::move(names.fields);
  while (!reader.at_end()) {
    if (table.fields.size() > 1 && reader.only_line_ends_follow())
      break;  // in one column a blank line is an empty text
    const size_t begin = reader.offset();
    Record record = reader.next();
    try {
      if (options.keeps_faulty_rows) check_text(text, begin, reader.offset(), origin);
      if (record.fields.size() != table.fields.size())
        throw InputError(wrong_count(table, record, dialect));
      take_out(unnamed, origin.source, record);
      table.rows.push_back({std::move(record.fields), {}, record.line});
    } catch (const InputError& fault) {
      if (!options.keeps_faulty_rows) throw;
      table.rows.push_back(
          {std::vector<std::string>(table.columns.size()), {}, record.line, fault.what()});
    }
  }
}

}  // namespace

size_t size_of_separator_line(std::string_view text) {
  const size_t separator = kSeparatorKey.size();
  if (!text.starts_with(kSeparatorKey) || text.size() <= separator) return 0;
  if (std::string_view("\"\r\n").find(text[separator]) != std::string_view::npos) return 0;
  std::string_view rest = text.substr(separator + 1);
  if (rest.starts_with('\r')) rest.remove_prefix(1);
  return rest.starts_with('\n') ? text.size() - rest.size() + 1 : 0;
}

Table parse_delimited(std::string_view text, bool is_csv, const Origin& origin,
                      const TableOptions& options) {
  Dialect dialect;
  size_t begin = 0;
  if (is_csv) {
    if (origin.first_line == 1) begin = size_of_separator_line(text);
    const char shown =
        begin > 0 ? text[kSeparatorKey.size()] : shown_separator(text, options.columns.size());
    dialect = {options.delimiter != '\0' ? options.delimiter : shown, true};
  }
  RecordReader reader(text, begin, dialect, origin);
  Table table;
  if (is_csv) table.delimiter = dialect.separator;
  table.source = origin.source;
  table.fields = options.columns;
  if (table.fields.empty() && !options.headerless.empty()) {
    RecordReader first(text, begin, dialect, origin);
    if (names_none(first.next().fields, options.headerless)) table.fields = options.headerless;
  }
  table.has_header = table.fields.empty();
  if (table.has_header) {
    Record names = reader.next();
    if (options.keeps_faulty_rows) check_text(text, 0, reader.offset(), origin);
    table.fields = std::move(names.fields);
    table.header_line = names.line;
    check_columns(table.fields, row_place(origin.source, names.line, 0));
  }
  read_records(reader, text, origin, options, dialect, table);
  if (table.rows.empty()) {
    throw InputError(
        origin.source + ": expected rows below the columns' names, found none" +
        (text.find('\r') != std::string_view::npos && text.find('\n') == std::string_view::npos
             ? "; lines end in a bare carriage return: convert them to line feeds"
             : ""));
  }
  return table;
}

}  // namespace graft::detail
