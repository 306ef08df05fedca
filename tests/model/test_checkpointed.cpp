// Saving memory changes nothing but memory: losses, gradients and records of a pass whose blocks
// are computed anew in backward.
#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "edit/lane_results.h"
#include "model/checkpointed.h"
#include "model/language_batch.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace graft::testing::test_checkpointed {
namespace {

using at::Tensor;

struct Outcome {
  double loss = 0;  // of the texts, with what edits add
  NamedTensors gradients, records;
  size_t losses = 0;  // made by edits
  bool learns_through_losses = false;
};

// One step of `passes` lanes over the same rows, which differ in route and dropout.
Outcome step(Rig& rig, bool saves_memory, size_t passes, double dropout) {
  const Model& model = *rig.model;
  const bool is_text = model.config.has_decoder();
  const std::vector<Sequence> rows =
      is_text ? random_texts(model.config, 4, 6, 3) : random_sequences(model.config, 4, 6, 3);
  std::vector<LaneInput> pack_lanes;
  for (size_t pass = 0; pass < passes; ++pass) {
    pack_lanes.push_back(lane_of(rig, rows, static_cast<int64_t>(pass)));
    draw_by(pack_lanes.back(), model.config, {.dropout = dropout, .is_training = true});
  }

  Outcome out;
  const RandomKey key = RandomKey{}.with(uint64_t{5});
  ForwardOptions options;
  options.saves_memory = saves_memory;
  {
    BoundAdapter bound(model, *rig.adapter, rig.tensors, Experts::kApart);
    std::vector<LaneAdapter> lanes;
    for (size_t pass = 0; pass < passes; ++pass) {
      lanes.push_back(
          {&bound,
           {.is_training = true, .keeps_records = true, .route = key.with("route").with(pass)}});
    }
    Tensor loss = at::zeros({}, at::kDouble);
    SideOutputs side;
    if (is_text) {  // the batch and its packs are gone when backward runs, as they are in training
      const LanguageBatch batch = make_language_batch(
          model, pack_lanes,
          {.position_offset = model.config.position_offset, .pad_id = model.config.pad_id});
      std::vector<Tensor> states;
      for (LaneStates& lane : predicting_states(model, batch, lanes, options)) {
        states.push_back(std::move(lane.rows));
        side.append(std::move(lane.side));
      }
      loss = loss + vocabulary_loss(at::cat(states), bound.weights().output_layer(model.config),
                                    batch.targets)
                        .sum;
    } else {
      for (LaneResult& result : compute_logits(model, pack_of(model, pack_lanes), lanes, options)) {
        const Tensor& logits = result.logits;
        side.append(std::move(result.side));
        loss = loss + (logits * at::arange(1, logits.numel() + 1, logits.options()).view_as(logits))
                          .sin()
                          .sum();
      }
    }
    out.losses = side.losses.size();
    for (const SideOutput& each : side.losses) {
      loss = loss + each.value;
      out.learns_through_losses = each.value.requires_grad();
    }
    for (const auto& [name, value, lane] : side.records) {
      EXPECT_TRUE(passes > 1 || !out.records.contains(name)) << name << " is recorded twice";
      out.records[name] = value;
    }
    out.loss = loss.item<double>();
    lanes.clear();
    torch::autograd::backward({loss}, {});
    bound.add_gradients_to_stored();
  }
  out.gradients = taken_gradients(rig);
  return out;
}

struct Case {
  std::string name, definition;
  size_t passes = 1;
  bool has_losses = false;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"lora", "{edits: [{lora: {rank: 2, dropout: 0.3, sites: [attn.q, ffn.down]}}]}"},
      {"upper_block", "{edits: [{lora: {rank: 2, sites: [attn.v], layers: [-1]}}]}"},
      {"balanced",
       "{edits: [{router: {experts: 3, top_k: 2, balance: 0.7}, of: {lora: {rank: 2, sites: "
       "[attn.v]}}}]}",
       1, true},
      {"full", "{edits: [{full: {}}]}"},
      {"gate",
       "{edits: [{gate: {}, of: {prefix: {length: 2}}}, {gate: {}, of: {bottleneck: {reduction: "
       "2}}}]}"},
      {"two_passes", "{edits: [{stochastic: {experts: 3}, of: {bottleneck: {reduction: 2}}}]}", 2},
  };
  return all;
}

