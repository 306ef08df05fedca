// Averages of adapters and of experts.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "edit/average.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_average {
namespace {

using at::Tensor;

LoadedAdapter loaded(const std::string& definition, uint64_t seed,
                     const std::optional<Task>& task = class_task(3)) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, definition, task, seed);
  rig.shake(0.1, seed);
  return {Adapter(yaml(definition), "test", {model->config, model->sites}, task), rig.tensors, {}};
}

EditTarget target() {
  const auto model = golden_model("bert-tiny");
  return {model->config, model->sites};
}

Tensor logits_of(const Adapter& adapter, const NamedTensors& tensors) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, Adapter(adapter.describe(), "test", target(), adapter.task()));
  rig.tensors = tensors;
  return testing::logits_of(rig, random_sequences(model->config, 5, 17, 3));
}

TEST(Averages, AreWeightedMeansOfEveryTensor) {
  std::vector<LoadedAdapter> adapters;
  for (const uint64_t seed : {1U, 2U, 3U})
    adapters.push_back(loaded("{edits: [{lora: {rank: 2}}, {affine: {}}]}", seed));
  const NamedTensors mean = average_adapters(adapters, {1, 1, 2}, {"a", "b", "c"});
  ASSERT_EQ(mean.size(), adapters.front().tensors.size());
  for (const auto& [name, tensor] : mean) {
    const Tensor expected = (adapters[0].tensors.at(name) + adapters[1].tensors.at(name) +
                             2 * adapters[2].tensors.at(name)) /
                            4;
    expect_near(tensor, expected, {1e-7, 1e-6}, name);  // float32 sums in another order
  }
}

TEST(Averages, OfOneAdapterTwiceIsItself) {
  std::vector<LoadedAdapter> adapters;
  for (int i = 0; i < 2; ++i) adapters.push_back(loaded("{edits: [{reft: {rank: 2}}]}", 1));
  expect_all_bits(average_adapters(adapters, {0.3, 0.7}, {"a", "b"}), adapters.front().tensors,
                  "tensors");
}

TEST(Averages, RefuseWeightsWithoutAFiniteSum) {
  std::vector<LoadedAdapter> adapters;
  for (const uint64_t seed : {1U, 2U}) adapters.push_back(loaded("{edits: [{affine: {}}]}", seed));
  const double infinite = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& weights :
       {std::vector<double>{infinite, 1}, std::vector<double>{1e308, 1e308},
        std::vector<double>{1, std::nan("")}})
    expect_message<InputError>(
        [&] {
          average_adapters(adapters, weights, {"a", "b"});
        },
        "weights: expected numbers with a finite sum, found ");
}

TEST(Averages, RefuseWhatIsNotOfOneShape) {
  const auto refused = [](const char* a, const char* b, const std::optional<Task>& task,
                          const char* message) {
    std::vector<LoadedAdapter> adapters;
    adapters.push_back(loaded(a, 1));
    adapters.push_back(loaded(b, 2, task));
    expect_message<InputError>(
        [&] {
          average_adapters(adapters, {1, 1}, {"runs/a", "runs/b"});
        },
        message);
  };
  refused("{edits: [{lora: {rank: 2}}]}", "{edits: [{lora: {rank: 3}}]}", class_task(3),
          "'runs/b' and 'runs/a' are not of one shape");
  Task other = class_task(3);
  other.at<Classification>().labels = {"x", "y", "z"};
  refused("{edits: [{lora: {rank: 2}}]}", "{edits: [{lora: {rank: 2}}]}", other,
          "'runs/b' and 'runs/a' were trained on different tasks or labels");
  refused("{edits: [{reft: {rank: 2}}]}", "{edits: [{reft: {rank: 2}}]}", class_task(3),
          "rotations in different frames");
}

// The plain adapter gives what the mixture gives merged; nested mixtures too.
TEST(Averages, OfExpertsGiveTheLogitsOfTheMergedMixture) {
  for (const char* definition :
       {"{edits: [{stochastic: {experts: 3}, of: {bottleneck: {sites: ffn.down, placement: "
        "sequential, width: 3}}}]}",
        "{edits: [{affine: {}}, {stochastic: {experts: 2, share: []}, of: {lora: {rank: 2}}}]}",
        "{edits: [{gate: {}, of: {stochastic: {experts: 2}, of: {lora: {rank: 2}}}}]}",
        "{edits: [{stochastic: {experts: 2}, of: {gate: {}, of: {lora: {rank: 2}}}}]}",
        "{edits: [{stochastic: {experts: 2}, of: {reft: {rank: 2}}}]}",
        "{edits: [{stochastic: {experts: 3, scores: learned}, of: {lora: {rank: 2}}}]}",
        "{edits: [{stochastic: {experts: 2}, of: {vera: {rank: 2}}}]}"}) {
    const LoadedAdapter mixture = loaded(definition, 4);
    const PlainAdapter plain = average_experts(mixture, "mixture", target());
    EXPECT_EQ(to_yaml(plain.adapter.describe()).find("stochastic"), std::string::npos)
        << definition;
    expect_near(logits_of(plain.adapter, plain.tensors),
                logits_of(mixture.adapter, mixture.tensors), {1e-6, 1e-6},
                definition);  // the mean in float64 here
  }
}

TEST(Averages, OfExpertsNeedAMixture) {
  const LoadedAdapter plain = loaded("{edits: [{lora: {rank: 2}}]}", 1);
  expect_message<InputError>([&] { average_experts(plain, "runs/a", target()); },
                             "'runs/a' has no stochastic mixture, so no experts to average");
}

}  // namespace
}  // namespace graft::testing::test_average
