// Rows of a table as examples of a task.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "data/cells.h"

namespace graft {

namespace detail {

std::string kind_shown(CellKind kind) {
  switch (kind) {
    case CellKind::kText: return "a text";
    case CellKind::kNumber: return "a number";
    case CellKind::kBoolean: return "a truth value";
    case CellKind::kNull: return "null";
    case CellKind::kMissing: return "no such key";
    case CellKind::kTree: return "a list or an object";
  }
  return "";
}

std::string cell_at(const Table& table, size_t row, size_t column) {
  return table.at(row) + "column " + quote(table.columns[column]) + ": ";
}

const std::string& text_cell(const Table& table, size_t r, size_t column) {
  const CellKind kind = table.rows[r].kind(column);
  if (kind == CellKind::kText) return table.rows[r].cells[column];
  throw InputError(
      cell_at(table, r, column) + "expected a text, found " + kind_shown(kind) +
      (kind == CellKind::kNumber || kind == CellKind::kBoolean ? " " + table.rows[r].cells[column] + "; put it in quotes" : ""));
}

}  // namespace detail

namespace {

using detail::cell_at;
using detail::kind_shown;
using detail::text_cell;

double class_of(const Table& table, size_t r, size_t column, const Task& task) {
  const std::string& text = table.rows[r].cells[column];
  if (const auto index = task.find_label(text)) return static_cast<double>(*index);
  constexpr size_t kShown = 20;
  std::vector<std::string> shown(task.labels.begin(),
                                 task.labels.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, task.labels.size())));
  if (task.labels.size() > kShown) shown.push_back(std::to_string(task.labels.size() - kShown) + " more");
  std::vector<std::string> candidates = task.labels;
  std::string spelled;
  for (const auto& [spelling, label] : task.spellings) {
    candidates.push_back(spelling);
    if (task.spellings.size() <= kShown) spelled += (spelled.empty() ? ", written " : ", ") + quote(spelling) + " for " + label;
  }
  std::string message = cell_at(table, r, column) + "unknown label " + quote(text) + did_you_mean(text, candidates) + "; task '" +
                        task.name + "' has " + joined(shown) + spelled;
  if (r == 0 && !table.has_header && !task.columns.empty() && text == table.columns[column]) {
    message += "; the file seems to begin with a header line: remove it, or write a task without columns";
  }
  throw InputError(message);
}

double value_of(const Table& table, size_t r, size_t column) {
  const std::string& text = table.rows[r].cells[column];
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && stop == text.data() + text.size() && std::isfinite(value)) return value;
  throw InputError(cell_at(table, r, column) + "expected a finite number, found " + quote(text));
}

std::optional<double> label_of(const Table& table, size_t r, size_t column, const Task& task, LabelUse use) {
  const CellKind kind = table.rows[r].kind(column);
  const bool is_absent =
      kind == CellKind::kNull || kind == CellKind::kMissing || (kind == CellKind::kText && table.rows[r].cells[column].empty());
  if (is_absent && use == LabelUse::kOptional) return std::nullopt;
  if (is_absent) {
    throw InputError(cell_at(table, r, column) + "expected a label, found " +
                     (kind == CellKind::kText ? "an empty field" : kind_shown(kind)));
  }
  if (kind == CellKind::kTree) throw InputError(cell_at(table, r, column) + "expected a label, found " + kind_shown(kind));
  return task.kind == TaskKind::kClassification ? class_of(table, r, column, task) : value_of(table, r, column);
}

void take_id(const Table& table, size_t r, size_t column, Example& example) {
  const CellKind kind = table.rows[r].kind(column);
  if (kind == CellKind::kNull || kind == CellKind::kMissing) return;  // numbered
  if (kind != CellKind::kText && kind != CellKind::kNumber) {
    throw InputError(cell_at(table, r, column) + "expected an id (a text or a number), found " + kind_shown(kind));
  }
  if (table.rows[r].cells[column].empty()) throw InputError(cell_at(table, r, column) + "expected an id, found an empty field");
  example.id_text = table.rows[r].cells[column];
  example.id_is_number = kind == CellKind::kNumber;
}

