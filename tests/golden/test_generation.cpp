// Every case of tests/golden/generation: greedy and beam search must choose the reference's tokens,
// and score them alike.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "infer/generate.h"
#include "tests/golden/generation_files.h"
#include "tests/golden/trunks.h"
#include "tests/support/testing.h"

namespace graft::testing::test_generation {
namespace {

// Sums of up to ten float32 log-probabilities; the reference's own scores in float32 lie 2.4e-6 off
// at most (manifest.json).
constexpr double kScoreBound = 2e-5;

GenerateOptions options_of(const Node& settings) {
  const auto number = [&](const char* key) { return number_of(*settings.find(key)); };
  const auto integer = [&](const char* key) { return static_cast<int64_t>(number(key)); };
  GenerateOptions options;
  options.max_new_tokens = integer("max_new_tokens");
  options.beams = integer("num_beams");
  if (options.beams > 1) {
    options.length_penalty = number("length_penalty");
    const std::string early = settings.find("early_stopping")->scalar;
    options.early_stopping = early == "never"  ? EarlyStopping::kNever
                             : early == "true" ? EarlyStopping::kYes
                                               : EarlyStopping::kNo;
  }
  options.sampling.repetition_penalty = number("repetition_penalty");
  options.sampling.no_repeat_ngram = integer("no_repeat_ngram_size");
  options.sampling.min_new_tokens = integer("min_new_tokens");
  options.sampling.end_ids = ids_of(*settings.find("eos_ids"));
  if (const Node* size = settings.find("new_no_repeat_ngram_size")) {
    options.sampling.no_repeat_ngram = static_cast<int64_t>(number_of(*size));
    options.sampling.no_repeat_ngram_in = NgramsOf::kNew;
  }
  if (settings.find("do_sample") != nullptr) {
    options.sampling.temperature = number("temperature");
    options.sampling.seed = static_cast<uint64_t>(integer("seed"));
    if (settings.find("top_k") != nullptr) options.sampling.top_k = integer("top_k");
    if (settings.find("top_p") != nullptr) options.sampling.top_p = number("top_p");
  }
  return options;
}

// Texts that end with one of the case's pairs of tokens are at their end.
HasStopped stops_of(const Node& settings) {
  const Node* stops = settings.find("stops");
  if (stops == nullptr) return {};
  std::vector<std::vector<int64_t>> pairs;
  for (const Node& pair : stops->items) pairs.push_back(ids_of(pair));
  return [pairs](const std::vector<int64_t>& tokens) {
    return std::any_of(pairs.begin(), pairs.end(), [&](const std::vector<int64_t>& pair) {
      return tokens.size() >= 2 && std::equal(pair.begin(), pair.end(), tokens.end() - 2);
    });
  };
}

struct Bare {
  Rig rig;
  BoundAdapter bound;

  explicit Bare(const std::shared_ptr<const Model>& model)
      : rig(model, "{}", std::nullopt), bound(*model, *rig.adapter, rig.tensors) {}
};

std::vector<std::vector<Generated>> run(const Bare& bare, const std::vector<Sequence>& prompts,
                                        const Node& settings) {
  PromptLane lane;
  lane.lane.bound = &bare.bound;
  lane.prompts = lane_of(prompts).sequences;
  return generate(*bare.rig.model, {lane}, options_of(settings), {}, stops_of(settings));
}

void expect_result(const std::vector<Generated>& found, const Node& expected,
                   const std::string& what) {
  const Node &tokens = *expected.find("tokens"), &sums = *expected.find("log_probabilities");
  const Node* scores = expected.find("scores");
  ASSERT_EQ(found.size(), tokens.items.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].tokens, ids_of(tokens.items[i])) << what << " beam " << i;
    EXPECT_NEAR(found[i].log_probability, number_of(sums.items[i]), kScoreBound)
        << what << " beam " << i;
    measured(what, std::abs(found[i].log_probability - number_of(sums.items[i])));
    const double score = scores == nullptr ? found[i].log_probability : number_of(scores->items[i]);
    EXPECT_NEAR(found[i].score, score, kScoreBound) << what << " beam " << i;
  }
}

class GoldenGeneration : public ::testing::TestWithParam<std::string> {};

// All prompts of a case at once.
TEST_P(GoldenGeneration, Together) {
  const Node file = generation_file(GetParam());
  const Bare bare(golden_model(GetParam(), Precision::kFloat32, "trunks"));
  EXPECT_EQ(file.find("cases")->members.size(), 25U);
  for (const auto& [name, entry] : file.find("cases")->members) {
    std::vector<Sequence> prompts;
    for (const Node& result : entry.find("results")->items)
      prompts.push_back({static_cast<int64_t>(prompts.size()), ids_of(*result.find("prompt"))});
    const auto found = run(bare, prompts, *entry.find("settings"));
    ASSERT_EQ(found.size(), prompts.size());
    for (size_t n = 0; n < found.size(); ++n)
      expect_result(found[n], entry.find("results")->items[n],
                    GetParam() + " " + name + " prompt " + std::to_string(n));
  }
}

TEST_P(GoldenGeneration, Alone) {
  const Node file = generation_file(GetParam());
  const Bare bare(golden_model(GetParam(), Precision::kFloat64, "trunks"));
  for (const auto& [name, entry] : file.find("cases")->members) {
    const bool draws = entry.find("settings")->find("do_sample") != nullptr;
    int64_t example = 0;
    for (const Node& result : entry.find("results")->items) {
      const std::vector<Sequence> prompts = {
          {draws ? example++ : 7, ids_of(*result.find("prompt"))}};
      const auto found = run(bare, prompts, *entry.find("settings"));
      expect_result(found.front(), result, GetParam() + " " + name + " in float64");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenGeneration, ::testing::ValuesIn(generation_models()),
                         parameter_name);

}  // namespace
}  // namespace graft::testing::test_generation
