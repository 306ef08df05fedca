// Inside src/data: the parsers behind parse_table, one a family of formats, and what they share.
#pragma once

#include <string>
#include <string_view>

#include "data/reader.h"

namespace graft::detail {

// TSV and CSV. Requires: `text` is UTF-8 without byte order mark and without NUL.
Table parse_delimited(std::string_view text, bool is_csv, const std::string& source, const std::vector<std::string>& columns);

// JSONL and JSON. Same requirement.
Table parse_json_lines(std::string_view text, const std::string& source);
Table parse_json_list(std::string_view text, const std::string& source);

// The data-to-text sets. Same requirement.
Table parse_e2e(std::string_view text, const std::string& source);
Table parse_webnlg(std::string_view text, const std::string& source);
Table parse_dart(std::string_view text, const std::string& source);

// "source:line:column: "; the column counts bytes from 1.
std::string place(const std::string& source, std::string_view text, size_t offset);

// True when nothing but blanks and line ends is left from `offset` on.
bool only_blank_lines_follow(std::string_view text, size_t offset);

}  // namespace graft::detail
