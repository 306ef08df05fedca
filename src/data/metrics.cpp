#include "data/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/error.h"

namespace graft {

namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

template <typename T>
void check_sides(std::span<const T> truth, std::span<const T> predicted) {
  if (truth.size() != predicted.size()) {
    throw InputError("metric: expected as many predictions as labels, found " +
                     std::to_string(predicted.size()) + " and " + std::to_string(truth.size()));
  }
  if (truth.empty()) throw InputError("metric: expected at least one row, found none");
}

double ratio_f1(int64_t hits, int64_t in_truth, int64_t in_predicted) {
  const int64_t both = in_truth + in_predicted;
  return both == 0 ? 0.0 : 2.0 * static_cast<double>(hits) / static_cast<double>(both);
}

// Per class: rows that are it on both sides, in the truth, in the predictions.
struct ClassCount {
  int64_t hits = 0, in_truth = 0, in_predicted = 0;
};

std::map<int64_t, ClassCount> count_classes(Classes truth, Classes predicted) {
  std::map<int64_t, ClassCount> counts;
  for (size_t i = 0; i < truth.size(); ++i) {
    ++counts[truth[i]].in_truth;
    ++counts[predicted[i]].in_predicted;
    if (truth[i] == predicted[i]) ++counts[truth[i]].hits;
  }
  return counts;
}

struct Deviations {
  std::vector<double> values;
  double length = 0;  // root of the sum of squares; scaled by the largest inside, so that squares
                      // neither overflow nor vanish
};

Deviations deviations(Values values) {
  const double center = mean(values);
  Deviations out{{values.begin(), values.end()}, 0};
  double largest = 0, squares = 0;
  for (double& v : out.values) largest = std::max(largest, std::abs(v -= center));
  if (largest == 0) return out;
  for (const double v : out.values) squares += (v / largest) * (v / largest);
  out.length = largest * std::sqrt(squares);
  return out;
}

bool is_constant(Values values) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; });
}

bool has_nan(Values values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
}

// Ranks from 1; equal values share the mean of their ranks.
std::vector<double> ranks(Values values) {
  const std::vector<size_t> order = ascending_order(values);
  std::vector<double> out(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double shared = static_cast<double>(begin + end + 1) / 2.0;  // mean of begin+1 .. end
    for (size_t i = begin; i < end; ++i) out[order[i]] = shared;
    begin = end;
  }
  return out;
}

std::vector<int64_t> as_classes(Values values) {
  std::vector<int64_t> out;
  for (const double v : values) {
    ensure(v >= 0 && v == std::floor(v), "score: a class is not a whole number from 0");
    out.push_back(static_cast<int64_t>(v));
  }
  return out;
}

}  // namespace

bool is_less_better(std::string_view metric) {
  constexpr std::string_view kMean = "mean_";
  if (metric.starts_with(kMean)) metric.remove_prefix(kMean.size());
  metric = metric.substr(0, metric.find(' '));
  for (const std::string_view each : {"loss", "forgetting", "perplexity", "ter", "brier", "ece"}) {
    if (metric == each) return true;
  }
  return false;
}

bool is_score_key(std::string_view key) {
  for (const std::string_view other : {"rows", "mean_of", "only_answer", "step", "epoch", "event",
                                       "seconds", "majority", "calibration"}) {
    if (key == other) return false;
  }
  return true;
}

double accuracy(Classes truth, Classes predicted) {
  check_sides(truth, predicted);
  int64_t hits = 0;
  for (size_t i = 0; i < truth.size(); ++i) hits += truth[i] == predicted[i] ? 1 : 0;
  return static_cast<double>(hits) / static_cast<double>(truth.size());
}

double f1(Classes truth, Classes predicted, int64_t positive) {
  check_sides(truth, predicted);
  ClassCount count = count_classes(truth, predicted)[positive];
  return ratio_f1(count.hits, count.in_truth, count.in_predicted);
}

double f1_macro(Classes truth, Classes predicted) {
  check_sides(truth, predicted);
  double sum = 0;
  const auto counts = count_classes(truth, predicted);
  for (const auto& [label, count] : counts)
    sum += ratio_f1(count.hits, count.in_truth, count.in_predicted);
  return sum / static_cast<double>(counts.size());
}

