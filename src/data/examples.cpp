// Rows of a table as examples of a task.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "data/cells.h"
#include "data/inner_columns.h"
#include "data/task_parts.h"

namespace graft {

namespace {

using detail::cell_at;
using detail::kind_shown;
using detail::text_cell;

bool is_absent_label(const Table& table, size_t r, size_t column) {
  return detail::is_absent(table, r, column) ||
         (table.rows[r].kind(column) == CellKind::kText && table.rows[r].cells[column].empty());
}

// "task 'sst2' has negative and positive, written "0" for negative": at most 20 of each.
std::string labels_shown(const Task& task) {
  constexpr size_t kShown = 20;
  const auto& classes = task.at<Classification>();
  std::vector<std::string> shown(classes.labels.begin(),
                                 classes.labels.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                              kShown, classes.labels.size())));
  if (classes.labels.size() > kShown)
    shown.push_back(std::to_string(classes.labels.size() - kShown) + " more");
  std::string spelled;
  for (const auto& [spelling, label] : classes.spellings) {
    if (classes.spellings.size() <= kShown)
      spelled += (spelled.empty() ? ", written " : ", ") + quote(spelling) + " for " + label;
  }
  return "task '" + task.name + "' has " + joined(shown) + spelled;
}

enum class LabelProblem { kAbsent, kTree, kNoNumber, kUnknown };

// Nothing where the row's label is one of the task's.
std::optional<LabelProblem> label_problem(const Table& table, size_t r, size_t column,
                                          const Task& task, LabelUse use) {
  if (is_absent_label(table, r, column))
    return use == LabelUse::kRequired ? std::optional(LabelProblem::kAbsent) : std::nullopt;
  if (table.rows[r].kind(column) == CellKind::kTree) return LabelProblem::kTree;
  const std::string& text = table.rows[r].cells[column];
  const auto* classes = task.find<Classification>();
  if (classes != nullptr && !classes->find_label(text)) return LabelProblem::kUnknown;
  if (classes == nullptr && !finite_number(text)) return LabelProblem::kNoNumber;
  return std::nullopt;
}

// Rows that share a fault of their label: every unknown label is one.
struct LabelFault {
  LabelProblem problem = LabelProblem::kAbsent;
  size_t first = 0;  // row
  int64_t rows = 0;
};

// In order of first appearance.
std::vector<LabelFault> find_label_faults(const Table& table, size_t column, const Task& task,
                                          LabelUse use) {
  std::vector<LabelFault> faults;
  std::map<std::pair<LabelProblem, std::string>, size_t> places;  // of a fault in `faults`
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const std::optional<LabelProblem> problem = label_problem(table, r, column, task, use);
    if (!problem) continue;
    const std::string text =
        problem == LabelProblem::kUnknown ? table.rows[r].cells[column] : std::string();
    const auto [place, is_new] = places.try_emplace({*problem, text}, faults.size());
    if (is_new) faults.push_back({*problem, r, 0});
    ++faults[place->second].rows;
  }
  return faults;
}

// "data.tsv:7: column "label": expected a label, found an empty field (8 rows); ..."
std::string fault_text(const LabelFault& fault, const Table& table, size_t column,
                       const std::vector<std::string>& known) {
  const std::string& text = table.rows[fault.first].cells[column];
  const CellKind kind = table.rows[fault.first].kind(column);
  std::string what, way_out;
  switch (fault.problem) {
    case LabelProblem::kAbsent:
      what = "expected a label, found " +
             (kind == CellKind::kText ? "an empty field" : kind_shown(kind));
      way_out = inner_names_hint(table, column) + "; label every row, or take out those without (" +
                option_name("on_error") + " skip, where the command has it)";
      break;
    case LabelProblem::kTree:  // of a list the first label would be one of several
      what = "expected a label, found " + kind_shown(kind);
      way_out = text.starts_with('{') ? inner_names_hint(table, column) : "";
      break;
    case LabelProblem::kNoNumber:
      what = "expected a finite number, found " + quote(text);
      way_out = detail::decimal_point_hint(text);
      break;
    case LabelProblem::kUnknown:
      what = "unknown label " + quote(text) + did_you_mean(text, known);
      break;
  }
  return cell_at(table, fault.first, column) + what +
         (fault.rows > 1 ? " (" + count_text(fault.rows) + " rows)" : "") + way_out;
}

