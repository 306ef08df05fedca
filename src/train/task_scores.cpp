#include "train/task_scores.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "infer/trust.h"

namespace graft {

namespace {

double primary_of(const Task& task, const Evaluation& evaluation) {
  for (const Score& score : evaluation.scores) {
    if (score.name == task.primary_metric) return score.value;
  }
  throw InternalError("task '" + task.name + "' was not scored by its primary metric");
}

}  // namespace

double goodness(const std::string& metric, double value) {
  constexpr double kWorst = -1e300;  // finite: a checkpoint holds it
  if (std::isnan(value)) return kWorst;
  return std::clamp(is_less_better(metric) ? -value : value, kWorst, -kWorst);
}

Node scores_node(const EvalData& data, const Evaluation& evaluation) {
  Node scores = Node::map({{"rows", Node::integer(data.rows.size())}});
  put_scores(scores, evaluation);
  const bool has_classes = evaluation.logits.defined() && evaluation.logits.size(1) > 1;
  if (has_classes) scores["calibration"] = to_node(trust_of(data.rows, evaluation.logits));
  return scores;
}

Node TaskScores::node(const std::vector<EvalTaskData>& tasks) const {
  Node out = Node::map();
  for (size_t i = 0; i < tasks.size(); ++i)
    out[tasks[i].name] = scores_node(*tasks[i].data, evaluations[i]);
  for (const Score& group : groups) out["groups"][group.name] = metric_node(group.value);
  out["mean"] = metric_node(mean);
  std::vector<std::string> metrics;  // one, or several that are all shares
  for (const EvalTaskData& each : tasks) {
    if (std::find(metrics.begin(), metrics.end(), each.task.primary_metric) == metrics.end())
      metrics.push_back(each.task.primary_metric);
  }
  out["mean_of"] = Node::text(joined(metrics));
  return out;
}

TaskScores score_tasks(const Model& model, const BoundAdapter& bound,
                       const std::vector<EvalTaskData>& tasks, const ModelText& text,
                       const EvaluateOptions& options) {
  TaskScores out;
  std::vector<double> values;
  std::vector<std::pair<std::string, std::vector<double>>> groups;
  for (const EvalTaskData& each : tasks) {
    out.evaluations.push_back(evaluate(model, bound, each.task, *each.data, text, options));
    const double value = primary_of(each.task, out.evaluations.back());
    if (each.group.empty()) {
      values.push_back(value);
      continue;
    }
    const auto found = std::find_if(groups.begin(), groups.end(),
                                    [&](const auto& group) { return group.first == each.group; });
    if (found != groups.end()) found->second.push_back(value);
    else groups.push_back({each.group, {value}});
  }
  for (const auto& [name, of_tasks] : groups) {
    out.groups.push_back({name, graft::mean(of_tasks)});
    values.push_back(out.groups.back().value);
  }
  out.mean = mean(values);
  out.goodness = goodness(tasks.front().task.primary_metric, out.mean);
  return out;
}

}  // namespace graft
