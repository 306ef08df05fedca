// Samples of an answer: routes against exhaustive enumeration, masks of dropout, drawn experts of a
// router, adapters together, and tokens of texts against loops over the vocabulary.
#include "infer/samples.h"

#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <cmath>

#include "edit/stochastic.h"
#include "infer/text_losses.h"
#include "infer/trust.h"
#include "infer/uncertainty.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace graft::testing::test_samples {
namespace {

using at::Tensor;

constexpr Tolerance kLogits{1e-6, 1e-5};  // float32; lanes of one pass or passes of their own

Dataset dataset_of(std::vector<Sequence> sequences) {
  Dataset data;
  data.sequences = std::move(sequences);
  data.examples.resize(data.sequences.size());
  for (size_t i = 0; i < data.sequences.size(); ++i)
    data.sequences[i].example = static_cast<int64_t>(i);
  return data;
}

Dataset rows_for(const Rig& rig, int64_t rows = 5) {
  return dataset_of(random_sequences(rig.model->config, rows, 12, 6));
}

Predictions predicted(const Rig& rig, const Dataset& data, const SampleOptions& samples,
                      int64_t token_budget = 4096) {
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors,
                           experts_of(samples.route.routing));
  return predict(*rig.model, bound, data, {.token_budget = token_budget, .samples = samples});
}

// The plain adapter of one expert of a mixture of LoRA pairs at one site.
Rig plain_of(const Rig& mixture, const std::string& edit, int64_t expert) {
  Rig plain(mixture.model, "{edits: [" + edit + "]}");
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : plain.tensors) {
    const std::string own = name.starts_with("0.lora/") ? name.substr(7) : "";
    const auto routed = mixture.tensors.find("0.router/of/" + own);
    const auto drawn =
        mixture.tensors.find("0.stochastic/expert." + std::to_string(expert) + "/" + own);
    if (own.empty()) tensor.copy_(mixture.tensors.at(name));
    else if (routed != mixture.tensors.end()) tensor.copy_(routed->second[expert]);
    else if (drawn != mixture.tensors.end()) tensor.copy_(drawn->second);
    else tensor.copy_(mixture.tensors.at("0.stochastic/shared/" + own));
  }
  return plain;
}

// Two sites of two experts each: four routes, all of which are known.
TEST(Samples, OfRoutesHaveTheUncertaintyOfTheirEnumeration) {
  constexpr int64_t kRoutes = 40;
  const std::string edit = "{lora: {sites: attn.v, rank: 2}}";
  Rig rig(golden_model("bert-tiny"),
          "{edits: [{stochastic: {experts: 2, share: [up]}, of: " + edit + "}]}");
  rig.shake(0.5);
  const Dataset data = rows_for(rig);
  const Predictions found =
      predicted(rig, data, {.route = {Routing::kEnsembleProbabilities, kRoutes, 3}});
  std::map<std::pair<int64_t, int64_t>, int64_t> counts;
  for (int64_t r = 0; r < kRoutes; ++r) {
    const RandomKey key =
        RandomKey{}.with("route").with(3).with(static_cast<uint64_t>(r)).with("0.stochastic/");
    counts[{drawn_expert(key, "enc.0.attn.v", "down", 2),
            drawn_expert(key, "enc.1.attn.v", "down", 2)}] += 1;
  }
  ASSERT_EQ(counts.size(), 4U) << "give more routes: every one should be drawn";
  Tensor mean = at::zeros({5, 3}, at::kDouble), expected = at::zeros({5}, at::kDouble),
         square = at::zeros({5, 3}, at::kDouble);
  for (const auto& [route, count] : counts) {
    Rig plain = plain_of(rig, edit, route.first);
    const Rig other = plain_of(rig, edit, route.second);
    for (auto& [name, tensor] : plain.tensors) {
      const at::NoGradGuard no_grad;
      if (name.find("enc.1.") != std::string::npos) tensor.copy_(other.tensors.at(name));
    }
    const double share = static_cast<double>(count) / kRoutes;
    const Tensor p = logits_of(plain, data.sequences).to(at::kDouble).softmax(1);
    mean += share * p;
    square += share * p * p;
    expected += share * -(p * p.log()).sum(1);
  }
  const Tensor total = -(mean * mean.log()).sum(1);
  const Uncertainty own = uncertainty_of(TaskKind::kClassification, found.by_sample);
  expect_near(own.entropy, total, kLogits, "entropy");
  expect_near(own.expected_entropy, expected, kLogits, "expected entropy");
  expect_near(own.information, total - expected, kLogits, "information");
  expect_near(own.variance, square - mean * mean, kLogits, "variance");
  expect_near(found.logits.exp(), mean.to(at::kFloat), kLogits, "probabilities");
  EXPECT_GT(own.information.min().item<double>(), 1e-4);
}

