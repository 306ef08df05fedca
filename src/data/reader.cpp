#include "data/reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/ascii.h"
#include "base/error.h"
#include "base/gzip.h"
#include "base/output_file.h"
#include "base/utf8.h"
#include "data/row_writer.h"
#include "data/rows.h"

namespace graft {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::string json_row(const Table& table, const Row& row) {
  const auto quoted = [](const std::string& text) { return nlohmann::json(text).dump(); };
  std::string out;
  for (size_t c = 0; c < row.cells.size(); ++c) {
    if (row.kind(c) == CellKind::kMissing) continue;
    out += (out.empty() ? "" : ", ") + quoted(table.columns[c]) + ": ";
    if (row.kind(c) == CellKind::kText) out += quoted(row.cells[c]);
    else if (row.kind(c) == CellKind::kNull) out += "null";
    else out += row.cells[c];
  }
  return "{" + out + "}\n";
}

// What its first bytes say to be no UTF-8.
void check_first_bytes(std::string_view text, const std::string& source) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    throw InputError(source +
                     ": expected UTF-8, found UTF-16; save the file as UTF-8 (\"CSV UTF-8\" in "
                     "Excel), or convert it with iconv -f UTF-16 -t UTF-8");
  }
  if (text.starts_with("PK\x03\x04")) {
    throw InputError(source +
                     ": expected text, found an Excel workbook or another ZIP archive; save the "
                     "sheet of rows as CSV, or unpack the archive");
  }
}

}  // namespace

