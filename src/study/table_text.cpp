#include "study/table_text.h"

#include <algorithm>
#include <cmath>

#include "base/document.h"
#include "base/wording.h"
#include "data/row_writer.h"

namespace graft {

namespace {

// "0.8123": as many digits as tell scores of hundreds of rows apart.
std::string score_text(double value) {
  char buffer[64];
  const bool is_share = std::abs(value) < 100;
  std::snprintf(buffer, sizeof buffer, is_share ? "%.4f" : "%.2f", value);
  return buffer;
}

std::string p_text(double p) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, p < 0.0001 ? "%.0e" : "%.4f", p);
  return buffer;
}

std::string full(double value) { return Node::number(value).scalar; }
std::string full(const std::optional<double>& value) { return value ? full(*value) : ""; }

std::string percent_text(double share) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g %%", 100 * share);
  return buffer;
}

std::string seconds_text(const std::optional<double>& seconds) {
  if (!seconds) return "-";
  return *seconds < 1000 ? number_text(*seconds) : count_text(std::llround(*seconds));
}

std::string or_dash(const std::optional<double>& value) { return value ? score_text(*value) : "-"; }

std::string interval_text(const std::optional<Interval>& interval) {
  if (!interval) return "-";
  return score_text(interval->low) + " to " + score_text(interval->high);
}

std::string plus_minus(double mean, const std::optional<Interval>& interval,
                       StudyTableFormat format) {
  if (!interval) return score_text(mean);
  const char* sign = format == StudyTableFormat::kLatex ? " $\\pm$ " : " ± ";
  return score_text(mean) + sign + score_text((interval->high - interval->low) / 2);
}

void put_factors(const Factors& factors, bool as_header, std::vector<std::string>& row) {
  for (const auto& [name, value] : factors) row.push_back(as_header ? name : value);
}

TextTable results(const StudyTable& table, StudyTableFormat format) {
  TextTable out;
  const bool is_csv = format == StudyTableFormat::kCsv;
  put_factors(table.cells.front().factors, true, out.header);
  const std::vector<std::string> columns =
      is_csv ? std::vector<std::string>{"metric",     "members", "mean",      "deviation",
                                        "low",        "high",    "agreement", "kappa",
                                        "parameters", "seconds", "waiting",   "failed"}
             : std::vector<std::string>{"metric",    "n",     "mean",       "deviation",
                                        "agreement", "kappa", "parameters", "seconds"};
  out.header.insert(out.header.end(), columns.begin(), columns.end());
  for (const ResultCell& cell : table.cells) {
    std::vector<std::string>& row = out.rows.emplace_back();
    put_factors(cell.factors, false, row);
    const bool has_any = !cell.members.empty();
    const std::string count = std::to_string(cell.members.size());
    const std::string mean = has_any ? full(cell.summary.mean) : "";
    if (is_csv) {
      const std::string low = cell.interval ? full(cell.interval->low) : "",
                        high = cell.interval ? full(cell.interval->high) : "";
      row.insert(row.end(),
                 {cell.metric, count, mean, full(cell.summary.deviation), low, high,
                  full(cell.agreement), full(cell.kappa), full(cell.parameters), full(cell.seconds),
                  std::to_string(cell.waiting), std::to_string(cell.failed)});
      continue;
    }
    std::string members = count;
    if (cell.waiting > 0) members += " (" + std::to_string(cell.waiting) + " waiting)";
    if (cell.failed > 0) members += " (" + std::to_string(cell.failed) + " failed)";
    row.insert(
        row.end(),
        {cell.metric, members, has_any ? plus_minus(cell.summary.mean, cell.interval, format) : "-",
         or_dash(cell.summary.deviation), or_dash(cell.agreement), or_dash(cell.kappa),
         cell.parameters ? count_text(static_cast<int64_t>(*cell.parameters)) : "-",
         seconds_text(cell.seconds)});
  }
  return out;
}

std::string rows_text(const std::optional<McNemar>& rows) {
  if (!rows) return "-";
  return std::to_string(rows->only_first) + " : " + std::to_string(rows->only_second) + ", p " +
         p_text(rows->exact_p);
}

std::string verdict(const Comparison& each, double alpha) {
  if (each.is_decided) return (each.summary.mean > 0 ? each.first : each.second) + " is better";
  if (each.needed) return "not decided; " + std::to_string(*each.needed) + " pairs would";
  if (!each.summary.deviation)
    return "not decided; " + std::to_string(fewest_pairs(alpha)) + " pairs at least";
  return "not decided";
}

