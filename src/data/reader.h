// Reading a data file into a table of texts: TSV, CSV, JSON Lines, one JSON list of objects, or the
// files of three data-to-text sets.
//
// A table knows columns, rows and the line each row came from; it does not know what a column means
// (that is a task, task.h). Rules shared by all formats: UTF-8 with or without a byte order mark,
// "\n" or "\r\n" ends a line, no NUL byte anywhere. Nothing is trimmed, dropped or repaired: a file
// is read as it stands or refused with path:line:column.
//   TSV    GLUE's kind: a tab separates, a quote is a letter like any other, a field holds neither
//          a tab nor a line break.
//   CSV    RFC 4180: a comma separates; a field in quotes may hold commas, line breaks and doubled
//          quotes. Where the first line has no comma outside of quotes, and either semicolons or
//          tabs, these separate (spreadsheets write them), or what a line "sep=;" before all others
//          says (Excel's, no row), or the caller.
//   JSONL  one object a line.    JSON  one list of objects.
//   E2E, WebNLG, DART
//          as their authors ship them; one row a text. Columns: input (slots or triples on one
//          line), target, and category (WebNLG) or source (DART). What becomes the input is in
//          nlg_rows.cpp. Chosen by a task, never by an extension.
// A file that gzip wrote is read as what is inside; its name ends in .gz behind the format's
// ending. Blank lines are refused between rows and accepted at the end of the file (in a table of
// one TSV or CSV column a blank line is a row whose text is empty, so there they are rows).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/names.h"

namespace graft {

enum class TableFormat { kTsv, kCsv, kJsonl, kJson, kE2e, kWebNlg, kDart };
inline constexpr Name<TableFormat> kTableFormats[] = {
    {TableFormat::kTsv, "tsv"},   {TableFormat::kCsv, "csv"}, {TableFormat::kJsonl, "jsonl"},
    {TableFormat::kJson, "json"}, {TableFormat::kE2e, "e2e"}, {TableFormat::kWebNlg, "webnlg"},
    {TableFormat::kDart, "dart"}};

// What a cell was in the file. TSV and CSV know texts only.
enum class CellKind : uint8_t {
  kText,
  kNumber,  // JSON: an integer keeps its digits; any other number the shortest text that reads back
            // equal, so 1.0 is "1"
  kBoolean,  // JSON: "true" or "false"
  kNull,     // JSON: ""
  kMissing,  // JSON: the object has no such key; ""
  kTree,     // JSON: a list or an object, as compact JSON
};

// TSV and CSV: cells are texts, and a header may name them.
constexpr bool is_delimited(TableFormat format) {
  return format == TableFormat::kTsv || format == TableFormat::kCsv;
}

struct Row {
  std::vector<std::string> cells;  // one a column
  std::vector<CellKind> kinds;     // one a column; empty when all are kText
  int64_t line = 0;                // from 1: where the row begins
  std::string fault =
      {};  // why the row could not be read (TableOptions::keeps_faulty_rows); its cells are empty
  int64_t entry = 0;  // of a JSON list, whose rows may share a line: from 1; else 0

  CellKind kind(size_t column) const { return kinds.empty() ? CellKind::kText : kinds[column]; }
};

// "path:line: ", to open a message with; of a row of a JSON list "path:line: entry 7: ".
std::string row_place(const std::string& source, int64_t line, int64_t entry);
// "line 7", or "entry 7" of a JSON list: what a row is called beside its file.
std::string row_name(int64_t line, int64_t entry);

struct Table {
  std::string source;                // for messages: the path
  std::vector<std::string> columns;  // in file order; JSON: in order of first appearance
  std::vector<Row> rows;             // at least one
  bool has_header = false;           // the names came from the file, not from the caller
  int64_t header_line = 1;           // where they stand in it, from 1
  char delimiter = '\0';             // CSV: what separates fields
  // TSV, CSV: the names of all fields of a row. Several may have none, as at the end of the lines
  // that Excel writes: the first of these is a column, the others are empty in every row and left
  // out.
  std::vector<std::string> fields = {};
  int64_t first_row = 0;  // so many rows of the file came before, in other tables

  // Index of a column, or nothing.
  std::optional<size_t> find_column(std::string_view name) const;
  // Index of a column; throws InputError with a near miss and the list of columns.
  // `purpose` says who asks: "the text of task 'x'".
  size_t column(std::string_view name, std::string_view purpose) const;
  // row_place of a row.
  std::string at(size_t row) const;
};

struct TableOptions {
  // Else by the extension: .tsv .csv .jsonl .json; of the standard input JSONL.
  std::optional<TableFormat> format = {};
  // TSV, CSV: names of the columns of a file without a header line; empty: the first line names
  // them.
  std::vector<std::string> columns = {};
  // TSV, CSV without `columns`: the columns where the first line names none of them and so is a
  // row.
  std::vector<std::string> headerless = {};
  char delimiter = '\0';   // CSV: what separates fields; '\0': as the first line shows
  int64_t first_line = 1;  // of the text in its file, for messages and Row::line
  std::vector<std::string> known_columns = {};  // JSON: of other texts of the file; they come first
  uint64_t known_bytes = 0;  // JSON: of other texts of the file; rows may have keys in proportion
  // TSV, CSV, JSONL: a row that is not as its format wants it becomes one with a fault. What leaves
  // in doubt where rows begin and end (a header, a quote of CSV) is an error all the same.
  bool keeps_faulty_rows = false;
};

// The format that a file name stands for. Throws InputError naming the ways.
TableFormat table_format(const Path& path);
// The format that `options` give a file, or its name, or, of the standard input, JSONL. Throws as
// table_format.
TableFormat format_of(const Path& path, const TableOptions& options);
// Reads a file. Throws InputError as above, IoError if the system refuses.
Table read_table(const Path& path, const TableOptions& options = {});
// Pure: the same from a text in memory. `source` opens every message.
Table parse_table(std::string_view text, TableFormat format, const std::string& source,
                  const TableOptions& options = {});
// The inverse for TSV, CSV (always with a header) and JSONL: parsing gives equal columns and cells.
// Throws InputError when the format cannot hold a cell (a tab or line break in TSV).
std::string write_table(const Table& table, TableFormat format);

}  // namespace graft
