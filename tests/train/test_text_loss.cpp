// The loss of texts: units, weights and consistency, against the plain formulas over all logits.
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include "model/language_batch.h"
#include "tests/train/runs.h"
#include "train/micro_batch.h"

namespace graft::testing::test_text_loss {
namespace {

using at::Tensor;

// A run over texts of a tiny float64 decoder, in memory.
RunInputs text_inputs(const Objective& objective, double dropout) {
  RunInputs inputs;
  inputs.model = tiny_model("llama", Precision::kFloat64);
  inputs.task = parse_task(
      yaml("name: t\nkind: generation\nprompt: \"{q}\"\ntarget: \"{a}\"\nmetrics: [perplexity]\n"),
      "task");
  Dataset& rows = own_rows(inputs);
  rows.sequences = random_texts(inputs.model->config, 4, 9, 3);
  rows.examples.resize(4);
  inputs.config.objective = objective;
  inputs.config.dropout = dropout;
  return inputs;
}

double loss_of(const RunInputs& inputs, const std::string& definition, double* units = nullptr) {
  Rig rig(inputs.model, definition, std::nullopt);
  rig.shake(0.3);
  rig.widen();
  const BoundAdapter bound(*inputs.model, *rig.adapter, rig.tensors, Experts::kApart);
  const Batch batch{0, 1, 2, 3};
  const double all = loss_units(inputs, batch);
  if (units != nullptr) *units = all;
  return losses_of({MicroBatch(inputs, bound, batch, RandomKey{3}, all)})
      .front()
      .value.item<double>();
}

// Mean over the targets, or over the rows of their own means, of -log p[target] by whole logits.
double plain_loss(const RunInputs& inputs, bool averages_rows) {
  Rig rig(inputs.model, "{edits: [{lora: {sites: [attn.q]}}]}", std::nullopt);
  rig.shake(0.3);
  rig.widen();
  double sum = 0, units = 0;
  for (const Sequence& sequence : inputs.train->sequences) {
    units += averages_rows ? 1 : 0;
    if (num_targets(sequence) == 0) continue;               // a row of one token
    const Tensor logits = text_logits_of(rig, {sequence});  // [targets, V]
    double own = 0, count = 0;
    for (size_t t = 1; t < sequence.ids.size(); ++t) {
      if (!sequence.is_target()[t]) continue;
      own -=
          at::log_softmax(logits[static_cast<int64_t>(count)], 0)[sequence.ids[t]].item<double>();
      count += 1;
    }
    sum += averages_rows ? own / count : own;
    units += averages_rows ? 0 : count;
  }
  return sum / units;
}

TEST(TextLoss, IsTheMeanOverTargetsOrRows) {
  for (const bool averages_rows : {false, true}) {
    Objective objective;
    objective.averages_rows = averages_rows;
    const RunInputs inputs = text_inputs(objective, 0);
    double units = 0;
    EXPECT_NEAR(loss_of(inputs, "{edits: [{lora: {sites: [attn.q]}}]}", &units),
                plain_loss(inputs, averages_rows), 1e-12);
    int64_t targets = 0;
    for (const Sequence& sequence : inputs.train->sequences) targets += num_targets(sequence);
    EXPECT_EQ(units, averages_rows ? 4 : static_cast<double>(targets));
  }
}

// Passes that draw nothing agree; with dropout, or with two routes, they do not, and the loss grows
// with the weight.
TEST(TextLoss, ConsistencyIsZeroOnlyWithoutRandomness) {
  Objective two;
  two.consistency = 10;
  const char* lora = "{edits: [{lora: {sites: [attn.q]}}]}";
  const char* adamix =
      "{edits: [{stochastic: {experts: 4}, of: {lora: {sites: [attn.q, attn.v]}}}]}";
  EXPECT_NEAR(loss_of(text_inputs(two, 0), lora), loss_of(text_inputs({}, 0), lora), 1e-12);
  EXPECT_GT(loss_of(text_inputs(two, 0.3), lora), loss_of(text_inputs({}, 0.3), lora) + 1e-3);
  EXPECT_GT(loss_of(text_inputs(two, 0), adamix), loss_of(text_inputs({}, 0), adamix) + 1e-4);
}

// With label smoothing and z-loss the chunked loss of one pass and the general one are the same.
TEST(TextLoss, BothPathsAgree) {
  Objective objective;
  objective.label_smoothing = 0.1;
  objective.z_loss = 1e-2;
  const double fused = loss_of(text_inputs(objective, 0), "{edits: [{lora: {}}]}");
  objective.consistency = 1e-300;  // takes the path of two passes, and adds nothing
  EXPECT_NEAR(loss_of(text_inputs(objective, 0), "{edits: [{lora: {}}]}"), fused, 1e-12);
}

}  // namespace
}  // namespace graft::testing::test_text_loss