namespace detail {

std::string lower_extension(const Path& path) { return lower_ascii(path.extension().string()); }

Path without_gz(Path path) {
  return lower_extension(path) == ".gz" ? path.replace_extension() : path;
}

std::optional<TableFormat> format_by_ending(const Path& path) {
  const std::string extension = lower_extension(without_gz(path));
  if (extension == ".tsv") return TableFormat::kTsv;
  if (extension == ".csv") return TableFormat::kCsv;
  if (extension == ".jsonl") return TableFormat::kJsonl;
  if (extension == ".json") return TableFormat::kJson;
  return std::nullopt;
}

std::string unpacked(std::string text, const Path& path) {
  const bool is_packed = is_gzip(text) || lower_extension(path) == ".gz";
  return is_packed ? gunzip(text, path.string(), kMostUnpacked) : std::move(text);
}

std::string_view without_mark(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

std::string place(const Origin& origin, std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + origin.first_line;
  const size_t line_start =
      before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  return origin.source + ":" + std::to_string(line) + ":" +
         std::to_string(before.size() - line_start + 1) + ": ";
}

bool has_lines(TableFormat format) { return format == TableFormat::kJsonl || is_delimited(format); }

void check_text(std::string_view text, size_t begin, size_t end, const Origin& origin) {
  for (size_t i = begin; i < end;) {
    if (text[i] == '\0') {
      throw InputError(place(origin, text, i) +
                       "expected text, found a NUL byte; is this a binary or UTF-16 file?");
    }
    const size_t length = utf8_sequence(text, i);
    if (length == 0) {
      throw InputError(
          place(origin, text, i) + "expected UTF-8, found " + quote(text.substr(i, 4)) +
          "; convert the file first, for instance with iconv -f WINDOWS-1252 -t UTF-8");
    }
    i += length;
  }
}

bool only_blank_lines_follow(std::string_view text, size_t offset) {
  return text.find_first_not_of(" \t\r\n", offset) == std::string_view::npos;
}

}  // namespace detail

std::optional<size_t> Table::find_column(std::string_view name) const {
  const auto found = std::find(columns.begin(), columns.end(), name);
  if (found == columns.end()) return std::nullopt;
  return static_cast<size_t>(found - columns.begin());
}

size_t Table::column(std::string_view name, std::string_view purpose) const {
  if (const auto index = find_column(name)) return *index;
  std::vector<std::string> shown;
  for (const std::string& column : columns) shown.push_back(quote(column));
  throw InputError(source + (has_header ? ":1" : "") + ": no column " + quote(name) + " for " +
                   std::string(purpose) + did_you_mean(name, columns) +
                   "; columns here: " + joined(shown));
}

std::string row_place(const std::string& source, int64_t line, int64_t entry) {
  return source + ":" + std::to_string(line) + ": " +
         (entry > 0 ? "entry " + std::to_string(entry) + ": " : "");
}

std::string row_name(int64_t line, int64_t entry) {
  return entry > 0 ? "entry " + std::to_string(entry) : "line " + std::to_string(line);
}

std::string Table::at(size_t row) const {
  return row_place(source, rows.at(row).line, rows.at(row).entry);
}

TableFormat table_format(const Path& path) {
  if (const std::optional<TableFormat> format = detail::format_by_ending(path)) return *format;
  const std::string extension = detail::lower_extension(detail::without_gz(path));
  const bool is_workbook = extension == ".xlsx" || extension == ".xls" || extension == ".ods";
  const bool is_packed =
      extension == ".zst" || extension == ".xz" || extension == ".bz2" || extension == ".zip";
  throw InputError(path.string() +
                   ": expected a file name ending in .tsv, .csv, .jsonl or .json, or in one of "
                   "these and .gz, found " +
                   quote(extension) +
                   (is_packed ? "; unpack the file first, or pack it with gzip"
                    : is_workbook
                        ? "; save the sheet of rows as CSV"
                        : "; rename the file, or name its format in the task: format: tsv"));
}

TableFormat format_of(const Path& path, const TableOptions& options) {
  if (options.format) return *options.format;
  return named_descriptor(path) ? TableFormat::kJsonl : table_format(path);
}

Table read_table(const Path& path, const TableOptions& options) {
  std::string text = read_file(path);  // before its format: that nothing is there is told first
  const TableFormat format = format_of(path, options);
  return parse_table(detail::unpacked(std::move(text), path), format, path.string(), options);
}

Table parse_table(std::string_view text, TableFormat format, const std::string& source,
                  const TableOptions& options) {
  if (options.first_line == 1) check_first_bytes(text, source);
  text = detail::without_mark(text);
  const detail::Origin origin{source, options.first_line};
  if (!options.keeps_faulty_rows || !detail::has_lines(format))
    detail::check_text(text, 0, text.size(), origin);
  if (text.empty()) throw InputError(source + ": expected rows, found an empty file");
  switch (format) {
    case TableFormat::kTsv: return detail::parse_delimited(text, /*is_csv=*/false, origin, options);
    case TableFormat::kCsv: return detail::parse_delimited(text, /*is_csv=*/true, origin, options);
    case TableFormat::kJsonl: return detail::parse_json_lines(text, origin, options);
    case TableFormat::kJson: return detail::parse_json_list(text, origin, options);
    case TableFormat::kE2e: return detail::parse_e2e(text, source);
    case TableFormat::kWebNlg: return detail::parse_webnlg(text, source);
    case TableFormat::kDart: return detail::parse_dart(text, source);
  }
  throw InternalError("unknown table format");
}

std::string write_table(const Table& table, TableFormat format) {
  ensure(detail::has_lines(format), "write_table writes TSV, CSV and JSONL");
  std::string out;
  if (format == TableFormat::kJsonl) {
    for (const Row& row : table.rows) out += json_row(table, row);
    return out;
  }
  const char separator = format == TableFormat::kTsv ? '\t' : ',';
  const auto write_line = [&](size_t row, const std::vector<std::string>& cells) {
    for (size_t c = 0; c < cells.size(); ++c) {
      if (c > 0) out += separator;
      out += delimited_cell(cells[c], format,
                            table.rows.empty() ? table.source + ": " : table.at(row));
    }
    out += '\n';
  };
  write_line(0, table.columns);
  for (size_t r = 0; r < table.rows.size(); ++r) write_line(r, table.rows[r].cells);
  if (out.starts_with(kByteOrderMark))
    out.insert(0, kByteOrderMark);  // a column name that begins with one: readers take the first
  return out;
}

}  // namespace graft
