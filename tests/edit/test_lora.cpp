// LoRA's relatives: the lengths of DoRA's rows, LoRA+'s two learning rates, and what is refused.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/objective.h"
#include "train/optimizer.h"

namespace graft::testing::test_lora {
namespace {

using at::Tensor;

// The length of every row of DoRA's weight is its magnitude, and at first that of the trunk's.
TEST(Dora, FoldsToRowsOfItsMagnitude) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, "{edits: [{dora: {rank: 3, sites: attn.q, layers: [1]}}]}");
  const Tensor weight = model->weights.base(tensor_id("enc.1.attn.q.weight"));
  const std::string name = "0.dora/enc.1.attn.q.magnitude";
  expect_near(rig.tensors.at(name), weight.norm(2, 1), {1e-6, 1e-6}, "at first");
  rig.shake(0.3);
  const at::NoGradGuard no_grad;
  const Adapter::Part& part = rig.adapter->parts().front();
  const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights);
  const TrunkTensors folded = part.edit->rewrite(Params(derived.parts[0]), model->weights);
  expect_near(folded.at(tensor_id("enc.1.attn.q.weight")).norm(2, 1), rig.tensors.at(name).abs(),
              {1e-6, 1e-5}, "folded");
}

// LoRA+: B's steps are `b_rate` times as long; Adam's first step is the rate itself.
TEST(LoraPlus, MovesBFaster) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, "{edits: [{lora: {rank: 2, b_rate: 16}}]}");
  rig.shake(0.1);
  const NamedTensors before = [&] {
    NamedTensors copy;
    for (const auto& [name, tensor] : rig.tensors) copy[name] = tensor.detach().clone();
    return copy;
  }();
  BoundAdapter bound(*model, *rig.adapter, rig.tensors);
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 15, 2);
  torch::autograd::backward(
      {summed_loss(
          TaskKind::kClassification,
          run_lanes(*model, pack_of(*model, {lane_of(rig, rows)}), {&bound}, {}).front().logits,
          class_labels(6, 3))},
      {});
  bound.add_gradients_to_stored();
  AdamW(rig.adapter->params(), {.weight_decay = 0}).step(rig.tensors, 1e-3);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : rig.tensors) {
    const double moved = difference_of(tensor, before.at(name)).absolute;
    EXPECT_NEAR(moved, name.ends_with(".lora_b") ? 16e-3 : 1e-3, 1e-5) << name;
  }
}

// Queries and values drop entries of their own, or the same ones of the x that both read; what
// enters the feed-forward is another x.
TEST(LoraDropout, MayBeOneForAllThatReadTheSame) {
  const auto model = golden_model("bert-tiny");
  const Tensor x = at::ones({16, 32});
  const auto code_at = [&](const std::string& mask, const char* part) {
    Rig rig(model,
            "{edits: [{lora: {sites: ['attn.[qv]', ffn.up], layers: [0], rank: 32, dropout: 0.5, "
            "dropout_mask: " +
                mask + "}}]}");
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : rig.tensors) {
      if (name.ends_with("lora_a")) tensor.copy_(at::eye(32));  // shows what is left of x
    }
    const Site& site = model->sites.at(std::string("enc.0.") + part);
    const Pack pack = pack_of(*model, {lane_of(random_sequences(model->config, 2, 8, 4))});
    const Tensor rows = x.slice(0, 0, pack.num_rows),
                 y = at::zeros({rows.size(0), site.output_width});
    Context context;
    context.is_training = true;
    context.site_free_key = RandomKey{4};
    context.key = context.site_free_key.with(site.name);
    const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights);
    return rig.adapter->parts()
        .front()
        .edit
        ->change(Params(derived.parts[0]), {site, pack, pack.whole(), rows, y, {}, {}}, rows, {},
                 context)
        .code;
  };
  expect_bits(code_at("input", "attn.v"), code_at("input", "attn.q"), "one mask");
  EXPECT_FALSE(code_at("site", "attn.v").equal(code_at("site", "attn.q")));
  EXPECT_FALSE(code_at("input", "ffn.up").equal(code_at("input", "attn.q")));
}

TEST(LoraRefusals, NameTheFault) {
  const auto model = golden_model("bert-tiny");
  expect_message<InputError>(
      [&] { Rig(model, "{edits: [{dora: {sites: ffn.out}}]}"); },
      "/dora/sites: dora acts on linear sites; enc.0.ffn.out is a sublayer site");
  expect_message<InputError>([&] { Rig(model, "{edits: [{lora: {b_rate: 0}}]}"); },
                             "/lora/b_rate: expected a number in");
  expect_message<InputError>([&] { Rig(model, "{edits: [{dora: {norm_gradient: 1}}]}"); },
                             "/dora/norm_gradient: expected true or false");
}

}  // namespace
}  // namespace graft::testing::test_lora
