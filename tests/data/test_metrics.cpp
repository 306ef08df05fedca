#include "data/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "tests/data/expect_error.h"

namespace graft::test_metrics {
namespace {

using nlohmann::json;

const json& golden() {
  static const json kGolden = [] {
    std::ifstream file(std::string(GRAFT_SOURCE_DIR) + "/tests/golden/data/metrics.json");
    return json::parse(file);
  }();
  return kGolden;
}

void expect_equal(double found, const json& expected, const std::string& metric) {
  if (expected.is_null()) EXPECT_TRUE(std::isnan(found)) << metric << ": found " << found;
  else
    EXPECT_NEAR(found, expected.get<double>(),
                1e-12 * std::max(1.0, std::abs(expected.get<double>())))
        << metric;
}

std::vector<double> values_of(const json& list) {
  std::vector<double> out;
  for (const json& v : list) out.push_back(v.is_null() ? std::nan("") : v.get<double>());
  return out;
}

TEST(Metrics, ClassificationEqualsScikitLearn) {
  ASSERT_GE(golden()["classification"].size(), 130u);
  for (const json& c : golden()["classification"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto truth = c["truth"].get<std::vector<int64_t>>(),
               predicted = c["predicted"].get<std::vector<int64_t>>();
    expect_equal(accuracy(truth, predicted), c["accuracy"], "accuracy");
    expect_equal(f1_macro(truth, predicted), c["f1_macro"], "f1_macro");
    expect_equal(matthews(truth, predicted), c["matthews"], "matthews");
    for (int64_t k = 0; k < 3; ++k)
      expect_equal(f1(truth, predicted, k), c["f1"][std::to_string(k)],
                   "f1 of class " + std::to_string(k));
  }
}

TEST(Metrics, RegressionEqualsScipy) {
  ASSERT_GE(golden()["regression"].size(), 130u);
  for (const json& c : golden()["regression"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const std::vector<double> truth = values_of(c["truth"]), predicted = values_of(c["predicted"]);
    expect_equal(pearson(truth, predicted), c["pearson"], "pearson");
    expect_equal(spearman(truth, predicted), c["spearman"], "spearman");
    expect_equal(mean(truth), c["mean"], "mean");
  }
}

TEST(Metrics, BoundsAndSymmetries) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(RandomKey{}.with(seed));
    const size_t rows = 2 + random.below(40);
    std::vector<int64_t> a, b;
    std::vector<double> x, y, z;
    for (size_t i = 0; i < rows; ++i) {
      a.push_back(static_cast<int64_t>(random.below(3)));
      b.push_back(static_cast<int64_t>(random.below(3)));
      x.push_back(random.normal());
      y.push_back(random.normal());
      z.push_back(std::exp(y.back()));
    }
    EXPECT_EQ(accuracy(a, b), accuracy(b, a));
    EXPECT_NEAR(matthews(a, b), matthews(b, a), 1e-15);
    EXPECT_LE(std::abs(matthews(a, b)), 1.0 + 1e-15);
    EXPECT_NEAR(f1(a, b, 2), f1(b, a, 2), 1e-15);
    EXPECT_EQ(accuracy(a, a), 1.0);
    EXPECT_NEAR(pearson(x, y), pearson(y, x), 1e-15);
    EXPECT_LE(std::abs(pearson(x, y)), 1.0);
    EXPECT_EQ(spearman(x, y), spearman(x, z));  // ranks do not see a monotone change
  }
}

TEST(Metrics, ScoreFollowsTheTask) {
  Task task;
  task.metrics = {"f1", "accuracy", "matthews", "f1_macro"};
  task.at<Classification>().labels = {"no", "yes"};
  const std::vector<double> truth = {0, 1, 1, 0}, predicted = {0, 1, 0, 0};
  const std::vector<Score> scores = score(task, truth, predicted);
  ASSERT_EQ(scores.size(), 4u);
  EXPECT_EQ(scores[0].name, "f1");
  EXPECT_NEAR(scores[0].value, 2.0 / 3, 1e-15);
  EXPECT_EQ(scores[1].value, 0.75);
  EXPECT_NEAR(scores[2].value, 0.57735026918962573, 1e-15);
  EXPECT_NEAR(scores[3].value, (2.0 / 3 + 0.8) / 2, 1e-15);
  task.at<Classification>().positive = 0;
  EXPECT_NEAR(score(task, truth, predicted)[0].value, 0.8, 1e-15);
  task.question = Regression{};
  task.metrics = {"pearson", "spearman"};
  EXPECT_NEAR(score(task, truth, predicted)[1].value, 0.57735026918962573, 1e-15);
  task.metrics = {"unknown"};
  EXPECT_THROW(score(task, truth, predicted), InternalError);
}

TEST(Metrics, SomeAreBetterWhenTheyAreSmall) {
  for (const char* name : {"loss", "forgetting", "perplexity", "ter", "brier", "ece", "mean_ter",
                           "mean_perplexity of_a_group"})
    EXPECT_TRUE(is_less_better(name)) << name;
  for (const char* name : {"accuracy", "bleu", "mean", "mean_bleu", "mean_"})
    EXPECT_FALSE(is_less_better(name)) << name;
}

TEST(Metrics, SomeKeysBesideScoresAreNone) {
  for (const char* key : {"rows", "majority", "only_answer", "mean_of", "calibration", "seconds"})
    EXPECT_FALSE(is_score_key(key)) << key;
  for (const char* key : {"loss", "accuracy", "mean", "groups", "cola"})
    EXPECT_TRUE(is_score_key(key)) << key;
}

TEST(Metrics, NodeOfNanIsNull) {
  EXPECT_EQ(to_json(metric_node(std::nan("")), -1), "null");
  EXPECT_EQ(to_json(metric_node(0.5), -1), "0.5");
}

TEST(MetricMessages, EveryBadRequest) {
  const std::vector<int64_t> none, one = {1}, two = {1, 0};
  const std::vector<double> no_values, one_value = {1};
  EXPECT_EQ(input_error([&] { accuracy(none, none); }),
            "metric: expected at least one row, found none");
  EXPECT_EQ(input_error([&] { f1(none, none); }), "metric: expected at least one row, found none");
  EXPECT_EQ(input_error([&] { f1_macro(none, none); }),
            "metric: expected at least one row, found none");
  EXPECT_EQ(input_error([&] { matthews(none, none); }),
            "metric: expected at least one row, found none");
  EXPECT_EQ(input_error([&] { pearson(no_values, no_values); }),
            "metric: expected at least one row, found none");
  EXPECT_EQ(input_error([&] { spearman(no_values, no_values); }),
            "metric: expected at least one row, found none");
  EXPECT_EQ(input_error([&] { accuracy(two, one); }),
            "metric: expected as many predictions as labels, found 1 and 2");
  EXPECT_EQ(input_error([&] { pearson(one_value, no_values); }),
            "metric: expected as many predictions as labels, found 0 and 1");
  EXPECT_EQ(input_error([&] { mean(no_values); }), "mean: expected at least one value, found none");
}

}  // namespace
}  // namespace graft::test_metrics