// Gorodkin 2004 eq. 8 in counts: (hits n - sum_k t_k p_k) / sqrt((n^2 - sum t_k^2)(n^2 - sum
// p_k^2)).
double matthews(Classes truth, Classes predicted) {
  check_sides(truth, predicted);
  const auto rows = static_cast<double>(truth.size());
  double hits = 0, both = 0, truth_squares = 0, predicted_squares = 0;
  for (const auto& [label, count] : count_classes(truth, predicted)) {
    const auto t = static_cast<double>(count.in_truth), p = static_cast<double>(count.in_predicted);
    hits += static_cast<double>(count.hits);
    both += t * p;
    truth_squares += t * t;
    predicted_squares += p * p;
  }
  const double truth_spread = rows * rows - truth_squares,
               predicted_spread = rows * rows - predicted_squares;
  if (truth_spread == 0 || predicted_spread == 0) return 0;
  return (hits * rows - both) / (std::sqrt(truth_spread) * std::sqrt(predicted_spread));
}

double pearson(Values truth, Values predicted) {
  check_sides(truth, predicted);
  if (has_nan(truth) || has_nan(predicted) || is_constant(truth) || is_constant(predicted))
    return kUndefined;
  const Deviations a = deviations(truth), b = deviations(predicted);
  double sum = 0;
  for (size_t i = 0; i < a.values.size(); ++i)
    sum += (a.values[i] / a.length) * (b.values[i] / b.length);
  return std::isnan(sum) ? kUndefined : std::clamp(sum, -1.0, 1.0);
}

double spearman(Values truth, Values predicted) {
  check_sides(truth, predicted);
  if (has_nan(truth) || has_nan(predicted)) return kUndefined;  // NaN has no rank
  return pearson(ranks(truth), ranks(predicted));
}

double mean(Values values) {
  if (values.empty()) throw InputError("mean: expected at least one value, found none");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<size_t> ascending_order(Values values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] < values[b]; });
  return order;
}

const std::vector<std::string>& metric_names(TaskKind kind) {
  static const std::vector<std::string> kOfClasses = {"accuracy", "f1", "f1_macro", "matthews"},
                                        kOfValues = {"pearson", "spearman"},
                                        kOfTexts = {"exact_match",   "perplexity",
                                                    "bleu",          "ter",
                                                    "nist",          "rouge_l",
                                                    "cider",         "answer_after",
                                                    "answer_option", "answer_number",
                                                    "answer_letter"},
                                        kOfChoices = {"accuracy", "accuracy_median",
                                                      "accuracy_by_group"};
  switch (kind) {
    case TaskKind::kClassification: return kOfClasses;
    case TaskKind::kRegression: return kOfValues;
    case TaskKind::kGeneration: return kOfTexts;
    case TaskKind::kChoice: return kOfChoices;
  }
  throw InternalError("unknown kind of task");
}

std::vector<std::string> default_metrics(TaskKind kind) {
  switch (kind) {
    case TaskKind::kClassification:
    case TaskKind::kChoice: return {"accuracy"};
    case TaskKind::kRegression: return {"pearson", "spearman"};
    case TaskKind::kGeneration: return {"exact_match"};
  }
  throw InternalError("unknown kind of task");
}

std::vector<Score> score(const Task& task, Values truth, Values predicted) {
  check_sides(truth, predicted);
  ensure(task.kind() == TaskKind::kClassification || task.kind() == TaskKind::kRegression,
         "score: texts and choices have functions of their own, in text_score.h");
  std::vector<int64_t> true_classes, predicted_classes;
  if (task.kind() == TaskKind::kClassification) {
    true_classes = as_classes(truth);
    predicted_classes = as_classes(predicted);
  }
  std::vector<Score> scores;
  for (const std::string& name : task.metrics) {
    double value = kUndefined;
    if (name == "accuracy") value = accuracy(true_classes, predicted_classes);
    else if (name == "f1")
      value = f1(true_classes, predicted_classes, task.at<Classification>().positive);
    else if (name == "f1_macro") value = f1_macro(true_classes, predicted_classes);
    else if (name == "matthews") value = matthews(true_classes, predicted_classes);
    else if (name == "pearson") value = pearson(truth, predicted);
    else if (name == "spearman") value = spearman(truth, predicted);
    else throw InternalError("score: unknown metric '" + name + "'");
    scores.push_back({name, value});
  }
  return scores;
}

Node metric_node(double value) { return std::isfinite(value) ? Node::number(value) : Node::null(); }

}  // namespace graft
