// The classifiers of tests/golden/classifiers, each with the head of its own folder: labels,
// logits, loss, and its gradients for all weights and for LoRA.
#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "base/error.h"
#include "edit/own_head.h"
#include "infer/predict.h"
#include "model/families.h"
#include "tensor/safetensors.h"
#include "tests/golden/trunks.h"
#include "tests/support/testing.h"
#include "train/objective.h"

namespace graft::testing::test_classifiers {
namespace {

using at::Tensor;

constexpr const char* kFolder = "classifiers";

const Node& manifest() {
  static const Node node = golden_manifest(kFolder);
  return node;
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& [name, entry] : manifest().find("models")->members) out.push_back(name);
  return out;
}

struct Golden {
  std::shared_ptr<const Model> model;
  OwnHead own;
  NamedTensors expected;
  std::vector<Sequence> sequences;
  std::vector<double> labels;

  Golden(const std::string& name, Precision precision)
      : model(golden_model(name, precision, kFolder)),
        own(read_own_head(golden_dir(kFolder) / name, model->config).value()),
        expected(load_safetensors(golden_dir(kFolder) / name / "expected.safetensors").tensors),
        sequences(cut_sequences(expected.at("ids"), at::zeros_like(expected.at("ids")),
                                expected.at("lengths"))) {
    const Tensor wide = expected.at("labels").to(at::kDouble);
    for (int64_t i = 0; i < wide.numel(); ++i) labels.push_back(wide[i].item<double>());
  }

  // An adapter with these edits over the folder's own head.
  Rig rig(const std::string& edits) const {
    Rig out(model, "{edits: [" + edits + "]}", own.task);
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : matched_tensors(own, own.task))
      out.tensors.at(name).copy_(tensor);
    return out;
  }
};

class GoldenClassifiers : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenClassifiers, AnswerByTheirOwnHead) {
  const Golden golden(GetParam(), Precision::kFloat32);
  const Tensor& expected = golden.expected.at("logits");
  const LoadedAdapter loaded = own_head_adapter(golden.own, *golden.model, golden.own.task);
  const BoundAdapter bound(*golden.model, loaded.adapter, loaded.tensors);
  Dataset data;
  data.sequences = golden.sequences;
  data.examples.resize(golden.sequences.size());
  for (const int64_t budget : {1, 20, 4096}) {  // alone, some together, all
    const Tensor found = predict(*golden.model, bound, data, {.token_budget = budget}).logits;
    expect_near(found, expected, kTrunkFloat,
                GetParam() + " by " + std::to_string(budget) + " tokens");
    measured(GetParam(), difference_of(found, expected).absolute);
  }
  Rig wide = Golden(GetParam(), Precision::kFloat64).rig("");
  wide.widen();
  expect_near(logits_of(wide, golden.sequences), expected.to(at::kDouble), kTrunkDouble,
              GetParam() + " in float64");
}

// The gradient of a tensor under its name in the checkpoint, cut and turned as weights are when
// they are loaded.
Tensor checkpoint_gradient(const Golden& golden, const std::string& stored,
                           const NamedTensors& file) {
  const Family& family = family_of(golden.model->config);
  const std::string own = stored.substr(stored.find('/') + 1);
  if (stored.starts_with(Adapter::kHeadPath)) {
    const size_t dot = own.rfind('.');
    for (const auto& [ours, theirs] : family.head_names) {
      if (ours == own.substr(0, dot)) return file.at("grad." + theirs + own.substr(dot));
    }
  }
  const CheckpointPiece piece = piece_of(checkpoint_name(family, tensor_id(own)).value());
  Tensor whole = file.at("grad." + family.trunk_prefix(true) + piece.tensor);
  if (family.stores_transposed && whole.dim() == 2 && !own.starts_with("embed.")) whole = whole.t();
  return whole.chunk(piece.count, 0)[static_cast<size_t>(piece.index)].contiguous();
}