// A router that reads nothing has even shares: the drawn expert is that of the uniform number.
TEST(Samples, OfARouterAreItsExperts) {
  constexpr int64_t kExperts = 3;
  const std::string edit = "{lora: {sites: attn.v, layers: [0], rank: 2, init: normal}}";
  Rig rig(golden_model("bert-tiny"), "{edits: [{router: {experts: 3}, of: " + edit + "}]}");
  rig.shake(0.5);
  rig.tensors.at("0.router/enc.0.attn.v.router").detach().zero_();
  const Dataset data = rows_for(rig);
  std::set<int64_t> seen;
  for (int64_t seed = 0; seed < 8; ++seed) {
    const RandomKey route = RandomKey{}
                                .with("route")
                                .with(static_cast<uint64_t>(seed))
                                .with(0)
                                .with("0.router/")
                                .with("enc.0.attn.v");
    const auto expert =
        static_cast<int64_t>(std::floor(Random(route.with(0)).uniform() * kExperts));
    seen.insert(expert);
    expect_near(predicted(rig, data, {.route = {.routing = Routing::kRandom, .seed = seed}}).logits,
                logits_of(plain_of(rig, edit, expert), data.sequences), kLogits, "one expert");
  }
  EXPECT_EQ(seen.size(), 3U) << "give more seeds: every expert should be drawn";
}

TEST(Samples, OfDropoutAreTrainingPassesAndDependOnNoBatch) {
  Rig rig(golden_model("bert-tiny"), "{edits: [{lora: {rank: 2, dropout: 0.2}}]}");
  rig.shake(0.5);
  const Dataset data = rows_for(rig);
  const SampleOptions samples{.dropout = {.passes = 3, .seed = 4, .rate = 0.1}};
  const Predictions found = predicted(rig, data, samples);
  expect_near(predicted(rig, data, samples, 1).by_sample, found.by_sample, kLogits, "alone");
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  for (int64_t pass = 0; pass < 3; ++pass) {
    LaneInput lane = lane_of(rig, data.sequences);
    lane.key = RandomKey{}.with("dropout").with(4).with(static_cast<uint64_t>(pass));
    lane.dropout = trunk_dropout(rig.model->config, 0.1);
    const at::NoGradGuard no_grad;
    const Tensor own = compute_logits(*rig.model, pack_of(*rig.model, {lane}),
                                      {{&bound, {.is_training = true}}}, {})
                           .front()
                           .logits;
    expect_near(found.by_sample[pass], own, kLogits, "a training pass");
  }
  EXPECT_GT(difference_of(found.by_sample[0], found.by_sample[1]).absolute, 1e-3);
  expect_near(found.logits.exp(), found.by_sample.softmax(2).mean(0), kLogits, "their mean");
}

// Dropout before a linear layer leaves its expectation where it was.
TEST(Samples, OfDropoutBeforeALinearHeadHaveItsOutputAsMean) {
  constexpr int64_t kPasses = 400;
  Rig rig(golden_model("bert-tiny"), "{edits: [], head: {dropout: 0.3}}");
  rig.shake(0.3);
  const Dataset data = rows_for(rig);
  const Predictions found = predicted(rig, data, {.dropout = {.passes = kPasses, .rate = 0.0}});
  const Tensor deviation = found.by_sample.std(0) / std::sqrt(static_cast<double>(kPasses));
  const Tensor away = (found.by_sample.mean(0) - predicted(rig, data, {}).logits).abs();
  EXPECT_TRUE(away.lt(4 * deviation).all().item<bool>());  // 15 numbers within 4 deviations
}

TEST(Samples, OfSeveralAdaptersAreEachsOwn) {
  const auto model = golden_model("bert-tiny");
  for (const char* definition : {"{edits: [{lora: {rank: 2}}]}", "{edits: [{bitfit: {}}]}"}) {
    Rig one(model, definition), other(model, definition, class_task(3), 8);
    one.shake(0.3);
    other.shake(0.3, 12);
    const Dataset data = rows_for(one);
    const BoundAdapter beside(*model, *other.adapter, other.tensors);
    const Predictions found = predicted(one, data, {.others = {&beside}});
    const Tensor a = predicted(one, data, {}).logits, b = predicted(other, data, {}).logits;
    expect_near(found.by_sample, at::stack({a, b}), kLogits, definition);
    expect_near(found.logits.exp(), (a.softmax(1) + b.softmax(1)) / 2, kLogits, definition);
    EXPECT_GT(difference_of(a, b).absolute, 1e-2);
  }
}

