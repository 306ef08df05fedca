#include "data/propose.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "data/metrics.h"
#include "data/propose_parts.h"
#include "data/proposer.h"
#include "data/rows.h"

namespace graft {

namespace detail {

std::string yaml_text(const std::string& text) {
  std::string out = to_yaml(Node::text(text));
  out.pop_back();  // the line's end
  return out;
}

std::string noted(const std::string& line, const std::string& note) {
  constexpr size_t kNote = 40;
  return line + std::string(line.size() < kNote ? kNote - line.size() : 1, ' ') + "# " + note +
         "\n";
}

}  // namespace detail

namespace {

using detail::Column;
using detail::folded;
using detail::Group;
using detail::is_amount;
using detail::noted;
using detail::ProposedKeys;
using detail::Proposer;
using detail::yaml_text;

// Numbers may be classes or amounts: what these are taken for, and how to have the other.
std::string kind_yaml(const Column& label) {
  if (is_amount(label)) {
    return noted("kind: regression",
                 std::string("the label holds ") +
                     (label.fractions > 0 ? "fractions" : "more than 20 numbers") +
                     "; or classification, with labels: [...] and without metrics");
  }
  if (!label.is_number() || label.groups.size() == 2) return "kind: classification\n";
  return noted("kind: classification", count_text(std::ssize(label.groups)) +
                                           " whole numbers; or regression, without the keys from "
                                           "labels on");
}

// Labels in order with their rows, and below them the spellings that are not the label's name.
std::string labels_yaml(const Column& label) {
  std::vector<const Group*> groups;
  for (const Group& group : label.groups) groups.push_back(&group);
  std::sort(groups.begin(), groups.end(),
            [](const Group* a, const Group* b) { return a->comes_before(*b); });
  std::string labels, spellings;
  int64_t most = 0;
  bool has_points = false;
  for (const Group* group : groups) {
    most = std::max(most, group->rows);
    labels += noted("  - " + yaml_text(group->name()), counted(group->rows, "row"));
    for (const Group::Spelling& spelling : group->spellings) {
      const bool is_decimal = without_zero_fraction(spelling.text) == group->name();
      has_points = has_points || is_decimal;
      if (is_decimal || spelling.text == group->name()) continue;
      spellings += noted("  " + yaml_text(spelling.text) + ": " + yaml_text(group->name()),
                         counted(spelling.rows, "row"));
    }
  }
  const bool is_lopsided = most * 5 >= (label.rows - label.absent) * 4;
  std::string out =
      (has_points ? noted("labels:", "1.0 in a row is the label 1") : "labels:\n") + labels +
      (spellings.empty() ? "" : noted("spellings:", "how else the file writes them") + spellings);
  out += "metrics: [accuracy, f1_macro]\n";
  return out + noted(is_lopsided ? "primary: f1_macro" : "primary: accuracy",
                     is_lopsided ? "most rows have one label: accuracy would hardly move"
                                 : "picks the best step");
}

std::string columns_yaml(const Table& table) {
  std::string out = "columns: [";
  for (size_t i = 0; i < table.columns.size(); ++i)
    out += (i == 0 ? "" : ", ") + yaml_text(table.columns[i]);
  return noted(out + "]", "the file has no header line");
}

// What is not used, and rows that training would refuse.
std::string head_comment(const Table& table, const Proposer& proposer,
                         const std::vector<const Column*>& used) {
  std::string out = "# " + quote(table.source) + ": " +
                    counted(static_cast<int64_t>(table.rows.size()), "row") + "\n";
  for (const Column& column : proposer.columns()) {
    const bool is_used = std::find(used.begin(), used.end(), &column) != used.end();
    const bool is_around =
        column.trees > 0 && std::any_of(used.begin(), used.end(), [&](const Column* inner) {
          return inner->name.starts_with(column.name + ".");
        });
    if (!is_used && (is_around || proposer.is_inner(column))) continue;
    if (!is_used)
      out += "# not used: column " + quote(column.name) + ", " +
             count_text(static_cast<int64_t>(column.groups.size())) + " values\n";
    else if (column.absent > 0)
      out += "# column " + quote(column.name) + " is empty in " + counted(column.absent, "row") +
             ", first in " + column.first_absent + "\n";
  }
  return out;
}

// Where the fewest values alone made a column the label: which others it could be.
std::string others_comment(const Column& label, const Proposer& proposer) {
  std::vector<std::string> names;
  for (const Column* column : proposer.other_labels()) names.push_back(quote(column->name));
  if (names.empty()) return "";
  return "# no name tells the label: " + quote(label.name) + " has the fewest values; others are " +
         joined_first(names, 10) + "\n";
}

// A file whose first line is a row like the others: `table` with that row and columns of our own.
std::optional<Table> without_header(const Table& table, const Column& label, const Column& text) {
  const std::string first = folded(table.columns[label.index]);
  const bool is_row = std::any_of(
      label.groups.begin(), label.groups.end(),
      [&](const Group& group) { return folded(group.spellings.front().text) == first; });
  if (!table.has_header || !is_row) return std::nullopt;
  Table out = table;
  out.rows.insert(out.rows.begin(), Row{table.columns, {}, table.header_line});
  out.has_header = false;
  for (size_t i = 0; i < out.columns.size(); ++i)
    out.columns[i] = i == label.index  ? "label"
                     : i == text.index ? "text"
                                       : "column" + std::to_string(i + 1);
  return out;
}

// The same where no column seems to be a label: the first row's cell may be what an id is called.
std::optional<Table> without_misread_header(const Table& table, const Proposer& proposer) {
  for (const Column& column : proposer.columns()) {
    const Column* text = column.is_label() ? proposer.text(column) : nullptr;
    if (text == nullptr) continue;
    if (std::optional<Table> rows = without_header(table, column, *text)) return rows;
  }
  return std::nullopt;
}

Proposal worded_of(const ProposedKeys& keys, const Proposer& proposer, const Table& table,
                   const std::string& name, const std::string& format) {
  std::string yaml = head_comment(table, proposer, keys.used);
  if (!keys.ready.empty())
    yaml += "# the ready task " + keys.ready + " fits, too: " + option_name("task") + " " +
            keys.ready + "\n";
  yaml += keys.remarks + "name: " + yaml_text(name) + "\n" + keys.yaml + format;
  return {parse_task(parse_yaml(yaml, "proposed task"), "proposed task"), yaml};
}

std::string format_yaml(std::optional<TableFormat> format) {
  return format ? std::string("format: ") + word_of(kTableFormats, *format) + "\n" : "";
}

// `is_headless`: the columns' names are ours.
Proposal proposal_of(const Table& table, const std::string& name, std::optional<TableFormat> format,
                     bool is_headless) {
  const Proposer proposer(table);
  if (const std::optional<ProposedKeys> keys = detail::keys_in_words(proposer, table))
    return worded_of(*keys, proposer, table, name, format_yaml(format));
  const Column* label = proposer.label();
  const Proposer::Pair pair = label == nullptr ? std::nullopt : proposer.texts(*label);
  const Column* text = pair ? pair->first : label == nullptr ? nullptr : proposer.text(*label);
  const std::optional<Table> rows = text != nullptr ? without_header(table, *label, *text)
                                                    : without_misread_header(table, proposer);
  if (rows) return proposal_of(*rows, name, format, true);
  if (text == nullptr) proposer.refuse();

  std::vector<const Column*> used = {label, text};
  std::string yaml = "name: " + yaml_text(name) + "\n" + kind_yaml(*label);
  const bool is_answer = pair && pair == proposer.prompt();
  if (const Column* context = is_answer ? proposer.context(*text) : nullptr) {
    yaml += "text: " + yaml_text(detail::joined_places(*text, *context)) + "\n";
    used.push_back(context);
  } else {
    yaml += "text: " + yaml_text(text->name) + "\n";
  }
  if (pair) {
    yaml += "second: " + yaml_text(pair->second->name) + "\n";
    used.push_back(pair->second);
  }
  yaml += "label: " + yaml_text(label->name) + "\n";
  const Column* id = proposer.id();
  if (id != nullptr && std::find(used.begin(), used.end(), id) == used.end()) {
    yaml += "id: " + yaml_text(id->name) + "\n";
    used.push_back(id);
  }
  if (is_headless) yaml += columns_yaml(table);
  yaml += format_yaml(format) +
          (is_amount(*label) ? "metrics: [pearson, spearman]\n" : labels_yaml(*label));
  yaml = head_comment(table, proposer, used) + others_comment(*label, proposer) + yaml;
  return {parse_task(parse_yaml(yaml, "proposed task"), "proposed task"), yaml};
}

// Whether a cell of TSV looks as CSV writes one in quotes.
bool is_enclosed(const std::string& cell) {
  if (cell.size() < 2 || !cell.starts_with('"') || !cell.ends_with('"')) return false;
  for (size_t i = 1; i + 1 < cell.size(); ++i) {
    if (cell[i] == '"' && (i + 2 == cell.size() || cell[++i] != '"')) return false;
  }
  return true;
}

// In TSV quotes are letters, which a file that was written as CSV with tabs does not mean.
std::string quotes_note(const Table& table) {
  const auto enclosed = std::count_if(table.rows.begin(), table.rows.end(), [](const Row& row) {
    return std::any_of(row.cells.begin(), row.cells.end(), is_enclosed);
  });
  if (enclosed == 0) return "";
  return "# " + count_text(enclosed) + " of " + counted(std::ssize(table.rows), "row") +
         " have cells in quotes, which in TSV are letters; where they enclose cells,\n# it is CSV "
         "with tabs: graft inspect data FILE " +
         option_name("data_format") + " csv\n";
}

// What the rows of a file look like whose name does not tell.
TableFormat looks_like(std::string_view text) {
  text = detail::without_mark(text);
  if (text.starts_with('{')) return TableFormat::kJsonl;
  if (text.starts_with('[')) return TableFormat::kJson;
  const bool has_tab = text.substr(0, text.find('\n')).find('\t') != std::string_view::npos;
  return has_tab ? TableFormat::kTsv : TableFormat::kCsv;
}

}  // namespace

Proposal propose_task(const Table& table, const std::string& name,
                      std::optional<TableFormat> format) {
  return proposal_of(table, name, format, /*is_headless=*/false);
}

Proposal propose_task(const Path& file, std::optional<TableFormat> given) {
  const std::string text = detail::unpacked(read_file(file), file);
  detail::refuse_foreign_bytes(text, file.string());
  const std::optional<TableFormat> by_ending = detail::format_by_ending(file);
  if (!given && !by_ending) detail::refuse_foreign_ending(file);
  const std::optional<TableFormat> named = given || by_ending ? given : looks_like(text);
  const TableFormat read_as = named ? *named : *by_ending;
  const Table table = parse_table(text, read_as, file.string());
  Proposal out = propose_task(table, detail::without_gz(file).stem().string(), named);
  if (read_as == TableFormat::kTsv) out.yaml = quotes_note(table) + out.yaml;
  return out;
}

}  // namespace graft
