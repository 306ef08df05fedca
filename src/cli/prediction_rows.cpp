#include "cli/prediction_rows.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "infer/records.h"

namespace graft {

namespace {

constexpr std::string_view kInput = "input.";

// Graft's columns of a kind of task, and those that are written where none are named.
struct OwnColumns {
  std::vector<std::string> all, usual;
};

OwnColumns own_columns(const Task& task, bool has_samples) {
  OwnColumns own{{"id", "text", "gold", "prediction"}, {"id", "prediction"}};
  if (task.has_second()) own.all.insert(own.all.begin() + 2, "second");
  std::vector<std::string> numbers;
  if (task.kind() == TaskKind::kChoice) numbers = {"chosen", "scores"};
  if (task.kind() == TaskKind::kClassification) numbers = {"probabilities", "logits"};
  if (task.kind() == TaskKind::kRegression) numbers = {"logits"};
  if (has_samples && task.kind() == TaskKind::kClassification)
    numbers.insert(numbers.end(), {"entropy", "expected_entropy", "information", "disagreement"});
  if (has_samples && task.kind() == TaskKind::kRegression) numbers.emplace_back("information");
  own.all.insert(own.all.end(), numbers.begin(), numbers.end());
  own.usual.insert(own.usual.end(), numbers.begin(), numbers.end());
  if (task.kind() == TaskKind::kClassification) own.all.emplace_back("probability");
  if (has_samples && task.kind() == TaskKind::kClassification) own.all.emplace_back("variances");
  if (task.kind() == TaskKind::kChoice) own.all.emplace_back("options");
  return own;
}

Node own_of(const Example& example) {
  Node own = Node::map({{"id", id_node(example)}, {"text", Node::text(example.text)}});
  if (const std::string* second = example.second()) own["second"] = Node::text(*second);
  return own;
}

}  // namespace

Node cell_node(const Table& table, size_t row, size_t column) {
  const std::string& cell = table.rows[row].cells[column];
  switch (table.rows[row].kind(column)) {
    case CellKind::kText: return Node::text(cell);
    case CellKind::kNumber:
    case CellKind::kBoolean: return Node::plain(cell);
    case CellKind::kNull:
    case CellKind::kMissing: return Node::null();
    case CellKind::kTree: return parse_json(cell, table.at(row) + table.columns[column]);
  }
  return Node::null();
}

PredictionColumns::PredictionColumns(std::vector<std::string> names, const Task& task,
                                     TableFormat format, bool has_samples)
    : format_(format) {
  OwnColumns own = own_columns(task, has_samples);
  if (names.empty()) names = std::move(own.usual);
  own_ = std::move(own.all);
  std::set<std::string> taken;
  for (const std::string& name : names) {
    if (name.empty()) throw InputError("--columns: column \"\" has no name");
    columns_.push_back(column_of(name, task));
    for (const std::string& each : columns_.back().header()) {
      if (!taken.insert(each).second)
        throw InputError("--columns: column " + quote(each) + " appears twice; leave one out");
      delimited_cell(each, format_, "the header: ");
    }
    if (!columns_.back().is_answer()) continue;
    for (const std::string& label : task.labels())
      delimited_cell(label, format_, "task " + quote(task.name) + ", its labels: ");
  }
}

PredictionColumns::Column PredictionColumns::column_of(const std::string& name,
                                                       const Task& task) const {
  Column column;
  column.name = name;
  const bool is_own = std::find(own_.begin(), own_.end(), name) != own_.end();
  if (!is_own) column.input = name.starts_with(kInput) ? name.substr(kInput.size()) : name;
  const bool is_by_label = name == "probabilities" || name == "variances";
  if (is_own && is_by_label && is_delimited(format_)) column.keys = task.labels();
  return column;
}

std::vector<std::string> PredictionColumns::Column::header() const {
  if (keys.empty()) return {name};
  std::vector<std::string> names;
  for (const std::string& key : keys) names.push_back(name + "." + key);
  return names;
}

std::vector<std::string> PredictionColumns::header() const {
  std::vector<std::string> names;
  for (const Column& column : columns_) {
    for (std::string& each : column.header()) names.push_back(std::move(each));
  }
  return names;
}

void PredictionColumns::bind(const Table& file, const Dataset& data) {
  std::vector<std::string> asked;
  for (const Column& column : columns_) asked.push_back(column.input);
  opened_ = with_inner_columns(file, asked);
  const Table& table = opened_ ? *opened_ : file;
  for (Column& column : columns_) {
    if (column.input.empty()) continue;
    column.index = table.find_column(column.input);
    find_in_rows(table, file.columns.size(), column);
    if (column.index || table_ != nullptr)
      continue;  // of rows that come in pieces, later ones may lack a key
    std::vector<std::string> known = own_;
    known.insert(known.end(), table.columns.begin(), table.columns.end());
    throw InputError("--columns: no column " + quote(column.name) +
                     did_you_mean(column.name, known) + "; there are " + joined(own_) +
                     ", and those of " + table.source + ": " + joined_first(table.columns, 20));
  }
  table_ = &table;
  if (format_ == TableFormat::kTsv) check_cells(table, data);
}

// Of a path into a column whether a row of `table` has it, and else what there is.
void PredictionColumns::find_in_rows(const Table& table, size_t num_own, Column& column) {
  if (!column.index || column.is_found) return;
  const size_t index = *column.index;
  const auto has_it = [&](const Row& row) { return row.kind(index) != CellKind::kMissing; };
  column.is_found = index < num_own || std::any_of(table.rows.begin(), table.rows.end(), has_it);
  if (!column.is_found) column.hint = inner_names_hint(table, index);
}

void PredictionColumns::check_found() const {
  for (const Column& column : columns_) {
    if (column.index && !column.is_found)
      throw InputError("--columns: no row has " + quote(column.name) + column.hint);
  }
}

// What is not known before a row is answered is a number, or a label.
void PredictionColumns::check_cells(const Table& table, const Dataset& data) const {
  for (size_t r = 0; r < table.rows.size(); ++r) {
    for (const Column& column : columns_) {
      if (column.index) delimited_cell(table.rows[r].cells[*column.index], format_, table.at(r));
    }
  }
  for (const Example& example : data.examples) {
    const Node own = own_of(example);
    const auto* const choice = example.find<ChoiceRow>();
    for (const Column& column : columns_) {
      const Node* const known = column.is_own() ? own.find(column.name) : nullptr;
      if (known != nullptr) delimited_cell(known->scalar, format_, example.where());
      if (choice == nullptr || !column.is_answer()) continue;
      for (const std::string& option : choice->options)
        delimited_cell(option, format_, example.where());
    }
  }
}

Node PredictionColumns::row(const Node& own, const Example& example) const {
  Node out = Node::map();
  for (const Column& column : columns_) {
    if (!column.input.empty()) {
      const auto row = static_cast<size_t>(example.id - table_->first_row);
      out[column.name] = column.index ? cell_node(*table_, row, *column.index) : Node::null();
      continue;
    }
    const Node* value = own.find(column.name);
    if (column.keys.empty()) out[column.name] = value == nullptr ? Node::null() : *value;
    for (const std::string& key : column.keys) out[column.name + "." + key] = *value->find(key);
  }
  return out;
}

std::vector<PredictedRow> predicted_rows(const Task& task, const Dataset& data,
                                         const Predictions& predictions) {
  const Uncertainty uncertainty = predictions.by_sample.defined()
                                      ? uncertainty_of(task.kind(), predictions.by_sample)
                                      : Uncertainty{};
  std::vector<PredictedRow> rows;
  for (int64_t i = 0; i < data.size(); ++i) {
    const Example& example = data.examples[static_cast<size_t>(i)];
    const at::Tensor logits = predictions.logits[i];
    PredictedRow& row = rows.emplace_back(PredictedRow{own_of(example), std::nullopt});
    if (task.kind() == TaskKind::kRegression) {
      row.own["gold"] = example.label ? Node::number(*example.label) : Node::null();
      const auto value = static_cast<double>(logits[0].item<float>());
      row.own["prediction"] = Node::number(task.at<Regression>().answered(value));
    } else {
      const auto label = [&](int64_t index) {
        return Node::text(task.labels()[static_cast<size_t>(index)]);
      };
      const int64_t best = logits.argmax().item<int64_t>();
      const at::Tensor shares = logits.softmax(0);
      const auto by_label = [&](const at::Tensor& values) {
        Node out = Node::map();
        for (int64_t c = 0; c < values.numel(); ++c)
          out[task.labels()[static_cast<size_t>(c)]] = Node::number(values[c].item<float>());
        return out;
      };
      if (uncertainty.variance.defined())
        row.own["variances"] = by_label(uncertainty.variance[i].to(at::kFloat));
      row.own["gold"] = example.label ? label(static_cast<int64_t>(*example.label)) : Node::null();
      row.own["prediction"] = label(best);
      row.own["probability"] = Node::number(shares[best].item<float>());
      row.own["probabilities"] = by_label(shares);
      if (example.label) row.is_wrong = static_cast<int64_t>(*example.label) != best;
    }
    row.own["logits"] = number_list(logits);
    for (const auto& [name, values] : {std::pair{"entropy", &uncertainty.entropy},
                                       std::pair{"expected_entropy", &uncertainty.expected_entropy},
                                       std::pair{"information", &uncertainty.information},
                                       std::pair{"disagreement", &uncertainty.disagreement}}) {
      if (values->defined())
        row.own[name] = Node::number(static_cast<float>((*values)[i].item<double>()));
    }
  }
  return rows;
}

std::vector<PredictedRow> chosen_rows(const Dataset& data, const Choices& choices) {
  std::vector<PredictedRow> rows;
  for (size_t i = 0; i < data.examples.size(); ++i) {
    const Example& example = data.examples[i];
    const std::vector<std::string>& texts = example.at<ChoiceRow>().options;
    const auto option = [&](int64_t index) {
      return Node::text(texts[static_cast<size_t>(index)]);
    };
    PredictedRow& row = rows.emplace_back(PredictedRow{own_of(example), std::nullopt});
    std::vector<Node> scores, options;
    for (const double score : choices.scores[i]) scores.push_back(Node::number(score));
    for (const std::string& each : texts) options.push_back(Node::text(each));
    row.own["gold"] = example.label ? option(static_cast<int64_t>(*example.label)) : Node::null();
    row.own["prediction"] = option(choices.chosen[i]);
    row.own["chosen"] = Node::integer(choices.chosen[i]);
    row.own["scores"] = Node::list(std::move(scores));
    row.own["options"] = Node::list(std::move(options));
    if (example.label) row.is_wrong = static_cast<int64_t>(*example.label) != choices.chosen[i];
  }
  return rows;
}

}  // namespace graft
