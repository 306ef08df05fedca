// Every model folder of tests/golden/models: what the reference computes, from a batch of all
// sequences and from each alone.
#include <gtest/gtest.h>

#include "tensor/safetensors.h"
#include "tests/golden/names.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_models {
namespace {

constexpr Tolerance kFloat{1e-5, 1e-4};

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  const Node manifest = golden_manifest("models");  // by value in a range-for it would be gone
  for (const auto& [name, entry] : manifest.find("models")->members) names.push_back(name);
  return names;
}

// The folder with its expected values, and an adapter with the checkpoint's own head (or a new one,
// for the sake of `pooled`).
struct GoldenModel {
  std::shared_ptr<const Model> model;
  NamedTensors expected;
  std::vector<Sequence> sequences;
  std::unique_ptr<Rig> rig;

  explicit GoldenModel(const std::string& name) : model(golden_model(name)) {
    expected = load_safetensors(golden_dir("models") / name / "expected.safetensors").tensors;
    sequences =
        cut_sequences(expected.at("ids"), expected.at("token_types"), expected.at("lengths"));
    const int64_t outputs = expected.contains("logits") ? expected.at("logits").size(1) : 2;
    rig =
        std::make_unique<Rig>(model, "{}", outputs == 1 ? regression_task() : class_task(outputs));
    if (!expected.contains("logits")) return;
    const at::NoGradGuard no_grad;
    const NamedTensors stored = load_sharded(golden_dir("models") / name).tensors;
    for (const auto& [theirs, tensor] : stored) {
      if (!head_name(theirs).empty()) rig->tensors.at("head/" + head_name(theirs)).copy_(tensor);
    }
  }

  LaneResult run(const std::vector<Sequence>& some, bool keep_hidden, int64_t round_rows_to) const {
    const at::NoGradGuard no_grad;
    const BoundAdapter bound(*model, *rig->adapter, rig->tensors);
    return run_lanes(*model, pack_of(*model, {lane_of(some)}, round_rows_to), {&bound},
                     {.keep_hidden = keep_hidden})
        .front();
  }

  // z of the head is the pooler's output for BERT and the dense layer's for RoBERTa.
  std::string pooled_name() const {
    return expected.contains("pooled")        ? "pooled"
           : expected.contains("head.pooled") ? "head.pooled"
                                              : "";
  }
};

class GoldenModels : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenModels, PackedTogether) {
  const GoldenModel golden(GetParam());
  const int64_t tokens = golden.expected.at("ids").numel();
  for (const int64_t rounding : {1, 64}) {
    const LaneResult result = golden.run(golden.sequences, true, rounding);
    ASSERT_EQ(static_cast<int64_t>(result.hidden.size()),
              golden.model->config.encoder_layers() + 1);
    for (size_t layer = 0; layer < result.hidden.size(); ++layer) {
      const std::string name = "hidden." + std::to_string(layer);
      const at::Tensor rows = result.hidden[layer].slice(0, 0, tokens);
      expect_near(rows, golden.expected.at(name), kFloat, GetParam() + " " + name);
      measured(GetParam() + " " + name, difference_of(rows, golden.expected.at(name)).absolute);
    }
    if (!golden.pooled_name().empty())
      expect_near(result.pooled, golden.expected.at(golden.pooled_name()), kFloat,
                  GetParam() + " pooled");
    if (golden.expected.contains("logits"))
      expect_near(result.logits, golden.expected.at("logits"), kFloat, GetParam() + " logits");
  }
}

TEST_P(GoldenModels, Alone) {
  const GoldenModel golden(GetParam());
  int64_t begin = 0;
  for (size_t i = 0; i < golden.sequences.size(); ++i) {
    const auto length = static_cast<int64_t>(golden.sequences[i].ids.size());
    const std::string what = GetParam() + " sequence " + std::to_string(i);
    const LaneResult result = golden.run({golden.sequences[i]}, true, 1);
    for (size_t layer = 0; layer < result.hidden.size(); ++layer) {
      const std::string name = "hidden." + std::to_string(layer);
      expect_near(result.hidden[layer], golden.expected.at(name).slice(0, begin, begin + length),
                  kFloat, what + " " + name);
    }
    const auto n = static_cast<int64_t>(i);
    if (!golden.pooled_name().empty()) {
      expect_near(result.pooled, golden.expected.at(golden.pooled_name()).slice(0, n, n + 1),
                  kFloat, what + " pooled");
    }
    if (golden.expected.contains("logits"))
      expect_near(result.logits, golden.expected.at("logits").slice(0, n, n + 1), kFloat,
                  what + " logits");
    begin += length;
  }
}

// The last block may compute only the first row of each sequence: the same logits.
TEST_P(GoldenModels, FirstRowsOnly) {
  const GoldenModel golden(GetParam());
  const LaneResult result = golden.run(golden.sequences, false, 64);
  if (!golden.pooled_name().empty())
    expect_near(result.pooled, golden.expected.at(golden.pooled_name()), kFloat,
                GetParam() + " pooled");
  if (golden.expected.contains("logits"))
    expect_near(result.logits, golden.expected.at("logits"), kFloat, GetParam() + " logits");
}

// The longest sequence fills the position table; one token more is refused.
TEST_P(GoldenModels, RefusesATokenMoreThanThePositionTableServes) {
  const GoldenModel golden(GetParam());
  const Pack full = pack_of(*golden.model, {lane_of(golden.sequences)});
  EXPECT_TRUE(full.positions.equal(golden.expected.at("positions")));
  EXPECT_EQ(golden.model->config.max_positions, 40);
  const Sequence long_one{123, std::vector<int64_t>(41, 5), std::vector<int64_t>(41, 0)};
  expect_message<InputError>([&] { golden.run({long_one}, false, 1); },
                             "example 123 takes 41 positions; ");
  expect_message<InputError>([&] { golden.run({long_one}, false, 1); },
                             "serves at most 40: set max_length lower");
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModels, ::testing::ValuesIn(model_names()), parameter_name);

TEST(GoldenModelList, HoldsEveryFolder) {
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir("models"))) {
    if (entry.is_directory()) folders.push_back(entry.path().filename().string());
  }
  std::sort(folders.begin(), folders.end());
  std::vector<std::string> names = model_names();
  std::sort(names.begin(), names.end());
  EXPECT_EQ(folders, names);
}

}  // namespace
}  // namespace graft::testing::test_models
