// More than one number about answers: scores of every class, the confusion matrix, errors of
// values, and what answering without reading would score. Equal to scikit-learn's
// (tests/golden/data/reports.json).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/metrics.h"

namespace graft {

struct ClassScores {
  double precision = 0;  // hits / rows answered so; 0 where there are none
  double recall = 0;     // hits / rows that are so; 0 where there are none
  double f1 = 0;         // harmonic mean of the two; 0 where both are 0
  int64_t support = 0;   // rows that are so
};

struct ClassReport {
  std::vector<ClassScores> classes;  // of every label of the task, in index order
  ClassScores macro;                 // plain means over the classes that occur on either side
  ClassScores weighted;              // means weighted by support
  double accuracy = 0;               // share of rows that are right
  std::vector<std::vector<int64_t>> confusion;  // [truth][answer]: rows
};

// As scikit-learn's classification_report(zero_division=0) and confusion_matrix. truth, answers: 0
// .. num_labels - 1. Throws InputError when there are no rows or the two sides differ in length.
ClassReport class_report(Classes truth, Classes answers, int64_t num_labels);

struct ValueReport {
  double mean_absolute_error = 0, root_mean_squared_error = 0;
  double r2 = 0;  // 1 - sum (t-a)^2 / sum (t-mean t)^2; of equal truths 1 where every answer is
                  // right, else 0; NaN for one row
  double mean_truth = 0, mean_answer = 0;
};

// Of a regression; as scikit-learn's functions of these names. Throws as above.
ValueReport value_report(Values truth, Values answers);

// What answering the commonest label on every row scores. Of a choice the commonest place of the
// right option.
struct Majority {
  std::string label;
  std::vector<Score> scores;  // the task's metrics; of a choice accuracy alone
};

// Nothing for tasks without classes. Of labels that are equally common the first. truth: class
// indices, or indices of options.
std::optional<Majority> majority_of(const Task& task, Values truth);

// The label that all answers are; nothing where they differ, for a single row, and for tasks
// without classes.
std::optional<std::string> only_answer(const Task& task, Values answers);

// The labels of a classification that no row has, in the task's order; none for other tasks.
// Requires: a label on every row.
std::vector<std::string> unseen_labels(const Task& task, const std::vector<Example>& rows);

// Loss of the best answers that do not read their row: the entropy of the labels' shares in nats,
// or the values' variance. Nothing for tasks that are answered in words. Requires: a label on every
// row.
std::optional<double> blind_loss(const Task& task, const std::vector<Example>& rows);

}  // namespace graft