// A regression's values have a mean; their softmax would be one.
TEST(Samples, OfValuesAreAveraged) {
  Rig rig(golden_model("bert-tiny"), "{edits: [{lora: {rank: 2, dropout: 0.3}}]}",
          regression_task());
  rig.shake(0.4);
  const Dataset data = rows_for(rig);
  const Predictions found = predicted(rig, data, {.dropout = {.passes = 5}});
  expect_near(found.logits, found.by_sample.mean(0), kLogits, "mean");
  expect_near(uncertainty_of(TaskKind::kRegression, found.by_sample).information,
              found.by_sample.select(2, 0).var(0).to(at::kDouble), {1e-6, 1e-4}, "variance");
}

// By loops over the vocabulary in float64, of logits that come from elsewhere.
TEST(Samples, OfTextsAreKnownTokenByToken) {
  const auto model = tiny_model("llama", Precision::kFloat32);
  Rig one(model, "{edits: [{lora: {rank: 2}}]}", std::nullopt),
      other(model, "{edits: [{lora: {rank: 2}}]}", std::nullopt, 8);
  one.shake(0.6);
  other.shake(0.6, 12);
  const Dataset data = dataset_of(random_texts(model->config, 4, 7, 3));
  const BoundAdapter bound(*model, *one.adapter, one.tensors),
      beside(*model, *other.adapter, other.tensors);
  const TextLosses found = text_losses(*model, bound, data, {.samples = {.others = {&beside}}});
  const Tensor p = text_logits_of(one, data.sequences).to(at::kDouble).softmax(1),
               q = text_logits_of(other, data.sequences).to(at::kDouble).softmax(1);
  int64_t row = 0;
  double loss = 0;
  ASSERT_TRUE(found.uncertainty);
  for (size_t text = 0; text < data.sequences.size(); ++text) {
    double log_p = 0, log_q = 0;
    for (const TokenUncertainty& token : found.uncertainty->tokens[text]) {
      double entropy = 0, own = 0, both = 0;
      for (int64_t v = 0; v < p.size(1); ++v) {
        const auto a = p[row][v].item<double>(), b = q[row][v].item<double>(), m = (a + b) / 2;
        entropy -= m * std::log(m);
        own -= (a * std::log(a) + b * std::log(b)) / 2;
        both += (a - b) * (std::log(a) - std::log(b));  // KL both ways
        if (v != token.token) continue;
        log_p += std::log(a);
        log_q += std::log(b);
        EXPECT_NEAR(token.loss, -std::log(m), 1e-5);
        loss -= std::log(m);
      }
      EXPECT_NEAR(token.entropy, entropy, 1e-5);
      EXPECT_NEAR(token.expected_entropy, own, 1e-5);
      EXPECT_NEAR(token.information, entropy - own, 1e-5);
      EXPECT_LE(token.information, both / 4 + 1e-9);
      ++row;
    }
    ASSERT_EQ(found.uncertainty->log_likelihood[text].size(), 2U);
    EXPECT_NEAR(found.uncertainty->log_likelihood[text][0], log_p, 1e-4);
    EXPECT_NEAR(found.uncertainty->log_likelihood[text][1], log_q, 1e-4);
    const SequenceUncertainty whole = sequence_uncertainty(*found.uncertainty, text);
    EXPECT_NEAR(whole.log_likelihood_variance, (log_p - log_q) * (log_p - log_q) / 2, 1e-4);
    EXPECT_NEAR(whole.loss, found.sums[text], 1e-9);
  }
  EXPECT_EQ(row, p.size(0));
  EXPECT_NEAR(found.mean, loss / static_cast<double>(row), 1e-5);
  const TextLosses alone = text_losses(*model, bound, data, {.keep_tokens = true});
  EXPECT_NEAR(alone.mean, text_losses(*model, bound, data).mean, 1e-6);
  EXPECT_NEAR(alone.uncertainty->tokens[0][0].information, 0, 1e-12);
}

}  // namespace
}  // namespace graft::testing::test_samples
