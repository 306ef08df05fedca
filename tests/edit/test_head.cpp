// The head: its formula for both styles, and a model without a pooler.
#include "edit/head.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "model/classified.h"
#include "model/families.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_head {
namespace {

using at::Tensor;

std::shared_ptr<const Model> without_pooler() {
  const auto model = golden_model("bert-tiny");
  NamedTensors base = model->weights.all_base();
  base.erase("pooler.weight");
  base.erase("pooler.bias");
  return std::make_shared<const Model>(Model{"no pooler", model->config, model->sites,
                                             Weights(model->config, base, Precision::kFloat32)});
}

Tensor expected_logits(const Rig& rig, const std::vector<Sequence>& rows, const Tensor& weight,
                       const Tensor& bias) {
  const at::NoGradGuard no_grad;
  const Pack pack = pack_of(*rig.model, {lane_of(rows)});
  NoHooks nothing;
  const Tensor index = narrowed(pack, classified_pack(*rig.model, pack).wanted, 1).index;
  const Tensor h =
      forward(*rig.model, rig.model->weights, input_of(rig.model->config, pack), nothing, {})
          .last.index_select(0, index);
  return at::linear(at::tanh(at::linear(h, weight, bias)), rig.tensors.at("head/out.weight"),
                    rig.tensors.at("head/out.bias"));
}

TEST(Head, IsTheFormulaOfItsComment) {
  for (const char* definition : {"{}", "{head: {pooler: trained}}"}) {
    Rig bert(golden_model("bert-tiny"), definition);
    bert.shake(0.2);
    const bool is_trained = bert.tensors.contains("head/pooler.weight");
    const auto source = [&](const char* name) {
      return is_trained ? bert.tensors.at(std::string("head/") + name)
                        : bert.model->weights.base(tensor_id(name));
    };
    const std::vector<Sequence> rows = random_sequences(bert.model->config, 4, 12, 3);
    expect_near(logits_of(bert, rows),
                expected_logits(bert, rows, source("pooler.weight"), source("pooler.bias")),
                {1e-5, 1e-5}, definition);
  }
  Rig roberta(golden_model("roberta-tiny"), "{}");
  roberta.shake(0.2);
  const std::vector<Sequence> rows = random_sequences(roberta.model->config, 4, 12, 3);
  expect_near(logits_of(roberta, rows),
              expected_logits(roberta, rows, roberta.tensors.at("head/dense.weight"),
                              roberta.tensors.at("head/dense.bias")),
              {1e-5, 1e-5}, "roberta");
}

// An edit at the pooler changes that layer, whose rows are those that the head reads: one a text,
// in training, too.
TEST(Head, ReadsAPoolerThatAnEditChanges) {
  Rig rig(golden_model("bert-tiny"), "{edits: [{lora: {sites: [pooler], rank: 2, alpha: 6}}]}");
  rig.shake(0.2);
  const Tensor a = rig.tensors.at("0.lora/pooler.lora_a").detach(),
               b = rig.tensors.at("0.lora/pooler.lora_b").detach();
  const Tensor product = at::mm(b, a);
  const Weights& base = rig.model->weights;
  const std::vector<Sequence> rows = random_sequences(rig.model->config, 4, 12, 3);
  expect_near(logits_of(rig, rows),
              expected_logits(rig, rows, base.base(weight_of(kPoolerPlace)) + product * 3,
                              base.base(bias_of(kPoolerPlace))),
              {1e-5, 1e-5}, "logits");
  const LossAndGradients found = gradients_of(rig, rows, class_labels(4, 3));
  for (const char* name : {"0.lora/pooler.lora_a", "0.lora/pooler.lora_b"})
    EXPECT_GT(found.gradients.at(name).abs().max().item<double>(), 1e-4) << name;
}

// Two lanes of a pack, each with a pooler of its own.
TEST(Head, OfEachLaneReadsItsOwnPooler) {
  const auto model = golden_model("bert-tiny");
  std::vector<Rig> rigs;
  for (const uint64_t seed : {3, 4}) {
    rigs.emplace_back(model, "{edits: [{affine: {sites: [pooler], shift: true}}]}");
    rigs.back().shake(0.3, seed);
  }
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 12, 3);
  const at::NoGradGuard no_grad;
  const BoundAdapter first(*model, *rigs[0].adapter, rigs[0].tensors),
      second(*model, *rigs[1].adapter, rigs[1].tensors);
  const std::vector<LaneResult> both =
      run_lanes(*model, pack_of(*model, {lane_of(rows), lane_of(rows)}), {&first, &second});
  for (size_t i = 0; i < 2; ++i)
    expect_near(both[i].logits, logits_of(rigs[i], rows), {1e-6, 0}, "lane " + std::to_string(i));
  EXPECT_GT(difference_of(both[0].logits, both[1].logits).absolute, 1e-2);
}

