// Scores of predictions against labels, equal to scikit-learn's and SciPy's
// (tests/golden/data/metrics.json).
//
// Classes are indices from 0. A score that does not exist (a correlation with a constant) is NaN,
// null in JSON: metric_node(). Every function throws InputError when there are no rows or the two
// sides differ in length.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/document.h"
#include "data/task.h"

namespace graft {

using Classes = std::span<const int64_t>;
using Values = std::span<const double>;

// Whether a smaller value is better, of a metric or of the loss, and of what a study keeps beside
// them ("forgetting", "mean_perplexity", "mean_perplexity GROUP").
bool is_less_better(std::string_view metric);

// Whether a key of an evaluation in files and logs is a score's, or of scores below it: not "rows",
// "majority" and the like, which stand beside them.
bool is_score_key(std::string_view key);

// Share of equal rows, in [0, 1].
double accuracy(Classes truth, Classes predicted);
// 2 TP / (2 TP + FP + FN) for class `positive`, in [0, 1]; 0 when neither side has it, as
// scikit-learn's zero_division default.
double f1(Classes truth, Classes predicted, int64_t positive = 1);
// Mean of f1 over the classes that occur on either side, as scikit-learn's
// f1_score(average="macro").
double f1_macro(Classes truth, Classes predicted);
// Matthews correlation for any number of classes (Gorodkin 2004), in [-1, 1]; 0 when either side
// has one class only.
double matthews(Classes truth, Classes predicted);
// Pearson correlation, in [-1, 1]; NaN when a side is constant or holds a NaN, and for one row
// (where SciPy raises).
double pearson(Values truth, Values predicted);
// Pearson correlation of the ranks, ties sharing their mean rank; NaN when a side is constant or
// holds a NaN, and for one row.
double spearman(Values truth, Values predicted);

// Arithmetic mean. Throws InputError without values.
double mean(Values values);

// The places of all values from the least on, equal ones in their order. Requires: none is NaN.
std::vector<size_t> ascending_order(Values values);

// The metrics that a kind of task can ask for, by the names used in task files and metrics.json.
const std::vector<std::string>& metric_names(TaskKind kind);
// The first of them for a new task: accuracy; pearson and spearman; exact_match.
std::vector<std::string> default_metrics(TaskKind kind);

struct Score {
  std::string name;
  double value = 0;
};

// The task's metrics in its order, of a classification or regression (others: text_score.h). truth,
// predicted: class indices (as whole numbers) or values, by the task's kind.
std::vector<Score> score(const Task& task, Values truth, Values predicted);

// A number, or null for NaN.
Node metric_node(double value);

}  // namespace graft
