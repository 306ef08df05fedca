// Lanes: several adapters, or several passes of one, in one batch equal each alone.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/contract/subject.h"
#include "tests/contract/table.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/objective.h"

#include <torch/csrc/autograd/autograd.h>

namespace graft::testing::test_lanes {
namespace {

using at::Tensor;

class Lanes : public ::testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<const Model> model() const { return contract_model(GetParam().family); }
  double bound() const {
    return model()->config.has_decoder() ? 1e-4 : 5e-6;
  }  // as for batch-mates: another number of rows, other blocks of a matrix product
};

bool rewrites(const Rig& rig) { return rig.adapter->rewrites_trunk(); }

TEST_P(Lanes, OfDifferentAdaptersEqualEachAlone) {
  Rig own(model(), GetParam().adapter(), contract_task(*model()));
  Rig other(
      model(),
      "{edits: [{lora: {sites: [attn.v, attn.o, ffn.up, 'cross.k?'], rank: 5, dropout: 0.2}}]}",
      contract_task(*model(), 2), 8);
  own.shake(0.1);
  other.shake(0.1, 12);
  const std::vector<Sequence> first = contract_texts(*model(), 5, 19, 31),
                              second = contract_texts(*model(), 4, 23, 32, 5);
  const at::NoGradGuard no_grad;
  const std::vector<LaneInput> lanes{lane_of(own, first), lane_of(second)};
  if (rewrites(own)) {  // one set of weights serves a pass
    const BoundAdapter a(*model(), *own.adapter, own.tensors),
        b(*model(), *other.adapter, other.tensors);
    expect_message<InternalError>(
        [&] {
          run_texts(*model(), lanes, {&a, &b});
        },
        "shares a pass only with lanes of its own adapter");
    expect_message<InternalError>(
        [&] {
          run_texts(*model(), lanes, {&b, &a});
        },
        "shares a pass only with lanes of its own adapter");
    return;
  }
  for (const bool is_training : {false, true}) {
    const Pass pass{.dropout = 0.1, .is_training = is_training};
    const BoundAdapter a(*model(), *own.adapter, own.tensors, experts_in(pass)),
        b(*model(), *other.adapter, other.tensors, experts_in(pass));
    const std::vector<LaneOutcome> both = run_texts(*model(), lanes, {&a, &b}, pass, 64);
    const Tensor alone = outcome_of(own, first, pass).outputs;
    expect_near(both[0].outputs, alone, {bound(), 0}, "first lane");
    expect_near(both[1].outputs, outcome_of(other, second, pass).outputs, {bound(), 0},
                "second lane");
    measured(case_name({GetParam(), 0}) + " lane", difference_of(both[0].outputs, alone).absolute);
  }
}

TEST_P(Lanes, GradientsOfDifferentAdaptersEqualEachAlone) {
  Rig own(model(), GetParam().adapter(), contract_task(*model()));
  Rig other(model(), "{edits: [{lora: {sites: [attn.k, ffn.down], rank: 2}}]}",
            contract_task(*model()), 8);
  if (rewrites(own)) return;
  own.shake(0.1);
  other.shake(0.1, 12);
  const std::vector<Sequence> first = contract_texts(*model(), 5, 19, 31),
                              second = contract_texts(*model(), 4, 23, 32, 5);
  const Pass pass{.dropout = 0.1, .is_training = true};
  const LossAndGradients alone = contract_gradients(own, first, pass),
                         other_alone = contract_gradients(other, second, pass);
  BoundAdapter a(*model(), *own.adapter, own.tensors, experts_in(pass)),
      b(*model(), *other.adapter, other.tensors, experts_in(pass));
  const std::vector<LaneOutcome> both =
      run_texts(*model(), {lane_of(own, first), lane_of(second)}, {&a, &b}, pass);
  torch::autograd::backward({both[0].loss + both[1].loss}, {});
  a.add_gradients_to_stored();
  b.add_gradients_to_stored();
  for (const auto& [rig, expected] : {std::pair{&own, &alone}, std::pair{&other, &other_alone}}) {
    for (const auto& [name, tensor] : rig->tensors) {
      ASSERT_EQ(tensor.grad().defined(), expected->gradients.contains(name)) << name;
      if (!tensor.grad().defined()) continue;  // an expert that the route left out
      const double size = std::max(1.0, expected->gradients.at(name).abs().max().item<double>());
      expect_near(tensor.grad(), expected->gradients.at(name), {1e-5 * size, 0}, name);
    }
  }
}

TEST_P(Lanes, OfTwoPassesDrawDifferentDropout) {
  Rig rig(model(), GetParam().adapter(), contract_task(*model()));
  rig.shake(0.1);
  const std::vector<Sequence> rows = contract_texts(*model(), 5, 19, 31);
  const at::NoGradGuard no_grad;
  const auto run = [&](const Pass& pass) {
    const BoundAdapter bound(*model(), *rig.adapter, rig.tensors, experts_in(pass));
    return run_texts(*model(), {lane_of(rig, rows, 0), lane_of(rig, rows, 1)}, {&bound, &bound},
                     pass);
  };

  const Pass training{.dropout = 0.3, .is_training = true};
  const std::vector<LaneOutcome> drawn = run(training);
  const std::vector<Tensor> one = by_sequence(drawn[0]), two = by_sequence(drawn[1]);
  for (size_t row = 0; row < one.size(); ++row)
    EXPECT_FALSE(one[row].equal(two[row])) << "sequence " << row;
  expect_near(drawn[0].outputs, outcome_of(rig, rows, training).outputs, {bound(), 0},
              "pass 0 equals the rows alone");
  const std::vector<LaneOutcome> again = run(training);
  expect_bits(again[0].outputs, drawn[0].outputs, "pass 0 again");
  expect_bits(again[1].outputs, drawn[1].outputs, "pass 1 again");

  const std::vector<LaneOutcome> plain = run({});
  expect_near(plain[0].outputs, plain[1].outputs, {bound(), 0},
              "without dropout the passes are equal");
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
    BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
    const LaneResult result =
        run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rows)}), {&bound}).front();
    torch::autograd::backward({summed_loss(TaskKind::kClassification, result.logits, labels)}, {});
    bound.add_gradients_to_stored();
  }
  for (const auto& [name, tensor] : rig.tensors)
    expect_bits(tensor.grad(), once.gradients.at(name) * 2, name);
}

}  // namespace
}  // namespace graft::testing::test_lanes
