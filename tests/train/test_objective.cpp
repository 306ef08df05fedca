// Losses against hand-worked values: the consistency of two passes, smoothing, z-loss, and what a
// step makes of them.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/compare.h"
#include "tests/train/runs.h"
#include "train/micro_batch.h"
#include "train/objective.h"

namespace graft::testing::test_objective {
namespace {

using at::Tensor;

Tensor matrix(std::vector<double> values, int64_t columns) {
  return at::tensor(values, at::kDouble).view({-1, columns});
}

// Values worked out by hand to six digits from the formulas of AdaMix (Wang et al. 2022,
// arXiv:2205.12410, sec. 3).
constexpr double kSixDigits = 6e-7;

struct Oracle {
  Tensor a = matrix({1, 2, 3, 0.5, -1, 0}, 3).requires_grad_(true);
  Tensor b = matrix({2, 0, 1, 0.5, -1, 0}, 3).requires_grad_(true);
};

TEST(Objective, AdamixConsistency) {
  const Oracle o;
  const Tensor mean = summed_consistency(o.a, o.b, ConsistencyTargets::kDetached) / 2;
  EXPECT_NEAR(mean.item<double>(), 0.431408, kSixDigits);
  torch::autograd::backward({mean}, {});
  const std::vector<double> expected{-0.143803, 0.038674, 0.105128};
  for (int64_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(o.a.grad()[0][c].item<double>(), expected[static_cast<size_t>(c)], kSixDigits);
    EXPECT_NEAR(o.b.grad()[0][c].item<double>(), -expected[static_cast<size_t>(c)], kSixDigits);
    EXPECT_EQ(o.a.grad()[1][c].item<double>(), 0) << "equal passes pull at nothing";
  }
}

TEST(Objective, AdamixAttachedTargetsHaveAnotherGradient) {
  const Oracle o;
  torch::autograd::backward({summed_consistency(o.a, o.b, ConsistencyTargets::kAttached) / 2}, {});
  const std::vector<double> expected{-0.205246, 0.055199, 0.150047};
  for (int64_t c = 0; c < 3; ++c)
    EXPECT_NEAR(o.a.grad()[0][c].item<double>(), expected[static_cast<size_t>(c)], kSixDigits);
}

TEST(Objective, AdamixTotal) {
  const Oracle o;
  const double cross_entropy =
      summed_loss(TaskKind::kClassification, o.a, {2, 0}).item<double>() / 2;
  EXPECT_NEAR(cross_entropy, 0.505868, kSixDigits);
  EXPECT_NEAR(cross_entropy +
                  summed_consistency(o.a, o.b, ConsistencyTargets::kDetached).item<double>() / 2,
              0.937276, 2 * kSixDigits);
}

TEST(Objective, AdamixRegressionNeedsOnePass) {
  EXPECT_EQ(summed_consistency(matrix({3, -1}, 1), matrix({0, 5}, 1), ConsistencyTargets::kDetached)
                .item<double>(),
            0);
  Objective objective;
  objective.consistency = 1;
  EXPECT_FALSE(objective.needs_two_passes(TaskKind::kRegression));
  EXPECT_TRUE(objective.needs_two_passes(TaskKind::kClassification));
  objective.pulls_values = true;
  EXPECT_TRUE(objective.needs_two_passes(TaskKind::kRegression));
}

// (1 - 3)^2 + (4 - 3.5)^2, once for each side and halved. Detached, a is pulled by a - b; attached
// by twice as much.
TEST(Objective, PullsTheValuesOfARegressionTogether) {
  for (const bool is_detached : {true, false}) {
    Tensor a = matrix({1, 4}, 1).requires_grad_(true), b = matrix({3, 3.5}, 1).requires_grad_(true);
    const Tensor loss = summed_value_consistency(
        a, b, is_detached ? ConsistencyTargets::kDetached : ConsistencyTargets::kAttached);
    EXPECT_NEAR(loss.item<double>(), 4.25, 1e-12);
    torch::autograd::backward({loss}, {});
    const double factor = is_detached ? 1 : 2;
    expect_near(a.grad(), matrix({-2 * factor, 0.5 * factor}, 1), {1e-12, 0}, "a");
    expect_near(b.grad(), matrix({2 * factor, -0.5 * factor}, 1), {1e-12, 0}, "b");
  }
}

TEST(Objective, AdamixLabelSmoothing) {
  Objective objective;
  objective.label_smoothing = 0.1;
  EXPECT_NEAR(
      summed_loss(TaskKind::kClassification, matrix({1, 2, 3}, 3), {2}, objective).item<double>(),
      0.507606, kSixDigits);
}

TEST(Objective, AddsTheSquaredLogOfTheDenominator) {
  Objective objective;
  objective.z_loss = 1e-2;
  const double z = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
  EXPECT_NEAR(
      summed_loss(TaskKind::kClassification, matrix({1, 2, 3}, 3), {2}, objective).item<double>(),
      z - 3 + 1e-2 * z * z, 1e-12);
}

// With dropout off and no routes the passes are equal: the loss is that of one pass.
// With dropout they differ, and the loss grows.
TEST(BatchLosses, AdamixNoConsistencyWithoutRandomness) {
  const TempFolder folder;
  const auto loss = [&](const std::string& settings) {
    const RunInputs inputs =
        run_inputs("{edits: [{lora: {}}], head: {dropout: 0}}", folder / "run", settings);
    const Adapter& adapter = *inputs.adapter;
    NamedTensors tensors = adapter.init(inputs.model->weights, RandomKey{1});
    const BoundAdapter bound(*inputs.model, adapter, tensors, Experts::kApart);
    const MicroBatch batch(inputs, bound, {0, 1, 2, 3, 4}, RandomKey{3}, 5);
    EXPECT_EQ(batch.tokens(),
              inputs.train->sequences[0].ids.size() + inputs.train->sequences[1].ids.size() +
                  inputs.train->sequences[2].ids.size() + inputs.train->sequences[3].ids.size() +
                  inputs.train->sequences[4].ids.size());
    return losses_of({batch}).front().value.item<double>();
  };
  EXPECT_NEAR(loss("{dropout: 0, consistency: 1}"), loss("{dropout: 0}"), 1e-6);
  EXPECT_GT(loss("{dropout: 0.3, consistency: 100}"), loss("{dropout: 0.3}") + 1e-3);
}

}  // namespace
}  // namespace graft::testing::test_objective
