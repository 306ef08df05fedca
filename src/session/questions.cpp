#include "session/questions.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/options.h"
#include "infer/records.h"
#include "infer/uncertainty.h"
#include "session/subject.h"

namespace graft {

namespace {

std::vector<std::string> first_columns(const Task& task) {
  if (const auto* choice = task.find<Choice>()) return choice->prompt.text.columns();
  if (const auto* generation = task.find<Generation>())
    return generation->prompt ? generation->prompt->text.columns() : std::vector<std::string>{};
  return task.labelled()->text.columns();
}

std::vector<std::string> second_columns(const Task& task) {
  return task.has_second() ? task.labelled()->second->columns() : std::vector<std::string>{};
}

void put_text(const std::vector<std::string>& columns, const std::string& text, size_t number,
              const Task& task, std::map<std::string, std::string>& cells) {
  if (columns.size() != 1)
    throw InputError("question:" + std::to_string(number) + ": task " + quote(task.name) +
                     " makes its text of " + (columns.empty() ? "a whole row" : joined(columns)) +
                     "; give cells");
  cells[columns.front()] = text;
}

// The row of a question, by column.
std::map<std::string, std::string> cells_of(const Question& question, size_t number,
                                            const Task& task) {
  if (!question.cells.empty()) return question.cells;
  std::map<std::string, std::string> cells;
  put_text(first_columns(task), question.text, number, task, cells);
  if (task.has_second()) put_text(second_columns(task), question.second, number, task, cells);
  return cells;
}

}  // namespace

TaskInfo info_of(const Task& task) {
  TaskInfo info{task.name, task_to_node(task).find("kind")->scalar, task.labels(),
                first_columns(task), task.metrics};
  for (const std::string& column : second_columns(task)) info.columns.push_back(column);
  return info;
}

std::vector<Example> examples_of(const std::vector<Question>& questions,
                                 const std::vector<size_t>& asked, const Task& task) {
  Table table;
  table.source = "question";
  std::vector<std::map<std::string, std::string>> all;
  for (const size_t i : asked) {
    all.push_back(cells_of(questions[i], i + 1, task));
    for (const auto& [name, cell] : all.back()) {
      if (!table.find_column(name)) table.columns.push_back(name);
    }
  }
  const auto* choice = task.find<Choice>();
  const std::string list = choice != nullptr ? choice->options.column.value_or("") : "";
  for (size_t i = 0; i < all.size(); ++i) {
    Row& row = table.rows.emplace_back();
    row.line = static_cast<int64_t>(asked[i] + 1);
    for (const std::string& name : table.columns) {
      const auto cell = all[i].find(name);
      row.cells.push_back(cell == all[i].end() ? "" : cell->second);
      const bool is_list = name == list && row.cells.back().starts_with("[");
      row.kinds.push_back(cell == all[i].end() ? CellKind::kMissing
                          : is_list            ? CellKind::kTree
                                               : CellKind::kText);
    }
  }
  return to_examples(table, task, LabelUse::kOptional);
}

SampleOptions sample_options(const SampleRequest& request) {
  Node given = Node::map();
  const auto put = [&](const char* key, const std::optional<int64_t>& value) {
    if (value) given[key] = Node::integer(*value);
  };
  if (!request.routing.empty()) given["routing"] = Node::text(request.routing);
  if (!request.route_unit.empty()) given["route_unit"] = Node::text(request.route_unit);
  put("routes", request.routes);
  put("route_seed", request.route_seed);
  put("dropout_passes", request.dropout_passes);
  put("dropout_seed", request.dropout_seed);
  if (request.dropout_rate) given["dropout_rate"] = Node::number(*request.dropout_rate);
  Options checked(given, "samples");
  const auto whole = [&](const char* key, int64_t least, int64_t most) {
    return checked.has(key) ? std::optional(checked.integer(key, std::nullopt, least, most))
                            : std::nullopt;
  };
  RouteRequest route;
  route.routing = checked.choice("routing", Routing::kMerged, kRoutings);
  route.routes = whole("routes", 2, 1024);
  route.seed = whole("route_seed", 0, INT64_MAX);
  if (checked.has("route_unit"))
    route.unit = checked.choice("route_unit", RouteUnit::kPass, kRouteUnits);
  DropoutRequest dropout{.passes = whole("dropout_passes", 2, 1024),
                         .seed = whole("dropout_seed", 0, INT64_MAX),
                         .rate = {}};
  if (checked.has("dropout_rate"))
    dropout.rate = checked.number("dropout_rate", std::nullopt, 0, 0.99);
  checked.finish();
  return {.route = route_options(route), .dropout = dropout_passes(dropout, route.routing)};
}

std::vector<AnswerUncertainty> uncertainties_of(const Task& task, const at::Tensor& by_sample) {
  const Uncertainty all = uncertainty_of(task.kind(), by_sample);
  const auto at = [](const at::Tensor& values, int64_t row) {
    return values.defined() ? values[row].item<double>() : std::nan("");
  };
  std::vector<AnswerUncertainty> out;
  for (int64_t row = 0; row < by_sample.size(1); ++row) {
    out.push_back({.samples = by_sample.size(0),
                   .entropy = at(all.entropy, row),
                   .expected_entropy = at(all.expected_entropy, row),
                   .information = at(all.information, row),
                   .disagreement = at(all.disagreement, row),
                   .variances = {}});
    if (all.variance.defined()) out.back().variances = doubles_of(all.variance[row]);
  }
  return out;
}

Answer answer_of(const Task& task, const at::Tensor& logits) {
  Answer answer;
  if (const auto* values = task.find<Regression>()) {
    answer.value = values->answered(doubles_of(logits).front());
    answer.scores = {answer.value};
    return answer;
  }
  answer.scores = doubles_of(logits.softmax(0));
  const auto best = static_cast<size_t>(logits.argmax().item<int64_t>());
  answer.label = task.labels()[best];
  answer.value = answer.scores[best];
  return answer;
}

Answer answer_of(const Example& example, const std::vector<double>& scores, int64_t chosen) {
  const auto best = static_cast<size_t>(chosen);
  return {example.at<ChoiceRow>().options[best], scores[best], scores};
}

}  // namespace graft