TEST(Head, RefusesAnEditOfAPoolerThatItDoesNotRead) {
  const auto model = golden_model("bert-tiny");
  expect_message<InputError>(
      [&] { Rig(model, "{edits: [{lora: {sites: [pooler]}}], head: {pooler: trained}}"); },
      "head.pooler: trained takes the place of the pooler that an edit changes");
  Task cloze = class_task(3);
  cloze.at<Classification>().cloze.emplace();
  expect_message<InputError>([&] { Rig(model, "{edits: [{lora: {sites: [pooler]}}]}", cloze); },
                             "reads the row of a mask and no pooler");
  expect_message<InputError>(
      [&] { Rig(golden_model("roberta-tiny"), "{edits: [{lora: {sites: [pooler]}}]}"); },
      R"(site pattern "pooler" matches no site of this model)");
  const auto bare = without_pooler();
  const Rig rig(bare, "{edits: [{lora: {sites: [pooler]}}]}", std::nullopt);
  expect_message<InputError>([&] { BoundAdapter(*bare, *rig.adapter, rig.tensors); },
                             "the adapter changes the pooler, which the model 'no pooler' has not");
}

// ModernBERT's classifier reads its head for masks, whose first layer is a site.
TEST(Head, ReadsAHeadForMasksThatAnEditChanges) {
  const auto model = golden_model("modernbert-labels", Precision::kFloat32, "classifiers");
  Rig rig(model, "{edits: [{lora: {sites: [mask.dense], rank: 2, alpha: 6}}]}");
  rig.shake(0.2);
  const Tensor product = at::mm(rig.tensors.at("0.lora/mask.dense.lora_b").detach(),
                                rig.tensors.at("0.lora/mask.dense.lora_a").detach());
  const TensorId dense = weight_of(kMaskDensePlace);
  NamedTensors base = model->weights.all_base();
  base[to_name(dense)] = base.at(to_name(dense)).to(at::kFloat) + product * 3;
  Rig changed(
      std::make_shared<const Model>(Model{"changed", model->config, model->sites,
                                          Weights(model->config, base, Precision::kFloat32)}),
      "{edits: []}");
  for (const char* name : {"head/out.weight", "head/out.bias"})
    changed.tensors[name] = rig.tensors.at(name);
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 12, 3);
  const Tensor logits = logits_of(rig, rows);
  expect_near(logits, logits_of(changed, rows), {1e-5, 1e-5}, "logits");
  const LossAndGradients found = gradients_of(rig, rows, class_labels(4, 3));
  for (const char* name : {"0.lora/mask.dense.lora_a", "0.lora/mask.dense.lora_b"})
    EXPECT_GT(found.gradients.at(name).abs().max().item<double>(), 1e-4) << name;
}

