#include "data/propose.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/gzip.h"
#include "base/wording.h"
#include "data/metrics.h"
#include "text/unicode.h"

namespace graft {

namespace {

using Names = std::vector<std::string>;

const Names kLabelNames = {"label", "labels", "class",  "category", "sentiment", "intent",
                           "topic", "tag",    "target", "emotion",  "type",      "y"};
const Names kValueNames = {"score", "similarity", "rating", "stars", "value", "grade"};
const Names kTextNames = {"text",        "sentence", "sentence1", "premise",  "question1",
                          "text1",       "content",  "body",      "message",  "review",
                          "comment",     "tweet",    "utterance", "document", "question",
                          "description", "title",    "subject",   "input"};
const Names kIdNames = {"id", "idx", "index", "uid", "guid", "uuid"};
const std::vector<std::array<const char*, 2>> kTextPairs = {
    {"sentence1", "sentence2"}, {"premise", "hypothesis"}, {"question1", "question2"},
    {"text1", "text2"},         {"text", "text_pair"},     {"question", "sentence"}};
const std::vector<std::array<const char*, 2>> kPromptPairs = {
    {"prompt", "completion"},  {"prompt", "response"},      {"prompt", "target"},
    {"instruction", "output"}, {"instruction", "response"}, {"question", "answer"},
    {"question", "response"},  {"input", "target"},         {"input", "output"}};

// Small letters, and one blank for every stretch of white space but none at the ends: what
// spellings of a label have in common.
std::string folded(const std::string& text) {
  std::string out;
  bool has_gap = false;
  for (const char32_t c : decode_utf8(text, "a cell")) {
    if (is_space(c)) {
      has_gap = true;
      continue;
    }
    if (has_gap && !out.empty()) out += ' ';
    has_gap = false;
    append_utf8(out, lower(c));
  }
  return out;
}

bool is_finite_number(const std::string& text) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && stop == text.data() + text.size() && std::isfinite(value);
}

// White space at the ends goes; labels may not have any.
std::string trimmed(const std::string& text) {
  const std::u32string all = decode_utf8(text, "a label");
  size_t begin = 0, end = all.size();
  while (begin < end && is_space(all[begin])) ++begin;
  while (end > begin && is_space(all[end - 1])) --end;
  return to_utf8(std::u32string_view(all).substr(begin, end - begin));
}

struct Spelling {
  std::string text;
  int64_t rows = 0;
};

// Texts of a column that differ in case and white space alone.
struct Group {
  std::vector<Spelling> spellings;  // in order of first appearance
  int64_t rows = 0;

  std::string name() const {
    const auto most =
        std::max_element(spellings.begin(), spellings.end(),
                         [](const Spelling& a, const Spelling& b) { return a.rows < b.rows; });
    return trimmed(most->text);
  }
};

struct Column {
  std::string name;
  size_t index = 0;
  std::vector<Group> groups;  // in order of first appearance
  int64_t absent = 0, numbers = 0, trees = 0, fractions = 0, characters = 0, rows = 0;
  int64_t first_absent = 0;  // line

  bool is_label() const {  // every value comes twice on average
    return trees == 0 && groups.size() >= 2 &&
           static_cast<int64_t>(groups.size()) * 2 <= rows - absent;
  }
  bool is_number() const { return numbers > 0 && numbers == rows - absent; }
  bool is_text() const { return trees == 0 && characters > 0; }
};

Column column_of(const Table& table, size_t index) {
  Column out;
  out.name = table.columns[index];
  out.index = index;
  out.rows = static_cast<int64_t>(table.rows.size());
  std::unordered_map<std::string, size_t> places;
  for (const Row& row : table.rows) {
    const std::string& cell = row.cells[index];
    const std::string key = row.kind(index) == CellKind::kTree ? cell : folded(cell);
    if (key.empty()) {
      if (out.absent++ == 0) out.first_absent = row.line;
      continue;
    }
    out.trees += row.kind(index) == CellKind::kTree ? 1 : 0;
    const bool is_number = is_finite_number(cell);
    out.numbers += is_number ? 1 : 0;
    out.fractions += is_number && cell.find_first_of(".eE") != std::string::npos ? 1 : 0;
    out.characters += static_cast<int64_t>(cell.size());
    const auto [place, is_new] = places.try_emplace(key, out.groups.size());
    if (is_new) out.groups.emplace_back();
    Group& group = out.groups[place->second];
    ++group.rows;
    const auto same = std::find_if(group.spellings.begin(), group.spellings.end(),
                                   [&](const Spelling& s) { return s.text == cell; });
    if (same == group.spellings.end()) group.spellings.push_back({cell, 1});
    else ++same->rows;
  }
  return out;
}

class Proposer {
 public:
  explicit Proposer(const Table& table) : table_(table) {
    for (size_t i = 0; i < table.columns.size(); ++i) columns_.push_back(column_of(table, i));
  }

