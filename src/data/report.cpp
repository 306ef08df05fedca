#include "data/report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"

namespace graft {

namespace {

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

void check_sides(size_t truth, size_t answers) {
  if (truth != answers) {
    throw InputError("report: expected as many answers as labels, found " +
                     std::to_string(answers) + " and " + std::to_string(truth));
  }
  if (truth == 0) throw InputError("report: expected at least one row, found none");
}

// sum += weight * scores
void add_weighted(ClassScores& sum, const ClassScores& scores, double weight) {
  sum.precision += weight * scores.precision;
  sum.recall += weight * scores.recall;
  sum.f1 += weight * scores.f1;
}

bool has_classes(const Task& task) {
  return task.kind() == TaskKind::kClassification || task.kind() == TaskKind::kChoice;
}

std::string class_name(const Task& task, double index) {
  const auto place = static_cast<size_t>(index);
  return task.kind() == TaskKind::kChoice ? "option " + std::to_string(place)
                                          : task.labels().at(place);
}

}  // namespace

ClassReport class_report(Classes truth, Classes answers, int64_t num_labels) {
  check_sides(truth.size(), answers.size());
  const auto labels = static_cast<size_t>(num_labels);
  ClassReport out;
  out.confusion.assign(labels, std::vector<int64_t>(labels, 0));
  std::vector<int64_t> answered(labels, 0);
  int64_t hits = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    ensure(std::min(truth[i], answers[i]) >= 0 && std::max(truth[i], answers[i]) < num_labels,
           "class_report: an unknown class");
    ++out.confusion[static_cast<size_t>(truth[i])][static_cast<size_t>(answers[i])];
    ++answered[static_cast<size_t>(answers[i])];
    hits += truth[i] == answers[i] ? 1 : 0;
  }
  const auto rows = static_cast<int64_t>(truth.size());
  std::vector<ClassScores> occurring;
  for (size_t k = 0; k < labels; ++k) {
    ClassScores scores;
    for (const int64_t count : out.confusion[k]) scores.support += count;
    const int64_t own = out.confusion[k][k];
    scores.precision = share(own, answered[k]);
    scores.recall = share(own, scores.support);
    scores.f1 = share(2 * own, scores.support + answered[k]);
    out.classes.push_back(scores);
    if (scores.support + answered[k] > 0) occurring.push_back(scores);
  }
  for (const ClassScores& scores : occurring) {
    add_weighted(out.macro, scores, 1.0 / static_cast<double>(occurring.size()));
    add_weighted(out.weighted, scores, share(scores.support, rows));
  }
  out.macro.support = out.weighted.support = rows;
  out.accuracy = share(hits, rows);
  return out;
}

ValueReport value_report(Values truth, Values answers) {
  check_sides(truth.size(), answers.size());
  ValueReport out;
  out.mean_truth = mean(truth);
  out.mean_answer = mean(answers);
  const auto rows = static_cast<double>(truth.size());
  double squares = 0, spread = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double error = truth[i] - answers[i];
    out.mean_absolute_error += std::abs(error) / rows;
    squares += error * error;
    spread += (truth[i] - out.mean_truth) * (truth[i] - out.mean_truth);
  }
  out.root_mean_squared_error = std::sqrt(squares / rows);
  if (truth.size() == 1) out.r2 = std::numeric_limits<double>::quiet_NaN();
  else if (spread == 0) out.r2 = squares == 0 ? 1 : 0;
  else out.r2 = 1 - squares / spread;
  return out;
}

std::optional<Majority> majority_of(const Task& task, Values truth) {
  if (!has_classes(task) || truth.empty()) return std::nullopt;
  std::map<double, int64_t> counts;
  for (const double label : truth) ++counts[label];
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  Majority out{class_name(task, most->first), {}};
  if (task.kind() == TaskKind::kChoice) {
    const bool is_asked =
        std::find(task.metrics.begin(), task.metrics.end(), "accuracy") != task.metrics.end();
    if (is_asked)
      out.scores.push_back({"accuracy", share(most->second, static_cast<int64_t>(truth.size()))});
  } else {
    out.scores = score(task, truth, std::vector<double>(truth.size(), most->first));
  }
  return out;
}

std::optional<std::string> only_answer(const Task& task, Values answers) {
  if (!has_classes(task) || answers.size() < 2) return std::nullopt;
  const bool is_one = std::all_of(answers.begin(), answers.end(),
                                  [&](double answer) { return answer == answers.front(); });
  return is_one ? std::optional(class_name(task, answers.front())) : std::nullopt;
}

std::vector<std::string> unseen_labels(const Task& task, const std::vector<Example>& rows) {
  const std::vector<std::string>& labels = task.labels();
  std::vector<bool> is_seen(labels.size());
  for (const Example& row : rows) {
    if (!labels.empty()) is_seen[static_cast<size_t>(*row.label)] = true;
  }
  std::vector<std::string> unseen;
  for (size_t label = 0; label < labels.size(); ++label) {
    if (!is_seen[label]) unseen.push_back(labels[label]);
  }
  return unseen;
}

std::optional<double> blind_loss(const Task& task, const std::vector<Example>& rows) {
  if (task.is_answered_in_words() || rows.empty()) return std::nullopt;
  const auto count = static_cast<double>(rows.size());
  std::vector<double> labels;
  for (const Example& row : rows) labels.push_back(*row.label);
  double loss = 0;
  if (task.kind() == TaskKind::kRegression) {
    const double center = mean(labels);
    for (const double value : labels) loss += (value - center) * (value - center) / count;
    return loss;
  }
  std::map<double, int64_t> counts;
  for (const double label : labels) ++counts[label];
  for (const auto& [label, found] : counts)
    loss -= static_cast<double>(found) / count * std::log(static_cast<double>(found) / count);
  return loss;
}

}  // namespace graft