std::vector<std::string> comparison_columns(StudyTableFormat format) {
  if (format != StudyTableFormat::kCsv)
    return {"first", "second", "pairs", "difference", "BCa", "p", "p (Holm)", "rows", "verdict"};
  return {"first",
          "second",
          "metric",
          "pairs",
          "mean",
          "deviation",
          "low",
          "high",
          "bca_low",
          "bca_high",
          "p",
          "p_is_exact",
          "holm_p",
          "only_first",
          "only_second",
          "mcnemar_p",
          "mcnemar_chi_square",
          "mcnemar_chi_square_p",
          "decided",
          "pairs_to_decide"};
}

// Every number as it is, under comparison_columns of CSV.
std::vector<std::string> comparison_numbers(const Comparison& each) {
  const auto end = [](const std::optional<Interval>& interval, double Interval::*side) {
    return interval ? full((*interval).*side) : "";
  };
  const auto of_rows = [&](const auto& value) {
    return each.rows ? full(static_cast<double>(value(*each.rows))) : "";
  };
  return {each.first,
          each.second,
          each.metric,
          std::to_string(each.differences.size()),
          full(each.summary.mean),
          full(each.summary.deviation),
          end(each.student, &Interval::low),
          end(each.student, &Interval::high),
          end(each.bca, &Interval::low),
          end(each.bca, &Interval::high),
          full(each.flips.p),
          each.flips.is_exact ? "true" : "false",
          full(each.holm_p),
          of_rows([](const McNemar& m) { return m.only_first; }),
          of_rows([](const McNemar& m) { return m.only_second; }),
          of_rows([](const McNemar& m) { return m.exact_p; }),
          of_rows([](const McNemar& m) { return m.chi_square; }),
          of_rows([](const McNemar& m) { return m.chi_square_p; }),
          each.is_decided ? "true" : "false",
          each.needed ? std::to_string(*each.needed) : ""};
}

// For the eye.
std::vector<std::string> comparison_texts(const Comparison& each, double alpha,
                                          StudyTableFormat format) {
  return {each.first,
          each.second,
          std::to_string(each.differences.size()),
          plus_minus(each.summary.mean, each.student, format),
          interval_text(each.bca),
          p_text(each.flips.p),
          p_text(each.holm_p),
          rows_text(each.rows),
          verdict(each, alpha)};
}

TextTable comparisons(const StudyTable& table, StudyTableFormat format) {
  TextTable out;
  if (!table.comparisons.empty()) put_factors(table.comparisons.front().group, true, out.header);
  const std::vector<std::string> columns = comparison_columns(format);
  out.header.insert(out.header.end(), columns.begin(), columns.end());
  const double alpha =
      table.alpha / static_cast<double>(std::max<size_t>(table.comparisons.size(), 1));
  for (const Comparison& each : table.comparisons) {
    std::vector<std::string>& row = out.rows.emplace_back();
    put_factors(each.group, false, row);
    const std::vector<std::string> cells = format == StudyTableFormat::kCsv
                                               ? comparison_numbers(each)
                                               : comparison_texts(each, alpha, format);
    row.insert(row.end(), cells.begin(), cells.end());
  }
  return out;
}

TextTable ranks(const StudyTable& table, StudyTableFormat format) {
  TextTable out;
  const bool is_csv = format == StudyTableFormat::kCsv;
  out.header = is_csv ? std::vector<std::string>{table.compared, "rank", "low", "high"}
                      : std::vector<std::string>{table.compared, "average rank", "interval"};
  for (const RankRow& each : table.ranks) {
    const std::optional<Interval>& interval = each.rank.interval;
    if (is_csv)
      out.rows.push_back({each.value, full(each.rank.mean), interval ? full(interval->low) : "",
                          interval ? full(interval->high) : ""});
    else out.rows.push_back({each.value, score_text(each.rank.mean), interval_text(interval)});
  }
  return out;
}

// At 1, 2, 3, 5, 10, 20, .. members, and at all of a cell.
TextTable tries(const StudyTable& table, StudyTableFormat format) {
  TextTable out;
  const bool is_csv = format == StudyTableFormat::kCsv;
  size_t most = 0;
  for (const ResultCell& cell : table.cells) most = std::max(most, cell.best_of.size());
  std::vector<size_t> counts;
  for (const size_t count : {1, 2, 3, 5, 10, 20, 50, 100}) {
    if (count < most) counts.push_back(count);
  }
  counts.push_back(most);
  put_factors(table.cells.front().factors, true, out.header);
  out.header.emplace_back("metric");
  for (const size_t count : counts) out.header.push_back("best of " + std::to_string(count));
  for (const ResultCell& cell : table.cells) {
    std::vector<std::string>& row = out.rows.emplace_back();
    put_factors(cell.factors, false, row);
    row.push_back(cell.metric);
    for (const size_t count : counts) {
      const bool has_any = count >= 1 && count <= cell.best_of.size();
      const double best = has_any ? cell.best_of[count - 1] : 0;
      row.push_back(has_any ? (is_csv ? full(best) : score_text(best)) : is_csv ? "" : "-");
    }
  }
  return out;
}

