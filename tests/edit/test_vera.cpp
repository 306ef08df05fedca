// VeRA: matrices that come from their seed and lie in no file, one pair for all sites and experts,
// and what it costs. (Values and gradients are compared with PEFT's in tests/golden.)
#include <gtest/gtest.h>

#include "edit/adapter_file.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/plan.h"

namespace graft::testing::test_vera {
namespace {

using at::Tensor;

std::string edits(const std::string& options) { return "{edits: [{vera: " + options + "}]}"; }

// The run's seed draws none of it.
TEST(Vera, IsDrawnByItsOwnSeed) {
  const auto model = golden_model("bert-tiny");
  const auto of = [&](const std::string& options, uint64_t seed) {
    return Rig(model, edits(options), class_task(3), seed).tensors.at("0.vera/projection_a");
  };
  const Tensor first = of("{rank: 4}", 1);
  expect_bits(of("{rank: 4}", 2), first, "another run");
  EXPECT_FALSE(of("{rank: 4, projection_seed: 1}", 1).equal(first));
  EXPECT_FALSE(first.requires_grad());
  // As torch.Generator().manual_seed(0) and uniform_ give it, bound sqrt(6/32): PEFT's first ones.
  const double bound = std::sqrt(6.0 / 32);
  EXPECT_LE(first.abs().max().item<double>(), bound);
  EXPECT_NEAR(first[0][0].item<double>(), -0.0032418882, 1e-9);
}

TEST(Vera, LiesInTheFileOnlyWhereAskedTo) {
  const auto model = golden_model("bert-tiny");
  for (const bool saves : {false, true}) {
    Rig rig(model,
            edits(std::string("{rank: 4, save_projection: ") + (saves ? "true}" : "false}")));
    rig.shake(0.2);
    const TempFolder folder;
    save_adapter(folder / "a", *rig.adapter, rig.tensors, *model, {});
    const NamedTensors file = load_safetensors(folder / "a" / "adapter.safetensors").tensors;
    EXPECT_EQ(file.contains("0.vera/projection_a"), saves);
    EXPECT_EQ(file.contains("0.vera/projection_b"), saves);
    expect_all_bits(load_adapter(folder / "a", *model).tensors, rig.tensors, "loaded");
    const Plan plan = make_plan(*rig.adapter, model->config, {});
    const int64_t trained = 4 * (4 + 32), head = 3 * 32 + 3;
    EXPECT_EQ(plan.edit_parameters, trained);
    EXPECT_EQ(plan.stored_parameters, trained + head + (saves ? 2 * 4 * 32 : 0));
  }
}

// A file that holds what is drawn anew is not of this adapter.
TEST(Vera, RefusesAProjectionThatItDraws) {
  const auto model = golden_model("bert-tiny");
  const Rig rig(model, edits("{rank: 4}"));
  const TempFolder folder;
  save_adapter(folder / "a", *rig.adapter, rig.tensors, *model, {});
  NamedTensors all;
  for (const auto& [name, tensor] : rig.tensors) all[name] = tensor.detach();
  save_safetensors(folder / "a" / "adapter.safetensors", all);
  expect_message<InputError>([&] { load_adapter(folder / "a", *model); },
                             "tensor '0.vera/projection_a' belongs to no part of the adapter");
}

// Sites of other widths take the first columns of A and rows of B; experts share both.
TEST(Vera, HasOnePairForAllSitesAndExperts) {
  const auto model = golden_model("bert-tiny");
  const auto shape = [&](const Rig& rig, const std::string& name) {
    return rig.tensors.at(name).sizes().vec();
  };
  const Rig wide(model, edits("{sites: [attn.q, ffn.up, ffn.down], rank: 4}"));
  EXPECT_EQ(shape(wide, "0.vera/projection_a"), (std::vector<int64_t>{4, 64}));
  EXPECT_EQ(shape(wide, "0.vera/projection_b"), (std::vector<int64_t>{64, 4}));
  const Rig routed(model, "{edits: [{router: {experts: 3}, of: {vera: {rank: 4}}}]}");
  EXPECT_EQ(shape(routed, "0.router/of/projection_a"), (std::vector<int64_t>{4, 32}));
  EXPECT_EQ(shape(routed, "0.router/of/enc.0.attn.q.vera_d"), (std::vector<int64_t>{3, 4}));
  const Rig drawn(model, "{edits: [{stochastic: {experts: 3}, of: {vera: {rank: 4}}}]}");
  EXPECT_EQ(shape(drawn, "0.stochastic/shared/projection_a"), (std::vector<int64_t>{4, 32}));
}

// Its products are as wide as LoRA's of that rank, though it trains a tenth.
TEST(Vera, CostsWhatItsProductsCost) {
  const auto model = golden_model("bert-tiny");
  const auto flops = [&](const std::string& definition) {
    const Rig rig(model, definition);
    return make_plan(*rig.adapter, model->config, {.mean_length = 8}).forward_flops;
  };
  const double bare = flops("{}"), vera = flops(edits("{rank: 8}")),
               lora = flops("{edits: [{lora: {rank: 8}}]}");
  EXPECT_NEAR(vera - bare, lora - bare, 1e-6);
  EXPECT_NEAR(vera - bare, 2 * 2 * 2 * 8 * (32 + 32), 1e-6);
}

TEST(Vera, RefusesSitesWithoutALayer) {
  expect_message<InputError>([] { Rig(golden_model("bert-tiny"), edits("{sites: ffn.out}")); },
                             "/vera/sites: vera acts on linear sites; enc.0.ffn.out is a sublayer");
}

}  // namespace
}  // namespace graft::testing::test_vera