  const Column* named(const std::string& name) const {
    const auto found = std::find_if(columns_.begin(), columns_.end(),
                                    [&](const Column& c) { return folded(c.name) == name; });
    return found == columns_.end() ? nullptr : &*found;
  }

  const Column* id() const {
    for (const std::string& name : kIdNames) {
      if (const Column* column = named(name);
          column != nullptr && static_cast<int64_t>(column->groups.size()) == column->rows)
        return column;
    }
    return nullptr;
  }

  // Both columns of the first pair of names that is there.
  std::optional<std::pair<const Column*, const Column*>> pair_in(
      const std::vector<std::array<const char*, 2>>& pairs) const {
    for (const auto& [first, second] : pairs) {
      const Column *a = named(first), *b = named(second);
      if (a != nullptr && b != nullptr && a->is_text() && b->is_text()) return std::pair{a, b};
    }
    return std::nullopt;
  }

  const Column* label() const {
    for (const std::string& name : kLabelNames) {
      if (const Column* column = named(name); column != nullptr && column->is_label())
        return column;
    }
    for (const std::string& name : kValueNames) {
      if (const Column* column = named(name);
          column != nullptr && (column->is_number() || column->is_label()))
        return column;
    }
    const Column* best = nullptr;  // the fewest values
    for (const Column& column : columns_) {
      if (&column == id() || !column.is_label()) continue;
      if (best == nullptr || column.groups.size() < best->groups.size()) best = &column;
    }
    return best;
  }

  const Column* text(const Column& label) const {
    for (const std::string& name : kTextNames) {
      if (const Column* column = named(name);
          column != nullptr && column != &label && column->is_text())
        return column;
    }
    const Column* best = nullptr;  // the longest
    for (const Column& column : columns_) {
      if (&column == &label || &column == id() || !column.is_text()) continue;
      if (best == nullptr || column.characters > best->characters) best = &column;
    }
    return best;
  }

  [[noreturn]] void refuse() const {
    std::string message =
        table_.source +
        ": no column can be told to be a label (a few values that come again) beside a text:";
    for (const Column& column : columns_) {
      message += "\n  " + quote(column.name) + ": " +
                 count_text(static_cast<int64_t>(column.groups.size())) + " values in " +
                 counted(column.rows, "row");
      if (!column.groups.empty())
        message += ", such as " + quote(column.groups.front().spellings.front().text);
    }
    throw InputError(message + "\nwrite the task by hand: doc/data.md has every key");
  }

  const std::vector<Column>& columns() const { return columns_; }

 private:
  const Table& table_;
  std::vector<Column> columns_;
};

// Whole numbers by value, texts by bytes.
bool comes_before(const std::string& a, const std::string& b) {
  if (is_finite_number(a) && is_finite_number(b) && std::stod(a) != std::stod(b))
    return std::stod(a) < std::stod(b);
  return a < b;
}

// More than twenty numbers, or fractions, are amounts.
bool is_amount(const Column& column) {
  return column.is_number() && (column.fractions > 0 || column.groups.size() > 20);
}

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

// Labels in order with their rows, and below them the spellings that are not the label's name.
std::string labels_yaml(const Column& label) {
  std::vector<const Group*> groups;
  for (const Group& group : label.groups) groups.push_back(&group);
  std::sort(groups.begin(), groups.end(),
            [](const Group* a, const Group* b) { return comes_before(a->name(), b->name()); });
  std::string labels = "labels:\n", spellings;
  int64_t most = 0;
  for (const Group* group : groups) {
    most = std::max(most, group->rows);
    labels += noted("  - " + yaml_text(group->name()), counted(group->rows, "row"));
    for (const Spelling& spelling : group->spellings) {
      if (spelling.text == group->name()) continue;
      spellings += noted("  " + yaml_text(spelling.text) + ": " + yaml_text(group->name()),
                         counted(spelling.rows, "row"));
    }
  }
  const bool is_lopsided = most * 5 >= (label.rows - label.absent) * 4;
  std::string out =
      labels +
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
    if (!is_used)
      out += "# not used: column " + quote(column.name) + ", " +
             count_text(static_cast<int64_t>(column.groups.size())) + " values\n";
    else if (column.absent > 0)
      out += "# column " + quote(column.name) + " is empty in " + counted(column.absent, "row") +
             ", first in line " + std::to_string(column.first_absent) + "\n";
  }
  return out;
}

