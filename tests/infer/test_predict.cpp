// Predictions: in the order of the data whatever shares a forward pass, and their scores.
#include "infer/predict.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_predict {
namespace {

using at::Tensor;

Dataset dataset(const ModelConfig& config, int64_t rows, const std::vector<double>& labels) {
  Dataset data;
  data.sequences = random_sequences(config, rows, 30, 6);
  for (int64_t i = 0; i < rows; ++i) {
    Example example;
    example.id = i;
    if (!labels.empty()) example.label = labels[static_cast<size_t>(i)];
    data.examples.push_back(std::move(example));
    data.num_tokens += static_cast<int64_t>(data.sequences[static_cast<size_t>(i)].ids.size());
  }
  return data;
}

TEST(Predict, KeepsTheOrderOfTheRowsWhateverTheBudget) {
  Rig rig(golden_model("bert-tiny"), "{edits: [{lora: {rank: 2}}]}");
  rig.shake(0.2);
  const Dataset data = dataset(rig.model->config, 23, {});
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  std::vector<Tensor> alone;
  for (const Sequence& sequence : data.sequences) alone.push_back(logits_of(rig, {sequence}));
  const Tensor expected = at::cat(alone);
  for (const int64_t budget : {1, 40, 4096}) {
    std::vector<int64_t> progress;
    const Predictions found =
        predict(*rig.model, bound, data,
                {.token_budget = budget, .progress = [&](int64_t done, int64_t total) {
                   EXPECT_EQ(total, 23);
                   progress.push_back(done);
                 }});
    expect_near(found.logits, expected, {5e-6, 0}, "budget " + std::to_string(budget));
    EXPECT_EQ(found.num_tokens, data.num_tokens);
    EXPECT_EQ(progress.back(), 23);
    EXPECT_EQ(progress.size(), budget == 1 ? 23U : budget == 4096 ? 1U : progress.size());
    EXPECT_FALSE(found.logits.requires_grad());
  }
}

TEST(Predict, ScoresAndMeanLoss) {
  const Dataset data = dataset(golden_model("bert-tiny")->config, 4, {0, 1, 2, 1});
  const Tensor logits = at::tensor({2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 5.0, 0.0, 0.0, 0.0, 3.0, 0.0})
                            .view({4, 3})
                            .to(at::kFloat);
  const Task task = class_task(3);
  EXPECT_NEAR(score_predictions(task, data, logits).front().value, 0.75, 1e-12);
  const double e = std::exp(1.0);
  const double loss =
      (std::log((e * e + 2) / (e * e)) + std::log((e + 2) / e) + std::log(std::exp(5.0) + 2) +
       std::log((std::exp(3.0) + 2) / std::exp(3.0))) /
      4;
  EXPECT_NEAR(mean_loss(task, data, logits), loss, 1e-9);
  EXPECT_NEAR(mean_loss(regression_task(), data, at::tensor({1.0, 1.0, 2.0, -1.0}).view({4, 1})),
              (1 + 0 + 0 + 4) / 4.0, 1e-12);
  const Dataset unlabelled = dataset(golden_model("bert-tiny")->config, 2, {});
  expect_message<InternalError>([&] { mean_loss(task, unlabelled, logits.slice(0, 0, 2)); },
                                "scores need a label on every row");
}

// STS-B's scores begin at 0: RoBERTa's code answers 0 for what is less.
TEST(Predict, AnswersOfARegressionHaveALeastValue) {
  Task task = regression_task();
  const Tensor logits = at::tensor({-1.5F, 0.25F, 7.0F}).view({3, 1});
  EXPECT_EQ(answers_of(task, logits), (std::vector<double>{-1.5, 0.25, 7}));
  task.at<Regression>().least = 0;
  EXPECT_EQ(answers_of(task, logits), (std::vector<double>{0, 0.25, 7}));
}

TEST(Predict, NeedsAHead) {
  const Rig rig(golden_model("bert-tiny"), "{}", std::nullopt);
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  expect_message<InternalError>(
      [&] { predict(*rig.model, bound, dataset(rig.model->config, 2, {})); },
      "predictions need a head");
}

// Beside a prompt before the text the last block computes no token: a classifier reads the first of
// the prompt's rows.
TEST(Predict, RecordsChangesBesideAPrompt) {
  Rig rig(golden_model("bert-tiny"),
          "{edits: [{prompt: {length: 3}}, {lora: {rank: 2, sites: [attn.q, ffn.down]}}]}");
  rig.shake(0.2);
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  const Predictions found = predict(*rig.model, bound, dataset(rig.model->config, 5, {}),
                                    {.keep_records = true, .recording = {.changes = true}});
  int64_t counted = 0;
  for (const auto& [name, values] : found.records.rows) {
    if (!name.starts_with("1.lora/") || !name.ends_with(".change")) continue;
    ++counted;
    EXPECT_TRUE(at::isfinite(values).all().item<bool>()) << name;
    EXPECT_GT(values.min().item<double>(), 0) << name;
  }
  EXPECT_EQ(counted, 2 * rig.model->config.last().layers);
  EXPECT_EQ(records_summary(found.records).members.size(), found.records.rows.size());
}

// In no bin, and in neither bound.
TEST(Records, ASummaryCountsWhatIsFinite) {
  const float none = std::nanf(""), most = std::numeric_limits<float>::infinity();
  Records records;
  records.rows["some"] = at::tensor({0.0F, none, 2.0F, most}).view({4, 1});
  records.rows["no"] = at::tensor({none, none}).view({2, 1});
  const Node summary = records_summary(records), &some = *summary.find("some");
  EXPECT_EQ(some.find("low")->scalar, "0");
  EXPECT_EQ(some.find("high")->scalar, "2");
  const std::vector<Node>& bins = some.find("counts")->items[0].items;
  EXPECT_EQ(bins.front().scalar + bins.back().scalar, "11");
  EXPECT_EQ(some.find("mean")->items[0].kind, Node::Kind::kNull);
  for (const Node& bin : summary.find("no")->find("counts")->items[0].items)
    EXPECT_EQ(bin.scalar, "0");
}

TEST(MaxLength, IsTheModelsUnlessAskedForLess) {
  ModelConfig config = golden_model("bert-tiny")->config;
  EXPECT_EQ(resolve_max_length(0, config), 40);
  EXPECT_EQ(resolve_max_length(12, config), 12);
  EXPECT_EQ(resolve_max_length(0, config, {.virtual_rows = 5, .first_position = 3}), 32);
  expect_message<InputError>(
      [&] { resolve_max_length(33, config, {.virtual_rows = 8}); },
      "serves at most 32 tokens beside the 8 rows of the adapter's prompt or prefix, found 33");
  expect_message<InputError>([&] { resolve_max_length(0, config, {.virtual_rows = 40}); },
                             "has 40 positions, none of them left beside the 40 rows");
  expect_message<InputError>([&] { resolve_max_length(41, config); },
                             "max_length: this model serves at most 40 tokens, found 41");
  config.max_positions = 4096;
  EXPECT_EQ(resolve_max_length(0, config), 512);
  EXPECT_EQ(resolve_max_length(4096, config), 4096);
}

}  // namespace
}  // namespace graft::testing::test_predict