TEST(Head, MayTrainItsHeadForMasks) {
  const auto model = golden_model("modernbert-labels", Precision::kFloat32, "classifiers");
  Rig rig(model, "{head: {pooler: trained}}"), frozen(model, "{}");
  expect_bits(rig.tensors.at("head/mask.dense.weight").detach(),
              model->weights.base(weight_of(kMaskDensePlace)).to(at::kFloat),
              "as the model has it");
  EXPECT_TRUE(rig.tensors.contains("head/mask.norm.weight"));
  EXPECT_FALSE(frozen.tensors.contains("head/mask.dense.weight"));
  EXPECT_EQ(frozen.adapter->describe().find("head")->find("pooler"), nullptr);
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 12, 3);
  expect_near(logits_of(rig, rows), logits_of(frozen, rows), {1e-5, 1e-5}, "untrained");
  const LossAndGradients found = gradients_of(rig, rows, class_labels(4, 3));
  for (const char* name : {"head/mask.dense.weight", "head/mask.norm.weight"})
    EXPECT_GT(found.gradients.at(name).abs().max().item<double>(), 1e-5) << name;
}

TEST(Head, RefusesAnEditOfAHeadForMasksThatItDoesNotRead) {
  const auto model = golden_model("modernbert-labels", Precision::kFloat32, "classifiers");
  const std::string definition = "{edits: [{lora: {sites: [mask.dense]}}]";
  expect_message<InputError>([&] { Rig(model, definition + ", head: {pooler: trained}}"); },
                             "trained takes the place of the head for masks that an edit changes");
  expect_message<InputError>([&] { Rig(model, definition + "}", std::nullopt); },
                             "mask.dense is read by a classifier alone: leave mask.dense out");
}

TEST(Head, OfAModelWithoutAPoolerTrainsItsOwn) {
  const auto model = without_pooler();
  expect_message<InputError>(
      [&] { Rig(model, "{}"); },
      "the model has no pooler for the head to read: set head.pooler to trained");
  expect_message<InputError>(
      [&] { Rig(model, "{edits: [{bitfit: {}}], head: {pooler: trained}}"); },
      "the model has no 'pooler.bias' to train: set bitfit.pooler to false and head.pooler to "
      "trained");
  Rig rig(model, "{edits: [{bitfit: {pooler: false}}], head: {pooler: trained}}");
  rig.shake(0.1);
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 12, 3);
  const LossAndGradients found = gradients_of(rig, rows, class_labels(4, 3));
  EXPECT_GT(found.gradients.at("head/pooler.weight").abs().max().item<double>(), 0);
  EXPECT_GT(found.gradients.at("head/pooler.bias").abs().max().item<double>(), 0);
}

// As released beside methods without an adapter: nothing of the head moves, or its biases alone.
TEST(Head, MayStayAsItWasDrawn) {
  const auto trained = [](const char* trains) {
    std::set<std::string> names;
    const Rig rig(golden_model("roberta-tiny"), std::string("{head: {trains: ") + trains + "}}");
    for (const ParamSpec& param : rig.adapter->params()) {
      EXPECT_EQ(rig.tensors.at(param.name).requires_grad(), param.role == Role::kTrained);
      if (param.role == Role::kTrained) names.insert(param.name);
    }
    EXPECT_GT(rig.tensors.at("head/out.weight").abs().max().item<double>(), 0) << "it is drawn";
    return names;
  };
  EXPECT_EQ(trained("all").size(), 4U);
  EXPECT_EQ(trained("biases"), (std::set<std::string>{"head/dense.bias", "head/out.bias"}));
  EXPECT_TRUE(trained("nothing").empty());
  expect_message<InputError>(
      [] { Rig(golden_model("bert-tiny"), "{head: {pooler: trained, trains: nothing}}"); },
      "head.trains leaves the weights of the head as they are");
}

TEST(Head, HasOneOutputForRegression) {
  const Rig rig(golden_model("bert-tiny"), "{}", regression_task());
  EXPECT_EQ(rig.adapter->head()->outputs(), 1);
  EXPECT_EQ(logits_of(rig, random_sequences(rig.model->config, 3, 5, 1)).sizes(),
            (std::vector<int64_t>{3, 1}));
}

