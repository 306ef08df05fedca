// What each routing answers, against plain adapters made of the experts that it takes.
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include "edit/stochastic.h"
#include "infer/predict.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace graft::testing::test_routes {
namespace {

using at::Tensor;

constexpr int64_t kExperts = 3, kRoutes = 5;
constexpr const char* kPlain = "{lora: {sites: attn.v, layers: [0], rank: 2}}";

// One site, so that a route is the number of one expert.
struct Subject {
  Rig rig{golden_model("bert-tiny"),
          std::string("{edits: [{stochastic: {experts: 3}, of: ") + kPlain + "}]}"};
  Dataset data;

  Subject() {
    rig.shake(0.5);
    data.sequences = random_sequences(rig.model->config, 5, 12, 6);
    data.examples.resize(5);
    for (size_t i = 0; i < 5; ++i) data.sequences[i].example = static_cast<int64_t>(i);
  }
  Predictions predicted(const RouteOptions& route) const {
    const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors, experts_of(route.routing));
    return predict(*rig.model, bound, data, {.samples = {.route = route}});
  }
  // Logits of the plain adapter of one expert.
  Tensor of_expert(int64_t expert) const {
    Rig plain(rig.model, std::string("{edits: [") + kPlain + "]}");
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : plain.tensors) {
      const std::string own = name.starts_with("0.lora/") ? name.substr(7) : "";
      const bool is_up = own.ends_with("lora_b");
      tensor.copy_(rig.tensors.at(
          own.empty() ? name
                      : "0.stochastic/" + (is_up ? "shared" : "expert." + std::to_string(expert)) +
                            "/" + own));
    }
    return logits_of(plain, data.sequences);
  }
  int64_t drawn(int64_t route, int64_t seed) const {
    const RandomKey key = RandomKey{}
                              .with("route")
                              .with(static_cast<uint64_t>(seed))
                              .with(static_cast<uint64_t>(route))
                              .with("0.stochastic/");
    return drawn_expert(key, "enc.0.attn.v", "down", kExperts);
  }
};

constexpr Tolerance kLogits{1e-6, 1e-5};  // float32; lanes of one pass or passes of their own

TEST(Routes, FixedIsTheFirstExpertAndRandomTheDrawnOne) {
  const Subject one;
  expect_near(one.predicted({.routing = Routing::kFixed}).logits, one.of_expert(0), kLogits,
              "fixed");
  std::set<int64_t> seen;
  for (int64_t seed = 0; seed < 6; ++seed) {
    const int64_t expert = one.drawn(0, seed);
    seen.insert(expert);
    expect_near(one.predicted({.routing = Routing::kRandom, .seed = seed}).logits,
                one.of_expert(expert), kLogits, "random");
  }
  EXPECT_EQ(seen.size(), 3U) << "give more seeds: every expert should be drawn";
  EXPECT_GT(difference_of(one.of_expert(0), one.of_expert(1)).absolute, 1e-2);
}

TEST(Routes, EnsemblesAreMeansOfLogitsAndOfProbabilities) {
  const Subject one;
  constexpr int64_t kSeed = 4;
  Tensor logits = at::zeros({5, 3}), probabilities = at::zeros({5, 3});
  for (int64_t route = 0; route < kRoutes; ++route) {
    const Tensor own = one.of_expert(one.drawn(route, kSeed));
    logits += own / kRoutes;
    probabilities += own.softmax(1) / kRoutes;
  }
  const Predictions mean =
      one.predicted({.routing = Routing::kEnsembleLogits, .routes = kRoutes, .seed = kSeed});
  expect_near(mean.logits, logits, kLogits, "mean of logits");
  EXPECT_EQ(mean.by_sample.sizes(), (std::vector<int64_t>{kRoutes, 5, 3}));
  expect_near(
      one.predicted({.routing = Routing::kEnsembleProbabilities, .routes = kRoutes, .seed = kSeed})
          .logits.exp(),
      probabilities, kLogits, "mean of probabilities");
  EXPECT_GT(difference_of(logits.softmax(1), probabilities).absolute, 1e-3)
      << "the two are not the same";
}

// Each text, or each token, has an expert of its own, whatever its batch.
TEST(Routes, ByTextAreThoseOfTheTextsOwnExperts) {
  const Subject one;
  const Predictions found =
      one.predicted({.routing = Routing::kRandom, .seed = 2, .unit = RouteUnit::kText});
  const RandomKey key = RandomKey{}.with("route").with(2).with(0).with("0.stochastic/");
  std::set<int64_t> seen;
  for (int64_t row = 0; row < 5; ++row) {
    const int64_t expert =
        drawn_expert(key.with(static_cast<uint64_t>(row)), "enc.0.attn.v", "down", kExperts);
    seen.insert(expert);
    expect_near(found.logits[row], one.of_expert(expert)[row], kLogits,
                "text " + std::to_string(row));
  }
  EXPECT_GT(seen.size(), 1U) << "choose another seed: texts should differ";
}

// An ensemble of all routes, each as often as it is drawn, is the exhaustive average.
TEST(Routes, OfManyDrawsApproachTheExhaustiveAverage) {
  const Subject one;
  constexpr int64_t kMany = 300;
  Tensor exhaustive = at::zeros({5, 3});
  for (int64_t expert = 0; expert < kExperts; ++expert)
    exhaustive += one.of_expert(expert).softmax(1) / kExperts;
  const Tensor found =
      one.predicted({.routing = Routing::kEnsembleProbabilities, .routes = kMany, .seed = 1})
          .logits.exp();
  // Shares of experts have a deviation of sqrt(2/9/300) = 0.027, probabilities differ by at most 1.
  EXPECT_LT(difference_of(found, exhaustive).absolute, 3 * 0.027);
}

}  // namespace
}  // namespace graft::testing::test_routes