std::string csv_cell(const std::string& cell) {
  return delimited_cell(cell, TableFormat::kCsv, "");  // CSV holds every cell
}

std::string markdown_cell(const std::string& cell) {
  std::string out;
  for (const char c : cell)
    out += c == '|' ? std::string("\\|") : std::string(1, c == '\n' ? ' ' : c);
  return out;
}

// A cell that holds LaTeX of our own keeps its $\pm$.
std::string latex_cell(const std::string& cell) {
  constexpr std::string_view kOwn = "$\\pm$";
  std::string out;
  for (size_t i = 0; i < cell.size(); ++i) {
    if (cell.compare(i, kOwn.size(), kOwn) == 0) {
      out += kOwn;
      i += kOwn.size() - 1;
      continue;
    }
    switch (const char c = cell[i]) {
      case '\\': out += "\\textbackslash{}"; break;
      case '~': out += "\\textasciitilde{}"; break;
      case '^': out += "\\textasciicircum{}"; break;
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}': out += '\\'; [[fallthrough]];
      default: out += c;
    }
  }
  return out;
}

template <class Cell>
std::string line_of(const std::vector<std::string>& cells, const char* between, const Cell& cell) {
  std::string out;
  for (size_t i = 0; i < cells.size(); ++i) out += (i == 0 ? "" : between) + cell(cells[i]);
  return out;
}

std::string markdown(const TextTable& table) {
  std::string out = "| " + line_of(table.header, " | ", markdown_cell) + " |\n|";
  for (size_t i = 0; i < table.header.size(); ++i) out += "---|";
  out += "\n";
  for (const auto& row : table.rows) out += "| " + line_of(row, " | ", markdown_cell) + " |\n";
  return out;
}

std::string csv(const TextTable& table) {
  std::string out = line_of(table.header, ",", csv_cell) + "\n";
  for (const auto& row : table.rows) out += line_of(row, ",", csv_cell) + "\n";
  return out;
}

std::string latex(const TextTable& table) {
  std::string out = "\\begin{tabular}{" + std::string(table.header.size(), 'l') + "}\n\\toprule\n" +
                    line_of(table.header, " & ", latex_cell) + " \\\\\n\\midrule\n";
  for (const auto& row : table.rows) out += line_of(row, " & ", latex_cell) + " \\\\\n";
  return out + "\\bottomrule\n\\end{tabular}\n";
}

}  // namespace

std::string table_note(const StudyTable& table, StudyTablePart part) {
  const std::string level = percent_text(table.level);
  switch (part) {
    case StudyTablePart::kResults:
      return "Scores of " + table.side + ": mean over seeds ± half of Student's " + level +
             " interval, and the deviation of a sample. agreement: rows that two seeds answer "
             "alike; kappa: Fleiss'.";
    case StudyTablePart::kComparisons:
      return "difference: first - second over equal seeds, above 0 where the first is better, ± "
             "half of Student's " +
             level + " interval. p: sign flips, two-sided; Holm's over " +
             counted(static_cast<int64_t>(table.comparisons.size()), "comparison") +
             ". rows: only the first right : only the second, by most of the seeds, "
             "with McNemar's exact p. Decided where Holm's p is below " +
             number_text(table.alpha) + " and both intervals leave 0 out.";
    case StudyTablePart::kRanks:
      return table.friedman ? "Over " + counted(table.ranked_cells, "cell") + ", 1 the best; BCa " +
                                  level + " intervals over the cells. Friedman: chi-square " +
                                  number_text(table.friedman->chi_square) + ", p " +
                                  p_text(table.friedman->p) + "."
                            : "No cell has a score of every " + table.compared + ".";
    case StudyTablePart::kTries:
      return "The best score of " + table.side +
             " that so many members may be expected to have (Dodge et al. 2019), a member being a "
             "draw from those that are done.";
  }
  return "";
}

TextTable text_table(const StudyTable& table, StudyTablePart part, StudyTableFormat format) {
  switch (part) {
    case StudyTablePart::kResults: return results(table, format);
    case StudyTablePart::kComparisons: return comparisons(table, format);
    case StudyTablePart::kRanks: return ranks(table, format);
    case StudyTablePart::kTries: return tries(table, format);
  }
  return {};
}

std::string to_text(const StudyTable& table, StudyTablePart part, StudyTableFormat format) {
  const TextTable text = text_table(table, part, format);
  const std::string note = table_note(table, part);
  switch (format) {
    case StudyTableFormat::kCsv: return csv(text);
    case StudyTableFormat::kMarkdown: return markdown(text) + "\n" + note + "\n";
    case StudyTableFormat::kLatex: return latex(text) + "% " + note + "\n";
  }
  return "";
}

}  // namespace graft