// RoBERTa's head drops twice, with masks of their own: with identity layers and p = 1/2 a
// quarter of the values is left, not half.
TEST(Head, DropsTwiceWithMasksOfTheirOwn) {
  const auto model = golden_model("roberta-tiny");
  const Node half = yaml("{dropout: 0.5}");
  Options options(half, "head");
  const Head head(options, model->config, 32);
  ASSERT_EQ(head.params().front().name, "dense.weight");
  const TensorList tensors{at::eye(32), at::zeros({32}), at::eye(32),
                           at::zeros({32})};  // of both layers
  auto ids = std::make_shared<RowIds>();
  for (int64_t n = 0; n < 64; ++n) ids->example.push_back(n), ids->position.push_back(0);
  const auto left = [&](bool is_training, uint64_t seed) {
    const Context context{.is_training = is_training, .key = RandomKey{seed}, .route = {}};
    return (head.logits(Params(tensors), at::ones({64, 32}), ids, context) != 0)
        .sum()
        .item<int64_t>();
  };
  for (const uint64_t seed : {1, 2, 3})
    EXPECT_NEAR(static_cast<double>(left(true, seed)) / 2048, 0.25, 0.05) << "seed " << seed;
  EXPECT_EQ(left(false, 1), 2048);
}

// Which row a classifier reads of a text, with rows beside its tokens too.
TEST(Head, ReadsTheRowOfItsFamily) {
  const auto rows_of = [](const char* family, std::vector<Sequence> texts,
                          const RowLayout& layout = {}) {
    const auto model = tiny_model(family, Precision::kFloat32);
    LaneInput lane = lane_of(texts);
    lane.layout = layout;
    const Pack pack = make_pack({lane}, pack_options(*model));
    std::vector<int64_t> rows;
    for (const RowRange& range : classified_pack(*model, pack).wanted) {
      EXPECT_EQ(range.end, range.begin + 1);
      rows.push_back(range.begin);
    }
    return rows;
  };
  using Rows = std::vector<int64_t>;
  const std::vector<Sequence> texts = {
      {0, {5, 6, 7}}, {1, {5, 0, 6, 0, 0}}, {2, {0, 0}}};  // 0 is the padding's id
  EXPECT_EQ(rows_of("bert", texts), (Rows{0, 0, 0}));
  EXPECT_EQ(rows_of("llama", texts), (Rows{2, 2, 0}));
  EXPECT_EQ(rows_of("gpt2", texts, {.virtual_rows = 4}), (Rows{6, 6, 4}));
  EXPECT_EQ(rows_of("llama", texts, {.virtual_rows = 2, .virtual_rows_follow_first = true}),
            (Rows{4, 4, 0}));
  EXPECT_EQ(rows_of("llama", texts, {.padded_length = 9}), (Rows{2, 2, 0}));
  const std::vector<Sequence> ended = {{0, {5, 1}}, {1, {1, 5, 1, 6}}};  // 1 is T5's end
  EXPECT_EQ(rows_of("t5", ended, {.virtual_rows = 4}), (Rows{1, 2}))
      << "the decoder has no virtual rows";
  expect_message<InputError>(
      [&] {
        rows_of("t5", {{0, {5, 1}}, {41, {5}}});
      },
      "example 41 has no end token (id 1), where a classifier on a t5 model reads");
}

// A trained pooler starts as the model's own.
TEST(Head, ATrainedPoolerStartsAsTheModels) {
  const Rig rig(golden_model("bert-tiny"), "{head: {pooler: trained}}");
  expect_bits(rig.tensors.at("head/pooler.weight"),
              rig.model->weights.base(tensor_id("pooler.weight")), "weight");
  EXPECT_EQ(rig.tensors.at("head/pooler.weight")
                .is_alias_of(rig.model->weights.base(tensor_id("pooler.weight"))),
            false);
}

