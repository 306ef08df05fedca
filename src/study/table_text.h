// A study's tables as text: Markdown, CSV and LaTeX.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/names.h"
#include "study/table.h"

namespace graft {

enum class StudyTableFormat { kMarkdown, kCsv, kLatex };
inline constexpr Name<StudyTableFormat> kStudyTableFormats[] = {
    {StudyTableFormat::kCsv, "csv"},
    {StudyTableFormat::kLatex, "latex"},
    {StudyTableFormat::kMarkdown, "markdown"}};

enum class StudyTablePart { kResults, kComparisons, kRanks, kTries };
inline constexpr Name<StudyTablePart> kStudyTableParts[] = {
    {StudyTablePart::kComparisons, "comparisons"},
    {StudyTablePart::kRanks, "ranks"},
    {StudyTablePart::kResults, "results"},
    {StudyTablePart::kTries, "tries"}};

// Rows of cells, all of one width; of CSV full digits and no signs between numbers.
struct TextTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

TextTable text_table(const StudyTable& table, StudyTablePart part, StudyTableFormat format);

// What a reader of the part must know.
std::string table_note(const StudyTable& table, StudyTablePart part);

// With its note, but in CSV.
std::string to_text(const StudyTable& table, StudyTablePart part, StudyTableFormat format);

}  // namespace graft