// "0.25 -1 3e-2", numbers with blanks between them; in JSON also a list of numbers.
std::vector<float> embedding_of(const Table& table, size_t r, size_t column) {
  const bool is_list = table.rows[r].kind(column) == CellKind::kTree && table.rows[r].cells[column].starts_with("[");
  std::string text = is_list ? table.rows[r].cells[column] : text_cell(table, r, column);
  if (is_list) {
    text = text.substr(1, text.size() - 2);
    std::replace(text.begin(), text.end(), ',', ' ');
  }
  std::vector<float> values;
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    if (*at == ' ') {
      ++at;
      continue;
    }
    float value = 0;
    const auto [stop, error] = std::from_chars(at, end, value);
    const bool ends_well = stop == end || *stop == ' ';
    if (error != std::errc{} || !ends_well || !std::isfinite(value)) {
      throw InputError(cell_at(table, r, column) + "expected finite numbers with blanks between them, found " +
                       quote(std::string(at, end)));
    }
    values.push_back(value);
    at = stop;
  }
  if (values.empty()) throw InputError(cell_at(table, r, column) + "expected an embedding, found an empty field");
  return values;
}

// Text, second text, label and cloze of a classification or regression.
detail::Filler labelled_filler(const Table& table, const Task& task, LabelUse use) {
  const std::string of_task = " of task '" + task.name + "'";
  const size_t text = table.column(task.text_column, "the text" + of_task);
  std::optional<size_t> second, label = table.find_column(task.label_column);
  if (task.second_column) second = table.column(*task.second_column, "the second text" + of_task);
  if (use == LabelUse::kRequired) label = table.column(task.label_column, "the label" + of_task);
  detail::Filler fill_cloze;
  if (task.cloze) fill_cloze = detail::cloze_filler(table, task);
  return [&table, &task, use, text, second, label, fill_cloze](size_t r, Example& example) {
    example.text = text_cell(table, r, text);
    if (second) example.second = text_cell(table, r, *second);
    if (label) example.label = label_of(table, r, *label, task, use);
    if (fill_cloze) fill_cloze(r, example);
  };
}

detail::Filler filler_of(const Table& table, const Task& task, LabelUse use) {
  switch (task.kind) {
    case TaskKind::kClassification:
    case TaskKind::kRegression: return labelled_filler(table, task, use);
    case TaskKind::kGeneration: return detail::generation_filler(table, task, use);
    case TaskKind::kChoice: return detail::choice_filler(table, task, use);
  }
  throw InternalError("unknown kind of task");
}

}  // namespace

std::vector<Example> to_examples(const Table& table, const Task& task, LabelUse use) {
  const detail::Filler fill = filler_of(table, task, use);
  const std::optional<size_t> id = task.id_column ? table.find_column(*task.id_column) : std::nullopt;
  std::optional<size_t> embedding;
  if (task.embedding_column) embedding = table.column(*task.embedding_column, "the embedding of task '" + task.name + "'");

  std::vector<Example> examples;
  examples.reserve(table.rows.size());
  for (size_t r = 0; r < table.rows.size(); ++r) {
    Example example;
    example.id = static_cast<int64_t>(r);
    example.id_text = std::to_string(r);
    example.line = table.rows[r].line;
    if (id) take_id(table, r, *id, example);
    fill(r, example);
    if (embedding) {
      example.embedding = embedding_of(table, r, *embedding);
      const size_t expected = examples.empty() ? example.embedding.size() : examples.front().embedding.size();
      if (example.embedding.size() != expected) {
        throw InputError(cell_at(table, r, *embedding) + "expected " + std::to_string(expected) +
                         " numbers as in the first row, found " + std::to_string(example.embedding.size()));
      }
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

std::vector<Example> read_examples(const Path& path, const Task& task, LabelUse use) {
  return to_examples(read_table(path, {.format = task.format, .columns = task.columns}), task, use);
}

}  // namespace graft
