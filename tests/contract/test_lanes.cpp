// Lanes: several adapters, or several passes of one, in one batch equal each alone.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/contract/table.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/objective.h"

#include <torch/csrc/autograd/autograd.h>

namespace graft::testing {
namespace {

using at::Tensor;

constexpr Tolerance kLaneBound{5e-6, 0};   // as for batch-mates: another number of rows, other blocks of a matrix product

class Lanes : public ::testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<const Model> model() const { return golden_model(GetParam().family + "-tiny"); }
};

bool rewrites(const Rig& rig) { return traits_of(*rig.adapter).rewrites; }

TEST_P(Lanes, OfDifferentAdaptersEqualEachAlone) {
  Rig own(model(), GetParam().adapter()), other(model(), "{edits: [{lora: {sites: [attn.v, attn.o, ffn.up], rank: 5, dropout: 0.2}}]}", class_task(2), 8);
  own.shake(0.1);
  other.shake(0.1, 12);
  const std::vector<Sequence> first = random_sequences(model()->config, 5, 19, 31), second = random_sequences(model()->config, 4, 25, 32, 5);
  const at::NoGradGuard no_grad;
  const Pack pack = pack_of(*model(), {lane_of(own, first), lane_of(second)}, 64);
  if (rewrites(own)) {   // one set of weights serves a pass
    const Bound a(*model(), *own.adapter, own.tensors), b(*model(), *other.adapter, other.tensors);
    expect_message<InternalError>([&] { run_lanes(*model(), pack, {&a, &b}, {}); }, "shares a pass only with lanes of its own adapter");
    expect_message<InternalError>([&] { run_lanes(*model(), pack, {&b, &a}, {}); }, "shares a pass only with lanes of its own adapter");
    return;
  }
  for (const bool is_training : {false, true}) {
    const Pass pass{.dropout = 0.1, .is_training = is_training};
    const Bound a(*model(), *own.adapter, own.tensors, experts_in(pass)), b(*model(), *other.adapter, other.tensors, experts_in(pass));
    const LogitsResult both = run_lanes(*model(), pack, {&a, &b}, pass);
    expect_near(both.logits[0], logits_of(own, first, pass), kLaneBound, "first lane");
    expect_near(both.logits[1], logits_of(other, second, pass), kLaneBound, "second lane");
    measured(case_name({GetParam(), 0}) + " lane", difference_of(both.logits[0], logits_of(own, first, pass)).absolute);
  }
}

TEST_P(Lanes, GradientsOfDifferentAdaptersEqualEachAlone) {
  Rig own(model(), GetParam().adapter()), other(model(), "{edits: [{lora: {sites: [attn.k, ffn.down], rank: 2}}]}", class_task(3), 8);
  if (rewrites(own)) return;
  own.shake(0.1);
  other.shake(0.1, 12);
  const std::vector<Sequence> first = random_sequences(model()->config, 5, 19, 31), second = random_sequences(model()->config, 4, 25, 32, 5);
  const Pass pass{.dropout = 0.1, .is_training = true};
  const LossAndGradients alone = gradients_of(own, first, class_labels(5, 3), pass), other_alone = gradients_of(other, second, class_labels(4, 3), pass);
  Bound a(*model(), *own.adapter, own.tensors, experts_in(pass)), b(*model(), *other.adapter, other.tensors, experts_in(pass));
  const LogitsResult both = run_lanes(*model(), pack_of(*model(), {lane_of(own, first), lane_of(second)}), {&a, &b}, pass);
  torch::autograd::backward({summed_loss(TaskKind::kClassification, both.logits[0], class_labels(5, 3)) +
                             summed_loss(TaskKind::kClassification, both.logits[1], class_labels(4, 3))}, {});
  a.join();
  b.join();
  for (const auto& [rig, expected] : {std::pair{&own, &alone}, std::pair{&other, &other_alone}}) {
    for (const auto& [name, tensor] : rig->tensors) {
      ASSERT_EQ(tensor.grad().defined(), expected->gradients.contains(name)) << name;
      if (!tensor.grad().defined()) continue;   // an expert that the route left out
      const double size = std::max(1.0, expected->gradients.at(name).abs().max().item<double>());
      expect_near(tensor.grad(), expected->gradients.at(name), {1e-5 * size, 0}, name);
    }
  }
}

TEST_P(Lanes, OfTwoPassesDrawDifferentDropout) {
  Rig rig(model(), GetParam().adapter());
  rig.shake(0.1);
  const std::vector<Sequence> rows = random_sequences(model()->config, 5, 19, 31);
  const at::NoGradGuard no_grad;
  const Pack pack = pack_of(*model(), {lane_of(rig, rows, 0), lane_of(rig, rows, 1)});
  const auto run = [&](const Pass& pass) {
    const Bound bound(*model(), *rig.adapter, rig.tensors, experts_in(pass));
    return run_lanes(*model(), pack, {&bound, &bound}, pass).logits;
  };

  const Pass training{.dropout = 0.1, .is_training = true};
  const std::vector<Tensor> drawn = run(training);
  for (int64_t row = 0; row < drawn[0].size(0); ++row) EXPECT_FALSE(drawn[0][row].equal(drawn[1][row])) << "row " << row;
  expect_near(drawn[0], logits_of(rig, rows, training), kLaneBound, "pass 0 equals the rows alone");
  const std::vector<Tensor> again = run(training);
  expect_bits(again[0], drawn[0], "pass 0 again");
  expect_bits(again[1], drawn[1], "pass 1 again");

  const std::vector<Tensor> plain = run({});
  expect_near(plain[0], plain[1], kLaneBound, "without dropout the passes are equal");
}

INSTANTIATE_TEST_SUITE_P(Edits, Lanes, ::testing::ValuesIn(contract_cases()), case_name);

// Two Bounds over the same tensors: both shares of the gradient arrive.
TEST(Bounds, AddUpInTheStoredTensors) {
  Rig rig(golden_model("bert-tiny"), "{edits: [{lora: {rank: 2}}]}");
  rig.shake(0.1);
  const std::vector<Sequence> rows = random_sequences(rig.model->config, 4, 9, 31);
  const std::vector<double> labels = class_labels(4, 3);
  const LossAndGradients once = gradients_of(rig, rows, labels);
  for (int pass = 0; pass < 2; ++pass) {
    Bound bound(*rig.model, *rig.adapter, rig.tensors);
    const LogitsResult result = run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rows)}), {&bound});
    torch::autograd::backward({summed_loss(TaskKind::kClassification, result.logits.front(), labels)}, {});
    bound.join();
  }
  for (const auto& [name, tensor] : rig.tensors) expect_bits(tensor.grad(), once.gradients.at(name) * 2, name);
}

}  // namespace
}  // namespace graft::testing
