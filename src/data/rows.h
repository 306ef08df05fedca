// The parsers behind parse_table, one a family of formats, and what they share.
// Internal to src/data.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "data/reader.h"

namespace graft::detail {

// What messages call a text, and where it begins in its file.
struct Origin {
  std::string source;
  int64_t first_line = 1;
};

// ".gz" of "x.GZ".
std::string lower_extension(const Path& path);
// "x.csv" of "x.csv.gz", and of "x.csv".
Path without_gz(Path path);
// What the ending of a file's name stands for, where it stands for a format.
std::optional<TableFormat> format_by_ending(const Path& path);

// What is inside of a file that gzip wrote or that is called so, else the same text. Throws
// InputError opening with the path.
std::string unpacked(std::string text, const Path& path);

// Throw InputError with the way out for a file of other software that is no text: by its first
// bytes (also for UTF-16), and by the ending of its name.
void refuse_foreign_bytes(std::string_view text, const std::string& source);
void refuse_foreign_ending(const Path& path);

// Without a byte order mark.
std::string_view without_mark(std::string_view text);

// TSV, CSV and JSONL: a row is a line, or some lines.
bool has_lines(TableFormat format);

// Throws InputError where text[begin, end) is not UTF-8 or holds a NUL byte.
void check_text(std::string_view text, size_t begin, size_t end, const Origin& origin);

// Of a CSV file that begins with Excel's line "sep=;" (any character) the bytes of this line with
// its end, else 0. The line says what separates fields and is no row.
size_t size_of_separator_line(std::string_view text);

// TSV and CSV. Requires: `text` is UTF-8 without byte order mark and without NUL, unless the
// options keep faulty rows: then its rows are checked here, one by one.
Table parse_delimited(std::string_view text, bool is_csv, const Origin& origin,
                      const TableOptions& options);

// JSONL and JSON. Same requirement.
Table parse_json_lines(std::string_view text, const Origin& origin, const TableOptions& options);
Table parse_json_list(std::string_view text, const Origin& origin, const TableOptions& options);

// The data-to-text sets. Same requirement.
Table parse_e2e(std::string_view text, const std::string& source);
Table parse_webnlg(std::string_view text, const std::string& source);
Table parse_dart(std::string_view text, const std::string& source);

// "source:line:column: "; the column counts bytes from 1.
std::string place(const Origin& origin, std::string_view text, size_t offset);

// True when nothing but blanks and line ends is left from `offset` on.
bool only_blank_lines_follow(std::string_view text, size_t offset);

}  // namespace graft::detail
