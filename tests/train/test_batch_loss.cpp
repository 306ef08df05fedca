// The loss that a run minimises, in numbers: two passes by their routes, the losses that edits add,
// and what each micro-batch of a step draws. Everything is computed again here from single passes.
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <set>

#include "edit/stochastic.h"
#include "tests/train/runs.h"
#include "train/step_work.h"

namespace graft::testing::test_batch_loss {
namespace {

using at::Tensor;

constexpr const char* kAdamix =
    "{edits: [{stochastic: {experts: 3}, of: {lora: {sites: [attn.q, attn.v], rank: 2}}}], head: "
    "{dropout: 0}}";
constexpr const char* kMolora =
    "{edits: [{router: {experts: 3, top_k: 1, balance: 0.7}, of: {lora: {rank: 2}}}], head: "
    "{dropout: 0}}";

// A run's inputs with an adapter whose tensors are all away from zero.
struct Subject {
  TempFolder folder;
  RunInputs inputs;
  Rig rig;

  Subject(const std::string& definition, const std::string& settings)
      : inputs(run_inputs(definition, folder / "run", settings)),
        rig(inputs.model, definition, inputs.task) {
    rig.shake(0.4);
  }

  std::vector<Sequence> rows(const Batch& batch) const {
    std::vector<Sequence> out;
    for (const int64_t row : batch)
      out.push_back(inputs.train->sequences[static_cast<size_t>(row)]);
    return out;
  }
  Tensor labels(const Batch& batch) const {
    std::vector<int64_t> out;
    for (const int64_t row : batch)
      out.push_back(static_cast<int64_t>(*inputs.train->examples[static_cast<size_t>(row)].label));
    return at::tensor(out, at::kLong);
  }
  // Logits of one pass, float64, and what its edits add.
  std::pair<Tensor, double> pass(const Batch& batch, RandomKey route) const {
    const at::NoGradGuard no_grad;
    const BoundAdapter bound(*inputs.model, *rig.adapter, rig.tensors, Experts::kApart);
    const std::vector<LaneAdapter> lanes{{&bound, {.is_training = true, .route = route}}};
    const LaneResult result =
        compute_logits(*inputs.model, pack_of(*inputs.model, {lane_of(rows(batch))}), lanes, {})
            .front();
    double added = 0;
    for (const SideOutput& loss : result.side.losses) added += loss.value.item<double>();
    return {result.logits.to(at::kDouble), added};
  }
  double loss(const Batch& batch, RandomKey key, double units) const {
    const BoundAdapter bound(*inputs.model, *rig.adapter, rig.tensors, Experts::kApart);
    return losses_of({MicroBatch(inputs, bound, batch, key, units)}).front().value.item<double>();
  }
};

double cross_entropy(const Tensor& logits, const Tensor& labels) {
  return -at::log_softmax(logits, 1).gather(1, labels.unsqueeze(1)).sum().item<double>();
}

// Sum over rows of 1/2 [KL(q || p) + KL(p || q)].
double divergence(const Tensor& a, const Tensor& b) {
  const Tensor p = at::softmax(a, 1), q = at::softmax(b, 1);
  return 0.5 * ((p - q) * (p.log() - q.log())).sum().item<double>();
}

const Batch kBatch{0, 1, 2, 3, 4};
constexpr double kUnits = 8;   // of a step that has three more rows
constexpr double kSum = 2e-5;  // a dozen float32 losses of about one

TEST(BatchLoss, OfTwoPassesIsThatOfTheFirstAndTheirDivergence) {
  const Subject one(kAdamix, "{dropout: 0, consistency: 3}");
  const RandomKey key{5};
  const Tensor a = one.pass(kBatch, key.with("route").with(0)).first,
               b = one.pass(kBatch, key.with("route").with(1)).first;
  const double first = cross_entropy(a, one.labels(kBatch)), apart = divergence(a, b);
  EXPECT_GT(apart, 0.05) << "choose another key: the routes should differ";
  EXPECT_GT(std::abs(first - cross_entropy(b, one.labels(kBatch))), 0.05);
  EXPECT_NEAR(one.loss(kBatch, key, kUnits), (first + 3 * apart) / kUnits, kSum);
}

// The same of a regression's values, which their softmax could not tell apart.
TEST(BatchLoss, OfARegressionMayPullItsValues) {
  const RandomKey key{5};
  double losses[2] = {};
  for (const bool pulls : {false, true}) {
    Subject one(kAdamix, std::string("{dropout: 0, consistency: 3, consistent_values: ") +
                             (pulls ? "true}" : "false}"));
    set_task(one.inputs, regression_task());
    one.rig = Rig(one.inputs.model, kAdamix, one.inputs.task);
    one.rig.shake(0.4);
    const Tensor a = one.pass(kBatch, key.with("route").with(0)).first,
                 b = one.pass(kBatch, key.with("route").with(1)).first;
    const double own =
        (a.select(1, 0) - one.labels(kBatch).to(at::kDouble)).square().sum().item<double>();
    const double apart = (a - b).square().sum().item<double>();
    EXPECT_GT(apart, 0.01);
    losses[pulls ? 1 : 0] = one.loss(kBatch, key, kUnits);
    EXPECT_NEAR(losses[pulls ? 1 : 0], (own + (pulls ? 3 * apart : 0)) / kUnits, kSum);
  }
  EXPECT_NE(losses[0], losses[1]);
}

// What edits give is a mean over a pass's sequences: a micro-batch counts by its share of the step,
// and two passes count as one.
TEST(BatchLoss, AddsTheBalanceByShareOfTheStep) {
  const Subject one(kMolora, "{dropout: 0}"), two(kMolora, "{dropout: 0, consistency: 3}");
  const RandomKey key{5};
  const auto [logits, balance] = one.pass(kBatch, key.with("route").with(0));
  EXPECT_GT(balance, 0.3);
  const double expected = cross_entropy(logits, one.labels(kBatch)) / kUnits +
                          balance * static_cast<double>(kBatch.size()) / kUnits;
  EXPECT_NEAR(one.loss(kBatch, key, kUnits), expected, kSum);
  EXPECT_NEAR(two.loss(kBatch, key, kUnits), expected, kSum) << "passes that draw nothing agree";
}

// lambda * mean over sites of E sum_e F_e P_e.
TEST(BatchLoss, BalancesAsWritten) {
  const Subject one(
      "{edits: [{router: {experts: 3, top_k: 3, balance: 0.7}, of: {lora: {rank: 2}}}], head: "
      "{dropout: 0}}",
      "{dropout: 0}");
  // Every expert is chosen, so F is 1 and the sum is that of the shares.
  EXPECT_NEAR(one.pass(kBatch, RandomKey{}).second, 0.7 * 3, 1e-5);
}

// Each micro-batch of a step draws for itself.
TEST(StepGradients, DrawAnewForEveryBatch) {
  Subject one(
      "{edits: [{stochastic: {experts: 64}, of: {lora: {sites: [attn.q], layers: [0], rank: 2}}}], "
      "head: {dropout: 0}}",
      "{dropout: 0}");
  const std::vector<Batch> batches{{0, 1}, {2, 3}, {4, 5}};
  step_gradients(one.inputs, *one.rig.adapter, one.rig.tensors, batches, 2);
  std::set<std::string> expected, found;
  for (uint64_t i = 0; i < batches.size(); ++i) {
    const RandomKey route = key_of(one.inputs.config, Draws::kSteps)
                                .with(2)
                                .with(i)
                                .with("route")
                                .with(0)
                                .with("0.stochastic/");
    expected.insert(std::to_string(drawn_expert(route, "enc.0.attn.q", "down", 64)));
  }
  ASSERT_EQ(expected.size(), 3U) << "choose another step: the batches should differ";
  for (const auto& [name, tensor] : one.rig.tensors) {
    const std::string expert = "0.stochastic/expert.";
    if (name.starts_with(expert) && tensor.grad().defined())
      found.insert(name.substr(expert.size(), name.find('/', expert.size()) - expert.size()));
  }
  EXPECT_EQ(found, expected);
}

// The second pass is forced to other experts where the mixture says so, and only there.
TEST(StepGradients, ASecondPassMayHaveToDiffer) {
  for (const bool is_forced : {false, true}) {
    Subject one(std::string("{edits: [{stochastic: {experts: 2, second_pass: ") +
                    (is_forced ? "other" : "free") +
                    "}, of: {lora: {sites: [attn.q], layers: [0], rank: 2}}}], head: {dropout: 0}}",
                "{dropout: 0, consistency: 1}");
    int64_t differing = 0;
    constexpr int64_t kSteps = 20;
    for (int64_t step = 0; step < kSteps; ++step) {
      step_gradients(one.inputs, *one.rig.adapter, one.rig.tensors, {{0, 1}}, step);
      int64_t drawn = 0;
      for (auto& [name, tensor] : one.rig.tensors) {
        drawn += name.find("/expert.") != std::string::npos && tensor.grad().defined() ? 1 : 0;
        tensor.mutable_grad().reset();
      }
      differing += drawn == 2 ? 1 : 0;
    }
    if (is_forced) EXPECT_EQ(differing, kSteps);
    else EXPECT_TRUE(differing > 2 && differing < kSteps - 2) << differing;
  }
}

}  // namespace
}  // namespace graft::testing::test_batch_loss