// What to do about labels that the task does not have.
std::string unknown_labels_way_out(const std::vector<LabelFault>& faults, const Table& table,
                                   size_t column, const Task& task) {
  const std::string out = (faults.size() > 1 ? "\n" : "; ") + labels_shown(task);
  const bool is_header = faults.front().first == 0 && !table.has_header && !task.columns.empty() &&
                         table.rows.front().cells[column] == table.columns[column];
  if (is_header)
    return out +
           "; the file seems to begin with a header line: remove it, or write a task without "
           "columns";
  return out + (faults.size() > 1
                    ? "; graft inspect data FILE proposes a task with all labels of a file"
                    : "");
}

// Throws InputError that names all faults of the file's labels at once, each with its rows.
void check_labels(const Table& table, size_t column, const Task& task, LabelUse use) {
  constexpr size_t kShown = 50;
  const std::vector<LabelFault> faults = find_label_faults(table, column, task, use);
  if (faults.empty()) return;
  std::vector<std::string> known = task.labels();
  if (const auto* classes = task.find<Classification>()) {
    for (const auto& [spelling, label] : classes->spellings) known.push_back(spelling);
  }
  std::string message;
  for (size_t i = 0; i < std::min(kShown, faults.size()); ++i)
    message += (i == 0 ? "" : "\n") + fault_text(faults[i], table, column, known);
  if (faults.size() > kShown)
    message += "\n" + std::to_string(faults.size() - kShown) + " more unknown labels";
  const bool has_unknown = std::any_of(faults.begin(), faults.end(), [](const LabelFault& fault) {
    return fault.problem == LabelProblem::kUnknown;
  });
  if (has_unknown) message += unknown_labels_way_out(faults, table, column, task);
  throw InputError(message);
}

// Requires: check_labels.
std::optional<double> label_of(const Table& table, size_t r, size_t column, const Task& task) {
  if (is_absent_label(table, r, column)) return std::nullopt;
  const std::string& text = table.rows[r].cells[column];
  const auto* classes = task.find<Classification>();
  return classes == nullptr ? finite_number(text) : static_cast<double>(*classes->find_label(text));
}

std::vector<std::string> names_of_columns(const Task& task) {
  std::vector<std::string> names;
  for (const auto& [key, column] : detail::named_columns(task)) names.push_back(column);
  return names;
}

Example numbered_example(const Table& table, size_t r) {
  Example example;
  example.id = table.first_row + static_cast<int64_t>(r);
  example.id_text = std::to_string(example.id);
  example.line = table.rows[r].line;
  example.entry = table.rows[r].entry;
  return example;
}

// The id column's, where the file has one and the row something in it.
void take_id(const Table& table, size_t r, const Task& task, Example& example) {
  const std::optional<size_t> found =
      task.id_column ? table.find_column(*task.id_column) : std::nullopt;
  if (!found) return;
  const size_t column = *found;
  const CellKind kind = table.rows[r].kind(column);
  if (kind == CellKind::kNull || kind == CellKind::kMissing) return;  // numbered
  if (kind != CellKind::kText && kind != CellKind::kNumber) {
    throw InputError(cell_at(table, r, column) + "expected an id (a text or a number), found " +
                     kind_shown(kind) + inner_names_hint(table, column));
  }
  if (table.rows[r].cells[column].empty())
    throw InputError(cell_at(table, r, column) + "expected an id, found an empty field");
  example.id_text = table.rows[r].cells[column];
  example.id_is_number = kind == CellKind::kNumber;
}

// Text, second text, label and cloze of a classification or regression.
detail::Filler labelled_filler(const Table& table, const Task& task, LabelUse use) {
  const std::string of_task = " of task '" + task.name + "'";
  const Labelled& columns = *task.labelled();
  const detail::CellText text = detail::text_of_row(columns.text, table, "the text" + of_task);
  detail::CellText second;
  if (columns.second)
    second = detail::text_of_row(*columns.second, table, "the second text" + of_task);
  std::optional<size_t> label;
  if (use == LabelUse::kOptional) label = table.find_column(columns.label_column);
  if (use == LabelUse::kRequired) label = table.column(columns.label_column, "the label" + of_task);
  if (label) check_labels(table, *label, task, use);
  detail::Filler fill_cloze;
  if (task.cloze() != nullptr) fill_cloze = detail::cloze_filler(table, task);
  return [&table, &task, text, second, label, fill_cloze](size_t r, Example& example) {
    example.text = text(r);
    if (second) example.at<LabelledRow>().second = second(r);
    if (label) example.label = label_of(table, r, *label, task);
    if (fill_cloze) fill_cloze(r, example);
  };
}

