// A study's tables as text: Markdown, CSV and LaTeX.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/names.h"
#include "study/table.h"

namespace graft {

enum class TableFormat { kMarkdown, kCsv, kLatex };
inline constexpr Name<TableFormat> kTableFormats[] = {{TableFormat::kCsv, "csv"},
                                                      {TableFormat::kLatex, "latex"},
                                                      {TableFormat::kMarkdown, "markdown"}};

enum class TablePart { kResults, kComparisons, kRanks };
inline constexpr Name<TablePart> kTableParts[] = {{TablePart::kComparisons, "comparisons"},
                                                  {TablePart::kRanks, "ranks"},
                                                  {TablePart::kResults, "results"}};

// Rows of cells, all of one width; of CSV full digits and no signs between numbers.
struct TextTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

TextTable text_table(const StudyTable& table, TablePart part, TableFormat format);

// With what belongs below it as a note, but in CSV.
std::string to_text(const StudyTable& table, TablePart part, TableFormat format);

}  // namespace graft