class SavesMemory : public ::testing::TestWithParam<std::tuple<std::string, size_t>> {};

TEST_P(SavesMemory, GivesTheSameLossAndGradients) {
  const auto& [model_name, which] = GetParam();
  const Case& c = cases()[which];
  Rig rig(tiny_model(model_name, Precision::kFloat64), c.definition,
          model_name == "bert" ? std::optional(class_task(3)) : std::nullopt);
  rig.shake(0.1);
  rig.widen();
  const Outcome kept = step(rig, false, c.passes, 0.2), anew = step(rig, true, c.passes, 0.2);
  EXPECT_NEAR(anew.loss, kept.loss, 1e-12 * std::abs(kept.loss));
  ASSERT_FALSE(kept.gradients.empty());
  // The same products in the same order, but for the order in which a tensor's gradients are added
  // up.
  expect_all_near(anew.gradients, kept.gradients, {1e-12, 1e-12}, c.name);
  expect_all_bits(anew.records, kept.records, c.name);
  EXPECT_EQ(anew.losses, kept.losses);
  EXPECT_EQ(kept.losses > 0, c.has_losses);
  EXPECT_EQ(anew.learns_through_losses, c.has_losses);
}

INSTANTIATE_TEST_SUITE_P(Trunks, SavesMemory,
                         ::testing::Combine(::testing::Values("bert", "llama", "t5", "bart"),
                                            ::testing::Range(size_t{0}, size_t{6})),
                         [](const auto& p) {
                           return std::get<0>(p.param) + "_" + cases()[std::get<1>(p.param)].name;
                         });

TEST(Checkpointed, RunsOnceInForwardAndOnceInBackward) {
  int runs = 0;
  Tensor leaf = at::full({3}, 2.0, at::kDouble).requires_grad_(true);
  const auto compute = [&](const std::vector<Tensor>& in) {
    ++runs;
    EXPECT_FALSE(in[1].defined());
    return std::vector<Tensor>{in[0] * leaf, (in[0] * in[0]).sum()};
  };
  const Tensor x = at::arange(3, at::kDouble).requires_grad_(true);
  const std::vector<Tensor> y = checkpointed(compute, {x, {}});
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(y[0].requires_grad());
  torch::autograd::backward({y[0].sum() + 5 * y[1]}, {});
  EXPECT_EQ(runs, 2);
  expect_near(x.grad(), 2.0 + 10 * at::arange(3, at::kDouble), {0, 1e-15}, "of the input");
  expect_near(leaf.grad(), at::arange(3, at::kDouble), {0, 1e-15}, "of the leaf");
}

TEST(Checkpointed, ReachesALeafWhereNoInputLearns) {
  Tensor leaf = at::full({2}, 3.0, at::kDouble).requires_grad_(true);
  const auto compute = [&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{in[0] * leaf * leaf};
  };
  torch::autograd::backward({checkpointed(compute, {at::ones({2}, at::kDouble)}).front().sum()},
                            {});
  expect_near(leaf.grad(), at::full({2}, 6.0, at::kDouble), {0, 1e-15}, "of the leaf");
}

TEST(Checkpointed, RecordsNothingWithoutAGraph) {
  const at::NoGradGuard no_grad;
  int runs = 0;
  const auto compute = [&](const std::vector<Tensor>& in) { return ++runs, in; };
  EXPECT_FALSE(
      checkpointed(compute, {at::ones({2}).requires_grad_(true) * 2}).front().requires_grad());
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace graft::testing::test_checkpointed
