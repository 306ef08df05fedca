#include "data/reader.h"

#include <algorithm>
#include <new>
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

constexpr const char* kUnpack = "unpack the file first, or pack it with gzip";

// Files of other software that are no text: by the ending of their name, and by bytes that stand at
// a place of each.
struct Foreign {
  std::vector<std::string_view> endings;
  size_t at;
  std::string_view bytes;  // empty: their bytes do not tell
  const char *found, *way_out;
};

const std::vector<Foreign>& foreign_files() {
  using namespace std::string_view_literals;
  static const std::vector<Foreign> kFiles = {
      {{".parquet"},
       0,
       "PAR1\x15"sv,
       "a Parquet file",
       "write its rows as JSON lines, with pandas: read_parquet(FILE).to_json(\"rows.jsonl\", "
       "orient=\"records\", lines=True)"},
      {{".feather"},
       0,
       "ARROW1\0"sv,
       "an Arrow file",
       "write its rows as JSON lines, with pandas: read_feather(FILE).to_json(\"rows.jsonl\", "
       "orient=\"records\", lines=True)"},
      {{".arrow"},
       0,
       "\xFF\xFF\xFF\xFF"sv,
       "an Arrow stream",
       "write its rows as JSON lines, with datasets: "
       "Dataset.from_file(FILE).to_json(\"rows.jsonl\")"},
      {{".bz2"}, 4, "1AY&SY"sv, "a file packed by bzip2", kUnpack},
      {{".xz"},
       0,
       "\xFD"
       "7zXZ\0"sv,
       "a file packed by xz",
       kUnpack},
      {{".zst"}, 0, "\x28\xB5\x2F\xFD"sv, "a file packed by zstd", kUnpack},
      {{".zip"}, 0, ""sv, "", kUnpack},
      {{".xlsx", ".xls", ".ods"}, 0, ""sv, "", "save the sheet of rows as CSV"},
      {{},
       0,
       "PK\x03\x04"sv,
       "an Excel workbook or another ZIP archive",
       "save the sheet of rows as CSV, or unpack the archive"}};
  return kFiles;
}

std::string ending_fault(const Path& path, const std::string& way_out) {
  return path.string() +
         ": expected a file name ending in .tsv, .csv, .jsonl or .json, or in one of these and "
         ".gz, found " +
         quote(detail::lower_extension(detail::without_gz(path))) + "; " + way_out;
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

void refuse_foreign_bytes(std::string_view text, const std::string& source) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    throw InputError(source +
                     ": expected UTF-8, found UTF-16; save the file as UTF-8 (\"CSV UTF-8\" in "
                     "Excel), or convert it with iconv -f UTF-16 -t UTF-8");
  }
  for (const Foreign& file : foreign_files()) {
    const std::string_view there = text.substr(std::min(file.at, text.size()), file.bytes.size());
    if (!file.bytes.empty() && there == file.bytes)
      throw InputError(source + ": expected text, found " + file.found + "; " + file.way_out);
  }
}

void refuse_foreign_ending(const Path& path) {
  const std::string ending = lower_extension(without_gz(path));
  for (const Foreign& file : foreign_files()) {
    if (std::find(file.endings.begin(), file.endings.end(), ending) != file.endings.end())
      throw InputError(ending_fault(path, file.way_out));
  }
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
  throw InputError((has_header ? row_place(source, header_line, 0) : source + ": ") + "no column " +
                   quote(name) + " for " + std::string(purpose) + did_you_mean(name, columns) +
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
  detail::refuse_foreign_ending(path);
  throw InputError(
      ending_fault(path, "rename the file, or name its format in the task: format: tsv"));
}

TableFormat format_of(const Path& path, const TableOptions& options) {
  if (options.format) return *options.format;
  return named_descriptor(path) ? TableFormat::kJsonl : table_format(path);
}

Table read_table(const Path& path, const TableOptions& options) {
  std::string text = read_file(path);  // before its format: that nothing is there is told first
  const TableFormat format = format_of(path, options);
  const size_t size = text.size();
  try {
    return parse_table(detail::unpacked(std::move(text), path), format, path.string(), options);
  } catch (const std::bad_alloc&) {  // its rows take more memory than its bytes
    throw IoError(beyond_memory_text(path, size));
  }
}

Table parse_table(std::string_view text, TableFormat format, const std::string& source,
                  const TableOptions& options) {
  if (options.first_line == 1) detail::refuse_foreign_bytes(text, source);
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
  if (format == TableFormat::kCsv && detail::size_of_separator_line(out) > 0)
    out.insert(0, "sep=,\n");  // columns that are called so: readers take the first line
  if (out.starts_with(kByteOrderMark))
    out.insert(0, kByteOrderMark);  // a column name that begins with one: readers take the first
  return out;
}

}  // namespace graft