// A file whose first line is a row like the others: `table` with that row and columns of our own.
std::optional<Table> without_header(const Table& table, const Column& label, const Column& text) {
  const std::string first = folded(table.columns[label.index]);
  const bool is_row = std::any_of(
      label.groups.begin(), label.groups.end(),
      [&](const Group& group) { return folded(group.spellings.front().text) == first; });
  if (!table.has_header || !is_row) return std::nullopt;
  Table out = table;
  out.rows.insert(out.rows.begin(), Row{table.columns, {}, 1});
  out.has_header = false;
  for (size_t i = 0; i < out.columns.size(); ++i)
    out.columns[i] = i == label.index  ? "label"
                     : i == text.index ? "text"
                                       : "column" + std::to_string(i + 1);
  return out;
}

Proposal generation_of(const Proposer& proposer, const Table& table, const std::string& name,
                       const std::string& format) {
  std::string yaml = "name: " + yaml_text(name) + "\nkind: generation\n";
  std::vector<const Column*> used;
  if (const Column* messages = proposer.named("messages");
      messages != nullptr && messages->trees > 0) {
    yaml += "messages: " + yaml_text(messages->name) + "\n" +
            noted("chat: model", "the model's own chat format");
    used = {messages};
  } else {
    const auto [prompt, target] = *proposer.pair_in(kPromptPairs);
    yaml += "prompt: " + yaml_text(prompt->name) + "\ntarget: " + yaml_text(target->name) + "\n";
    yaml +=
        noted("chat: none", "model: as a user's and an assistant's turn in the model's own format");
    used = {prompt, target};
  }
  yaml = head_comment(table, proposer, used) + yaml + format + "metrics: [rouge_l]\n";
  return {parse_task(parse_yaml(yaml, "proposed task"), "proposed task"), yaml};
}

std::string format_yaml(std::optional<TableFormat> format) {
  return format ? std::string("format: ") + word_of(kTableFormats, *format) + "\n" : "";
}

// `is_headless`: the columns' names are ours.
Proposal proposal_of(const Table& table, const std::string& name, std::optional<TableFormat> format,
                     bool is_headless) {
  const Proposer proposer(table);
  const Column* label = proposer.label();
  const Column* messages = proposer.named("messages");
  const auto prompts = proposer.pair_in(kPromptPairs);
  const bool is_labelled =
      label != nullptr && (!prompts || label != prompts->second || label->groups.size() <= 20);
  if ((messages != nullptr && messages->trees > 0) || (prompts && !is_labelled))
    return generation_of(proposer, table, name, format_yaml(format));
  const auto pair = proposer.pair_in(kTextPairs);
  const Column* text = label == nullptr ? nullptr : pair ? pair->first : proposer.text(*label);
  if (text == nullptr) proposer.refuse();
  if (const std::optional<Table> rows = without_header(table, *label, *text))
    return proposal_of(*rows, name, format, true);

  std::vector<const Column*> used = {label, text};
  std::string yaml = "name: " + yaml_text(name) +
                     "\nkind: " + (is_amount(*label) ? "regression" : "classification") + "\n";
  yaml += "text: " + yaml_text(text->name) + "\n";
  if (pair && pair->second != label) {
    yaml += "second: " + yaml_text(pair->second->name) + "\n";
    used.push_back(pair->second);
  }
  yaml += "label: " + yaml_text(label->name) + "\n";
  if (const Column* id = proposer.id(); id != nullptr && id != label && id != text) {
    yaml += "id: " + yaml_text(id->name) + "\n";
    used.push_back(id);
  }
  if (is_headless) yaml += columns_yaml(table);
  yaml += format_yaml(format) +
          (is_amount(*label) ? "metrics: [pearson, spearman]\n" : labels_yaml(*label));
  yaml = head_comment(table, proposer, used) + yaml;
  return {parse_task(parse_yaml(yaml, "proposed task"), "proposed task"), yaml};
}

}  // namespace

Proposal propose_task(const Table& table, const std::string& name,
                      std::optional<TableFormat> format) {
  return proposal_of(table, name, format, /*is_headless=*/false);
}

Proposal propose_task(const Path& file, std::optional<TableFormat> given) {
  std::string text = read_file(file);
  const bool is_packed = folded(file.extension().string()) == ".gz";
  if (is_packed || is_gzip(text)) text = gunzip(text, file.string(), kMostUnpacked);
  const Path name = is_packed ? file.stem() : file.filename();
  std::optional<TableFormat> format = given;
  const std::string ending = folded(name.extension().string());
  const bool tells =
      ending == ".tsv" || ending == ".csv" || ending == ".jsonl" || ending == ".json";
  if (!tells && !format) {
    const std::string first = text.substr(0, text.find('\n'));
    format = text.starts_with('{')                   ? TableFormat::kJsonl
             : text.starts_with('[')                 ? TableFormat::kJson
             : first.find('\t') != std::string::npos ? TableFormat::kTsv
                                                     : TableFormat::kCsv;
  }
  const Table table = parse_table(text, format ? *format : table_format(file), file.string());
  return propose_task(table, name.stem().string(), format);
}

}  // namespace graft
