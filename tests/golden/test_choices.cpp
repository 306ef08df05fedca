// Rank classification and the heads for masks, against what the reference computes:
// tests/golden/generation ("ranks") and the masked models of tests/golden/trunks.
#include <ATen/ops/linear.h>
#include <gtest/gtest.h>

#include "infer/choices.h"
#include "tests/golden/generation_files.h"
#include "tests/golden/trunks.h"
#include "tests/support/testing.h"

namespace graft::testing::test_choices {
namespace {

// Sums of at most five float32 log-probabilities around -20.
constexpr double kScoreBound = 2e-5;

Task choice_task(OptionScore score) {
  Task task;
  task.name = "ranks";
  task.question = Choice{};
  task.at<Choice>().score = score;
  return task;
}

Dataset ranked_rows(const Node& ranks) {
  Dataset data;
  for (const Node& rank : ranks.items) {
    Example example;
    example.id = data.size();
    example.label = number_of(*rank.find("best"));
    Sequence& prompt = data.sequences.emplace_back();
    prompt.example = example.id;
    prompt.ids = ids_of(*rank.find("input"));
    auto& options = data.options.emplace_back();
    for (const Node& option : rank.find("options")->items) options.push_back(ids_of(option));
    data.examples.push_back(std::move(example));
  }
  return data;
}

class GoldenRanks : public ::testing::TestWithParam<std::string> {};

// All rows in one pass, and each in a pass of its own.
TEST_P(GoldenRanks, AreTheReferences) {
  const Node json = generation_file(GetParam());
  const Node& ranks = *json.find("ranks");
  const auto model = golden_model(GetParam(), Precision::kFloat32, "trunks");
  const Rig rig(model, "{}", std::nullopt);
  const BoundAdapter bound(*model, *rig.adapter, rig.tensors);
  const Dataset data = ranked_rows(ranks);
  double right_sum = 0, right_tokens = 0;
  for (const int64_t budget : {int64_t{4096}, int64_t{1}}) {
    PredictOptions options;
    options.token_budget = budget;
    const Choices sums = choose(*model, bound, choice_task(OptionScore::kSum), data, options);
    const Choices means = choose(*model, bound, choice_task(OptionScore::kMean), data, options);
    right_sum = right_tokens = 0;
    for (size_t row = 0; row < ranks.items.size(); ++row) {
      const Node &rank = ranks.items[row], &expected = *rank.find("log_probabilities");
      ASSERT_EQ(sums.scores[row].size(), expected.items.size());
      for (size_t i = 0; i < expected.items.size(); ++i) {
        const auto tokens = static_cast<double>(data.options[row][i].size());
        EXPECT_NEAR(sums.scores[row][i], number_of(expected.items[i]), kScoreBound)
            << "row " << row << " option " << i;
        EXPECT_NEAR(means.scores[row][i] * tokens, number_of(expected.items[i]), kScoreBound)
            << "row " << row << " option " << i;
      }
      EXPECT_EQ(sums.chosen[row], number_of(*rank.find("best")));
      EXPECT_EQ(means.chosen[row], number_of(*rank.find("best_mean")));
      const auto best = static_cast<size_t>(number_of(*rank.find("best")));
      right_sum -= number_of(expected.items[best]);
      right_tokens += static_cast<double>(data.options[row][best].size());
    }
    EXPECT_NEAR(sums.loss, right_sum / right_tokens, kScoreBound);
  }
}

std::vector<std::string> ranked_models() {
  std::vector<std::string> names = generation_models();
  std::erase_if(names, [](const std::string& name) {
    const Node json = generation_file(name);
    return json.find("ranks") == nullptr || json.find("ranks")->items.empty();
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenRanks, ::testing::ValuesIn(ranked_models()), parameter_name);

class GoldenMasks : public ::testing::TestWithParam<std::string> {};

// The word logits at every place, and those of a cloze at one place of each sequence.
TEST_P(GoldenMasks, AreTheReferences) {
  const at::NoGradGuard no_grad;
  const GoldenTrunk golden(GetParam(), Precision::kFloat32);
  const ModelConfig& config = golden.model->config;
  const at::Tensor& expected = golden.expected.at("logits");  // [T, V]
  const auto words = std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{7, 3, 11});
  std::vector<Sequence> sequences = golden.sequences;
  std::vector<int64_t> rows;
  int64_t first = 0;
  for (Sequence& sequence : sequences) {
    const auto length = static_cast<int64_t>(sequence.ids.size());
    sequence.asked = Mask{length / 2, words};
    rows.push_back(first + length / 2);
    first += length;
  }
  ASSERT_EQ(first, expected.size(0)) << "every sequence of the file is read";
  const Pack pack = pack_of(*golden.model, {lane_of(sequences)});
  NoHooks nothing;
  const at::Tensor last =
      forward(*golden.model, golden.model->weights, input_of(config, pack), nothing, {}).last;
  const at::Tensor z = mask_states(config, golden.model->weights, last.slice(0, 0, first));
  const TensorId output = config.has_tied_output ? kWordTable : kOutputTable;
  expect_near(at::linear(z, golden.model->weights.at(output),
                         golden.model->weights.at(tensor_id("mask.bias"))),
              expected, kTrunkFloat, "logits");

  Task task = class_task(3);
  task.at<Classification>().cloze = Cloze{{}, {"a", "b", "c"}};
  const Rig rig(golden.model, "{}", task);
  EXPECT_TRUE(rig.tensors.empty()) << "a cloze trains no head";
  const at::Tensor at_masks = expected.index_select(0, at::tensor(rows, at::kLong))
                                  .index_select(1, at::tensor(*words, at::kLong));
  expect_near(logits_of(rig, sequences), at_masks, kTrunkFloat, "cloze");
}

INSTANTIATE_TEST_SUITE_P(All, GoldenMasks,
                         ::testing::Values("bert-mlm", "roberta-mlm", "bert-mlm-untied",
                                           "modernbert-mlm", "modernbert-biases-mlm"),
                         parameter_name);

}  // namespace
}  // namespace graft::testing::test_choices
