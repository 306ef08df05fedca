// The loss of the target tokens of each folder of tests/golden/trunks, and its gradients for all
// weights and for LoRA.
#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "base/error.h"
#include "model/families.h"
#include "tensor/safetensors.h"
#include "tests/golden/trunks.h"
#include "tests/support/testing.h"

namespace graft::testing::test_trunk_training {
namespace {

using at::Tensor;

// The rows of the logits that are judged, and the token that each must predict.
struct Targets {
  std::vector<RowRange> wanted;  // one range a sequence
  std::vector<int64_t> tokens;
};

Targets targets_of(const GoldenTrunk& golden) {
  Targets out;
  const std::vector<int64_t> prompts = integers_of(golden.expected.at("prompt_lengths"));
  for (size_t n = 0; n < golden.answered().size(); ++n) {
    const std::vector<int64_t>& ids = golden.answered()[n].ids;
    const auto prompt = static_cast<size_t>(prompts[n]);
    out.wanted.push_back({static_cast<int64_t>(prompt) - 1, static_cast<int64_t>(ids.size()) - 1});
    out.tokens.insert(out.tokens.end(), ids.begin() + static_cast<int64_t>(prompt), ids.end());
  }
  return out;
}

struct LossAndTensors {
  double loss = 0;
  NamedTensors gradients;
};

// Mean loss of the target tokens, and the gradient of every trained tensor.
LossAndTensors train(const GoldenTrunk& golden, Rig& rig, int64_t round_rows_to) {
  const TrunkPacks packs(*golden.model, golden.sequences, golden.targets, round_rows_to);
  const Targets targets = targets_of(golden);
  LossAndTensors out;
  {
    BoundAdapter bound(*golden.model, *rig.adapter, rig.tensors);
    ForwardOptions options{.wanted = targets.wanted, .round_rows_to = round_rows_to};
    const Tensor last =
        forward_lanes(*golden.model, packs.input, {{&bound, {.is_training = true}}}, options).last;
    const auto count = static_cast<int64_t>(targets.tokens.size());
    const Tensor loss =
        vocabulary_loss(last.slice(0, 0, count), bound.weights().output_layer(golden.model->config),
                        targets.tokens)
            .sum /
        count;
    out.loss = loss.item<double>();
    torch::autograd::backward({loss}, {});
    bound.add_gradients_to_stored();
  }
  for (auto& [name, tensor] : rig.tensors) {
    if (tensor.grad().defined()) out.gradients[name] = tensor.grad().clone();
  }
  return out;
}

// The gradient of a tensor under its name in the checkpoint, cut and turned as weights are when
// they are loaded.
Tensor checkpoint_gradient(const GoldenTrunk& golden, const std::string& canonical,
                           const NamedTensors& file) {
  const Family& family = family_of(golden.model->config);
  const CheckpointPiece piece = piece_of(checkpoint_name(family, tensor_id(canonical)).value());
  for (const std::string& prefix : family.prefixes) {
    const auto found = file.find("grad." + prefix + piece.tensor);
    if (found == file.end()) continue;
    Tensor whole = found->second;
    if (is_stored_transposed(family, tensor_id(canonical)) && whole.dim() == 2) whole = whole.t();
    return whole.chunk(piece.count, 0)[static_cast<size_t>(piece.index)].contiguous();
  }
  throw InternalError("no gradient for " + canonical);
}

class GoldenTrunkTraining : public ::testing::TestWithParam<std::string> {};

void expect_training(const std::string& name, Precision precision, bool is_full,
                     int64_t round_rows_to, const Tolerance& tolerance) {
  const GoldenTrunk golden(name, precision);
  const Node& entry = trunk_entry(name);
  const NamedTensors file =
      load_safetensors(golden_dir("trunks") / name / "training.safetensors").tensors;
  std::string definition = "{edits: [{full: {}}]}";
  if (!is_full) {
    const Node& lora = *entry.find("lora");
    std::string sites;
    for (const Node& site : lora.find("sites")->items)
      sites += (sites.empty() ? "" : ", ") + site.scalar;
    definition = "{edits: [{lora: {rank: " + lora.find("rank")->scalar +
                 ", alpha: " + lora.find("alpha")->scalar + ", sites: [" + sites + "]}}]}";
  }
  Rig rig(golden.model, definition, std::nullopt);
  NamedTensors expected;
  for (auto& [own, tensor] : rig.tensors) {
    if (is_full) {
      expected[own] = checkpoint_gradient(golden, own.substr(own.find('/') + 1), file);
    } else {
      const at::NoGradGuard no_grad;
      tensor.copy_(file.at("lora." + own));
      expected[own] = file.at("lora.grad." + own);
    }
  }
  if (precision == Precision::kFloat64) {
    rig.widen();
    for (auto& [own, tensor] : expected) tensor = tensor.to(at::kDouble);
  }
  const LossAndTensors found = train(golden, rig, round_rows_to);
  const double loss = number_of(*entry.find(is_full ? "loss" : "lora_loss"));
  EXPECT_NEAR(found.loss, loss, tolerance.absolute + tolerance.relative * loss);
  expect_all_near(found.gradients, expected, tolerance, name + (is_full ? " full" : " lora"));
  measured(name + (is_full ? " full" : " lora"), largest_difference(found.gradients, expected));
}

TEST_P(GoldenTrunkTraining, AllWeights) {
  expect_training(GetParam(), Precision::kFloat32, true, 64, kTrunkFloat);
}
TEST_P(GoldenTrunkTraining, AllWeightsInFloat64) {
  expect_training(GetParam(), Precision::kFloat64, true, 1, kTrunkDouble);
}
TEST_P(GoldenTrunkTraining, Lora) {
  expect_training(GetParam(), Precision::kFloat32, false, 64, kTrunkFloat);
}
TEST_P(GoldenTrunkTraining, LoraInFloat64) {
  expect_training(GetParam(), Precision::kFloat64, false, 1, kTrunkDouble);
}

std::vector<std::string> decoder_names() {
  std::vector<std::string> names = trained_trunk_names();
  std::erase_if(names, [](const std::string& name) { return name.ends_with("-mlm"); });
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTrunkTraining, ::testing::ValuesIn(decoder_names()),
                         parameter_name);

}  // namespace
}  // namespace graft::testing::test_trunk_training
