// Scores of an adapter on data sets that have tasks of their own, and their mean: what a run on a
// mixture is judged by.
#pragma once

#include <string>
#include <vector>

#include "train/inputs.h"

namespace graft {

// Of a metric's value: larger is better, and NaN is the worst. Finite.
double goodness(const std::string& metric, double value);

// {rows, and what put_scores gives}; null where undefined.
Node scores_node(const EvalData& data, const Evaluation& evaluation);

struct TaskScores {
  std::vector<Evaluation> evaluations;  // one a task, in order
  std::vector<Score> groups;            // the mean of each group's tasks, in order
  // Over the groups and the tasks without one, of their primary metrics; NaN where one is
  // undefined.
  double mean = 0;
  double goodness = 0;  // of the mean

  // {NAME: {rows, loss, each metric}, ..., groups: {GROUP: ...}, mean: ..., mean_of: METRIC};
  // groups where there are some.
  Node node(const std::vector<EvalTaskData>& tasks) const;
};

// Nothing is differentiated. Requires: at least one task; primary metrics that have a common mean
// (load_inputs).
TaskScores score_tasks(const Model& model, const BoundAdapter& bound,
                       const std::vector<EvalTaskData>& tasks, const ModelText& text,
                       const EvaluateOptions& options);

}  // namespace graft
