// Reports beside scikit-learn's, and what answering without reading scores.
#include "data/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/data/expect_error.h"

namespace graft::test_report {
namespace {

using nlohmann::json;
using Numbers = std::vector<double>;

constexpr int64_t kLabels = 8;  // of the golden reports

const json& golden() {
  static const json kGolden = [] {
    std::ifstream file(std::string(GRAFT_SOURCE_DIR) + "/tests/golden/data/metrics.json");
    return json::parse(file);
  }();
  return kGolden;
}

void expect_near(double found, const json& expected, const std::string& what) {
  if (expected.is_null()) EXPECT_TRUE(std::isnan(found)) << what << ": found " << found;
  else
    EXPECT_NEAR(found, expected.get<double>(),
                1e-12 * std::max(1.0, std::abs(expected.get<double>())))
        << what;
}

// [precision, recall, f1, support]
void expect_scores(const ClassScores& found, const json& expected, const std::string& what) {
  expect_near(found.precision, expected[0], what + ": precision");
  expect_near(found.recall, expected[1], what + ": recall");
  expect_near(found.f1, expected[2], what + ": f1");
  EXPECT_EQ(found.support, expected[3].get<double>()) << what << ": support";
}

TEST(Report, OfClassesEqualsScikitLearn) {
  ASSERT_GE(golden()["classification"].size(), 130u);
  for (const json& c : golden()["classification"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto truth = c["truth"].get<std::vector<int64_t>>(),
               predicted = c["predicted"].get<std::vector<int64_t>>();
    const ClassReport found = class_report(truth, predicted, kLabels);
    const json& expected = c["report"];
    for (size_t k = 0; k < kLabels; ++k)
      expect_scores(found.classes[k], expected["classes"][k], "class " + std::to_string(k));
    expect_scores(found.macro, expected["macro"], "macro");
    expect_scores(found.weighted, expected["weighted"], "weighted");
    expect_near(found.accuracy, c["accuracy"], "accuracy");
    EXPECT_EQ(found.confusion, expected["confusion"].get<std::vector<std::vector<int64_t>>>());
    EXPECT_NEAR(found.macro.f1, f1_macro(truth, predicted), 1e-15)
        << "the metric of that name is the same number";
  }
}

TEST(Report, OfValuesEqualsScikitLearn) {
  int64_t compared = 0;
  for (const json& c : golden()["regression"]) {
    if (!c.contains("r2")) continue;
    SCOPED_TRACE(c["name"].get<std::string>());
    const ValueReport found =
        value_report(c["truth"].get<Numbers>(), c["predicted"].get<Numbers>());
    expect_near(found.mean_absolute_error, c["mean_absolute_error"], "mean absolute error");
    expect_near(found.root_mean_squared_error, c["root_mean_squared_error"],
                "root mean squared error");
    // 1 - a quotient of sums: where the answers are far off, rounding grows with it.
    if (c["r2"].is_null()) EXPECT_TRUE(std::isnan(found.r2));
    else
      EXPECT_NEAR(found.r2, c["r2"].get<double>(),
                  1e-10 * std::max(1.0, std::abs(c["r2"].get<double>())));
    ++compared;
  }
  EXPECT_GE(compared, 130);
}

TEST(Report, NeedsRowsAndEqualSides) {
  EXPECT_NE(input_error([] {
              class_report(std::vector<int64_t>{}, std::vector<int64_t>{}, 2);
            }).find("at least one row"),
            std::string::npos);
  EXPECT_NE(input_error([] {
              value_report(Numbers{1}, Numbers{1, 2});
            }).find("found 2 and 1"),
            std::string::npos);
}

Task task_of(TaskKind kind) {
  Task task;
  if (kind == TaskKind::kRegression) task.question = Regression{};
  else if (kind == TaskKind::kGeneration) task.question = Generation{};
  else if (kind == TaskKind::kChoice) task.question = Choice{};
  else task.at<Classification>().labels = {"billing", "bug", "praise"};
  task.metrics = kind == TaskKind::kRegression ? std::vector<std::string>{"pearson"}
                                               : std::vector<std::string>{"accuracy", "f1_macro"};
  return task;
}

TEST(Majority, IsTheCommonestLabelOnEveryRow) {
  const Task task = task_of(TaskKind::kClassification);
  const auto found = majority_of(task, Numbers{1, 0, 1, 1, 2});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->label, "bug");
  ASSERT_EQ(found->scores.size(), 2u);
  EXPECT_NEAR(found->scores[0].value, 0.6, 1e-15);
  EXPECT_NEAR(found->scores[1].value, 0.25, 1e-15) << "the mean of f1 0.75, 0 and 0";
  EXPECT_EQ(majority_of(task, Numbers{2, 1, 1, 2})->label, "bug") << "of equals the first label";
  EXPECT_FALSE(majority_of(task_of(TaskKind::kRegression), Numbers{1, 1}));
  const auto choice = majority_of(task_of(TaskKind::kChoice), Numbers{3, 3, 0});
  EXPECT_EQ(choice->label, "option 3");
  ASSERT_EQ(choice->scores.size(), 1u);
  EXPECT_NEAR(choice->scores[0].value, 2.0 / 3, 1e-15);
}

TEST(Majority, OneAnswerForAllRowsIsTold) {
  const Task task = task_of(TaskKind::kClassification);
  EXPECT_EQ(only_answer(task, Numbers{2, 2, 2}), "praise");
  EXPECT_EQ(only_answer(task, Numbers{2, 2, 1}), std::nullopt);
  EXPECT_EQ(only_answer(task, Numbers{2}), std::nullopt) << "one row has one answer";
  EXPECT_EQ(only_answer(task_of(TaskKind::kRegression), Numbers{2, 2}), std::nullopt);
}

std::vector<Example> rows_of(const Numbers& labels) {
  std::vector<Example> rows(labels.size());
  for (size_t i = 0; i < labels.size(); ++i) rows[i].label = labels[i];
  return rows;
}

TEST(UnseenLabels, AreThoseOfNoRow) {
  const Task task = task_of(TaskKind::kClassification);
  EXPECT_EQ(unseen_labels(task, rows_of({1, 1})), (std::vector<std::string>{"billing", "praise"}));
  EXPECT_TRUE(unseen_labels(task, rows_of({0, 1, 2})).empty());
  EXPECT_TRUE(unseen_labels(task_of(TaskKind::kRegression), rows_of({1, 3})).empty());
}

TEST(BlindLoss, IsTheEntropyOfTheSharesOrTheVariance) {
  const Task classes = task_of(TaskKind::kClassification);
  EXPECT_NEAR(*blind_loss(classes, rows_of({0, 1, 2})), std::log(3.0), 1e-15);
  EXPECT_NEAR(*blind_loss(classes, rows_of({0, 0, 0, 1})),
              -0.75 * std::log(0.75) - 0.25 * std::log(0.25), 1e-15);
  EXPECT_NEAR(*blind_loss(task_of(TaskKind::kRegression), rows_of({1, 3})), 1.0, 1e-15);
  EXPECT_FALSE(blind_loss(task_of(TaskKind::kGeneration), rows_of({1, 3})));
}

}  // namespace
}  // namespace graft::test_report