detail::Filler filler_of(const Table& table, const Task& task, LabelUse use) {
  switch (task.kind()) {
    case TaskKind::kClassification:
    case TaskKind::kRegression: return labelled_filler(table, task, use);
    case TaskKind::kGeneration: return detail::generation_filler(table, task, use);
    case TaskKind::kChoice: return detail::choice_filler(table, task, use);
  }
  throw InternalError("unknown kind of task");
}

// Requires: the table has the columns inside others.
std::vector<Example> examples_of_rows(const Table& table, const Task& task, LabelUse use) {
  for (const Row& row : table.rows) {
    if (!row.fault.empty()) throw InputError(row.fault);
  }
  const detail::Filler fill = filler_of(table, task, use);
  const std::string of_task = " of task '" + task.name + "'";
  std::optional<size_t> embedding, subspace;
  if (task.embedding_column)
    embedding = table.column(*task.embedding_column, "the embedding" + of_task);
  if (task.subspace_column)
    subspace = use == LabelUse::kRequired
                   ? table.column(*task.subspace_column, "the subspace" + of_task)
                   : table.find_column(*task.subspace_column);

  const auto source = std::make_shared<const std::string>(table.source);
  std::vector<Example> examples;
  examples.reserve(table.rows.size());
  for (size_t r = 0; r < table.rows.size(); ++r) {
    Example example = numbered_example(table, r);
    example.source = source;
    take_id(table, r, task, example);
    fill(r, example);
    if (subspace) example.subspace = detail::subspace_cell(table, r, *subspace);
    if (embedding) {
      example.embedding = detail::embedding_cell(table, r, *embedding);
      const size_t expected =
          examples.empty() ? example.embedding.size() : examples.front().embedding.size();
      if (example.embedding.size() != expected) {
        throw InputError(cell_at(table, r, *embedding) + "expected " + std::to_string(expected) +
                         " numbers as in the first row, found " +
                         std::to_string(example.embedding.size()));
      }
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

}  // namespace

const std::string* Example::second() const {
  const auto* own = find<LabelledRow>();
  return own != nullptr && own->second ? &*own->second : nullptr;
}

const std::string& Example::group() const {
  static const std::string kNone;
  if (const auto* own = find<GenerationRow>()) return own->group;
  const auto* own = find<ChoiceRow>();
  return own != nullptr ? own->group : kNone;
}

const std::string& GenerationRow::truth() const {
  static const std::string kNone;
  return answer ? *answer : references.empty() ? kNone : references.front();
}

std::string Example::where() const {
  if (source == nullptr) return "row " + id_text + ": ";
  return line > 0 ? row_place(*source, line, entry) : *source + ": ";
}

std::vector<Example> to_examples(const Table& table, const Task& task, LabelUse use) {
  const std::optional<Table> opened = with_inner_columns(table, names_of_columns(task));
  return examples_of_rows(opened ? *opened : table, task, use);
}

Example named_example(const Table& table, size_t row, const Task& task) {
  Example example = numbered_example(table, row);
  if (!table.rows[row].fault.empty() || !task.id_column) return example;
  try {
    const Table alone{.source = table.source, .columns = table.columns, .rows = {table.rows[row]}};
    const std::optional<Table> opened = with_inner_columns(alone, {*task.id_column});
    take_id(opened ? *opened : alone, 0, task, example);
  } catch (const InputError&) {  // which may be what is wrong with the row
  }
  return example;
}

TableOptions table_options(const Task& task) {
  return {.format = task.format,
          .columns = task.columns,
          .headerless = task.headerless,
          .delimiter = task.delimiter};
}

std::vector<Example> read_examples(const Path& path, const Task& task, LabelUse use) {
  Table table = read_table(path, table_options(task));
  add_inner_columns(table, names_of_columns(task));
  return examples_of_rows(table, task, use);
}

}  // namespace graft