// Mean loss of the batch, against the library's, and the gradient of every trained tensor.
// `is_full`: of all weights and the head; else of LoRA under a frozen head.
void expect_training(const std::string& name, Precision precision, bool is_full) {
  const bool is_wide = precision == Precision::kFloat64;
  const Tolerance tolerance = is_wide ? kTrunkDouble : kTrunkFloat;
  const Golden golden(name, precision);
  const Node& entry = *manifest().find("models")->find(name);
  const NamedTensors file =
      load_safetensors(golden_dir(kFolder) / name / "training.safetensors").tensors;
  const bool has_cross = golden.model->config.is_encoder_decoder();
  Rig rig = golden.rig(
      is_full     ? "{full: {}}"
      : has_cross ? "{lora: {rank: 2, alpha: 4, sites: [attn.q, attn.v, cross.q, cross.v]}}"
                  : "{lora: {rank: 2, alpha: 4, sites: [attn.q, attn.v]}}");
  NamedTensors expected;
  for (auto& [own, tensor] : rig.tensors) {
    const at::NoGradGuard no_grad;
    if (is_full) expected[own] = checkpoint_gradient(golden, own, file);
    if (is_full || own.starts_with(Adapter::kHeadPath)) continue;
    tensor.copy_(file.at("lora." + own));
    expected[own] = file.at("lora.grad." + own);
  }
  if (is_wide) {
    rig.widen();
    for (auto& [own, tensor] : expected) tensor = tensor.to(at::kDouble);
  }
  const auto count = static_cast<double>(golden.labels.size());
  LossAndGradients found = gradients_of(rig, golden.sequences, golden.labels, {}, is_wide ? 1 : 64);
  const int64_t pad = golden.model->config.pad_id;
  for (auto& [own, gradient] : found.gradients) {
    gradient = gradient / count;
    // Most of the library's word tables give the row of their pad token no gradient (padding_idx);
    // here it is a row like any other.
    const bool is_word_table = is_full && own.ends_with("embed.word.weight");
    if (is_word_table && expected.at(own).select(0, pad).abs().max().item<double>() == 0)
      gradient.select(0, pad).zero_();
  }
  if (!is_full)
    std::erase_if(found.gradients,
                  [](const auto& each) { return each.first.starts_with(Adapter::kHeadPath); });
  const double loss = number_of(*entry.find(is_full ? "loss" : "lora_loss"));
  EXPECT_NEAR(found.loss / count, loss, tolerance.absolute + tolerance.relative * loss);
  // A gradient sums what all rows give, in the plain forms in another order than in the kernels; in
  // float64 the same equations are held to kTrunkDouble.
  const Tolerance of_gradients{2 * tolerance.absolute, tolerance.relative};
  expect_all_near(found.gradients, expected, is_wide ? tolerance : of_gradients,
                  name + (is_full ? " full" : " lora"));
  measured(name + (is_full ? " full" : " lora"), largest_difference(found.gradients, expected));
}

TEST_P(GoldenClassifiers, AllWeights) { expect_training(GetParam(), Precision::kFloat32, true); }
TEST_P(GoldenClassifiers, AllWeightsInFloat64) {
  expect_training(GetParam(), Precision::kFloat64, true);
}
TEST_P(GoldenClassifiers, Lora) { expect_training(GetParam(), Precision::kFloat32, false); }
TEST_P(GoldenClassifiers, LoraInFloat64) {
  expect_training(GetParam(), Precision::kFloat64, false);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenClassifiers, ::testing::ValuesIn(names()), parameter_name);

TEST(GoldenClassifierLabels, AreTheFolders) {
  const auto labels = [](const char* name) {
    return Golden(name, Precision::kFloat32).own.task.labels();
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(labels("bert-labels"), (Words{"bad", "so so", "good"}));
  EXPECT_EQ(labels("roberta-labels"), (Words{"LABEL_0", "LABEL_1"}));
  EXPECT_EQ(labels("qwen2-labels"), (Words{"LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"}));
  for (const char* name : {"mistral-value", "t5-gated-value"})
    EXPECT_EQ(Golden(name, Precision::kFloat32).own.task.kind(), TaskKind::kRegression) << name;
  EXPECT_GE(names().size(), 10U);
}

}  // namespace
}  // namespace graft::testing::test_classifiers