// The same model with another classifier.
std::shared_ptr<const Model> with_classifier(const std::shared_ptr<const Model>& model, ReadRow row,
                                             HeadStyle style) {
  auto out = std::make_shared<Model>(*model);
  out->config.read_row = row;
  out->config.head_style = style;
  out->sites = Sites(out->config);
  return out;
}

TEST(Head, ReadsTheMeanOfASequence) {
  const auto model =
      with_classifier(tiny_model("bert", Precision::kFloat64), ReadRow::kMean, HeadStyle::kPooler);
  Rig rig(model, "{}", class_task(3));
  rig.widen();
  const std::vector<Sequence> texts = random_sequences(model->config, 5, 9, 3);
  NoHooks nothing;
  std::vector<Tensor> means;
  for (const Sequence& text : texts) {
    const Pack alone = pack_of(*model, {lane_of({text})});
    means.push_back(
        forward(*model, model->weights, input_of(model->config, alone), nothing, {}).last.mean(0));
  }
  const Tensor pooled = at::tanh(model->weights.linear(kPoolerPlace, at::stack(means)));
  const at::NoGradGuard no_grad;
  const Tensor expected =
      at::linear(pooled, rig.tensors.at("head/out.weight"), rig.tensors.at("head/out.bias"));
  for (const int64_t rounding : {1, 16})
    expect_near(logits_of(rig, texts, {}, rounding), expected, {1e-12, 1e-12}, "logits");
}

// Rows of a prompt count, those of padding and fillers do not.
TEST(Head, MeansAreOfRowsThatAreAttendedTo) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  const std::vector<Sequence> texts = random_sequences(model->config, 3, 4, 3);
  LaneInput lane = lane_of(texts);
  lane.layout = {.virtual_rows = 2, .padded_length = 9};
  PackOptions options = pack_options(*model);
  options.round_rows_to = 16;
  const Pack pack = make_pack({lane}, options);
  const Tensor rows = at::arange(pack.num_rows, at::kDouble).unsqueeze(1);
  const Tensor means = sequence_means(pack, rows);
  for (int64_t n = 0; n < 3; ++n) {
    const auto attended = 2 + static_cast<double>(texts[static_cast<size_t>(n)].ids.size());
    const auto first = static_cast<double>(pack.sequences[static_cast<size_t>(n)].begin);
    EXPECT_EQ(means[n][0].item<double>(), first + (attended - 1) / 2) << n;
  }
}

TEST(Head, ReadsTheStatesOfTheHeadForMasks) {
  const auto model = with_classifier(golden_model("roberta-mlm", Precision::kFloat32, "trunks"),
                                     ReadRow::kFirst, HeadStyle::kMaskStates);
  const Rig rig(model, "{}", class_task(3));
  EXPECT_EQ(rig.tensors.size(), 2U) << "the model's own layers stay as they are";
  const std::vector<Sequence> texts = random_sequences(model->config, 4, 12, 3);
  const Pack pack = pack_of(*model, {lane_of(texts)});
  NoHooks nothing;
  const Tensor index = narrowed(pack, classified_pack(*model, pack).wanted, 1).index;
  const at::NoGradGuard no_grad;
  const Tensor last =
      forward(*model, model->weights, input_of(model->config, pack), nothing, {}).last;
  const Tensor z = mask_states(model->config, model->weights, last.index_select(0, index));
  expect_near(logits_of(rig, texts),
              at::linear(z, rig.tensors.at("head/out.weight"), rig.tensors.at("head/out.bias")),
              {1e-6, 1e-6}, "logits");
  const auto without = with_classifier(tiny_model("bert", Precision::kFloat32), ReadRow::kFirst,
                                       HeadStyle::kMaskStates);
  expect_message<InputError>([&] { Rig(without, "{}", class_task(3)); },
                             "the model has no head for masks for the head to read");
}

}  // namespace
}  // namespace graft::testing::test_head
