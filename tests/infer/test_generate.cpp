// Choosing tokens: processors by hand, sampling against the probabilities it claims, batches,
// seeds, adapters side by side, stop texts.
#include "infer/generate.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "infer/texts.h"
#include "tensor/log_sum_exp.h"
#include "tests/infer/decoding_rig.h"
#include "tests/support/compare.h"
#include "tests/support/testing.h"

namespace graft::testing::test_generate {
namespace {

using Ids = std::vector<int64_t>;

constexpr float kNever = -std::numeric_limits<float>::infinity();

// --- Scores ---

std::vector<float> changed(std::vector<float> scores, const Ids& text, int64_t new_tokens,
                           const SamplingOptions& options, const Ids& source = {},
                           int64_t limit = 100) {
  change_scores(scores, {text, new_tokens, limit, source}, options);
  return scores;
}

TEST(ChangeScores, PenalizesEachTokenOnce) {
  EXPECT_EQ(changed({4, -4, 4, 0}, {0, 1, 0}, 0, {.repetition_penalty = 2}),
            (std::vector<float>{2, -8, 4, 0}));
}

TEST(ChangeScores, ForbidsWhatClosesAnNgramAgain) {
  const std::vector<float> four(4, 1.0F);
  EXPECT_EQ(changed(four, {1, 2, 1, 3, 1}, 0, {.no_repeat_ngram = 2}),
            (std::vector<float>{1, 1, kNever, kNever}));
  EXPECT_EQ(changed(four, {1, 2, 3, 1, 2}, 0, {.no_repeat_ngram = 3}),
            (std::vector<float>{1, 1, 1, kNever}));
  EXPECT_EQ(changed(four, {1, 2}, 0, {.no_repeat_ngram = 1}),
            (std::vector<float>{1, kNever, kNever, 1}));
  EXPECT_EQ(changed(four, {1}, 0, {.no_repeat_ngram = 3}), four);  // no trigram yet
  EXPECT_EQ(changed(four, {}, 0, {.no_repeat_ngram = 4}), four);
}

// The prompt 1 2 may come again: only what is new counts.
TEST(ChangeScores, CountsNgramsOfNewTokensAlone) {
  const std::vector<float> four = {0, 1, 2, 3};
  const SamplingOptions bigrams{.no_repeat_ngram = 2, .no_repeat_ngram_in = NgramsOf::kNew};
  EXPECT_EQ(changed(four, {1, 2, 1}, 1, bigrams), four);
  EXPECT_EQ(changed(four, {1, 2, 1, 3, 1}, 3, bigrams), (std::vector<float>{0, 1, 2, kNever}));
  EXPECT_EQ(changed(four, {1, 2}, 0, bigrams), four);
}

TEST(ChangeScores, HoldsTheEndBack) {
  const SamplingOptions options{.min_new_tokens = 2, .end_ids = {0, 2}};
  EXPECT_EQ(changed({1, 1, 1}, {}, 1, options), (std::vector<float>{kNever, 1, kNever}));
  EXPECT_EQ(changed({1, 1, 1}, {}, 2, options), (std::vector<float>{1, 1, 1}));
}

TEST(ChangeScores, CountsAllTokensForAnEndInAll) {
  const SamplingOptions options{.min_total_tokens = 3, .end_ids = {1}};
  EXPECT_EQ(changed({1, 1}, {0, 0}, 1, options), (std::vector<float>{1, kNever}));
  EXPECT_EQ(changed({1, 1}, {0, 0, 0}, 2, options), (std::vector<float>{1, 1}));
}

TEST(ChangeScores, ForbidsNgramsOfWhatTheEncoderRead) {
  const std::vector<float> four(4, 1.0F);
  const SamplingOptions bigrams{.encoder_no_repeat_ngram = 2}, single{.encoder_no_repeat_ngram = 1};
  EXPECT_EQ(changed(four, {0, 1}, 1, bigrams, {1, 2, 1, 3}),
            (std::vector<float>{1, 1, kNever, kNever}));
  EXPECT_EQ(changed(four, {0, 2}, 1, bigrams, {1, 2}), four) << "nothing follows it there";
  EXPECT_EQ(changed(four, {0}, 0, single, {1, 3}), (std::vector<float>{1, kNever, 1, kNever}));
}

TEST(ChangeScores, ForbidsWords) {
  const std::vector<float> four(4, 1.0F);
  EXPECT_EQ(changed(four, {0}, 0, {.bad_words = {{2}}}), (std::vector<float>{1, 1, kNever, 1}));
  EXPECT_EQ(changed(four, {3, 0, 1}, 0, {.bad_words = {{0, 1, 2}, {1, 3}, {0, 0}}}),
            (std::vector<float>{1, 1, kNever, kNever}));
  EXPECT_EQ(changed(four, {1}, 0, {.bad_words = {{1, 3}}}), four)
      << "as long as the text and its next token: not looked for";
  EXPECT_EQ(changed(four, {0}, 0, {.bad_words = {{2}, {3}}, .end_ids = {2}}),
            (std::vector<float>{1, 1, 1, kNever}));
}

TEST(ChangeScores, ForcesTheFirstAndTheLastToken) {
  const SamplingOptions first{.forced_bos = 2}, last{.forced_eos = {0, 1}};
  EXPECT_EQ(changed({5, 6, 7}, {1}, 0, first), (std::vector<float>{kNever, kNever, 0}));
  EXPECT_EQ(changed({5, 6, 7}, {1, 1}, 0, first), (std::vector<float>{5, 6, 7}))
      << "a prompt of two tokens";
  EXPECT_EQ(changed({5, 6, 7}, {1, 1}, 1, last, {}, 2), (std::vector<float>{0, 0, kNever}));
  EXPECT_EQ(changed({5, 6, 7}, {1, 1}, 1, last, {}, 3), (std::vector<float>{5, 6, 7}));
  EXPECT_EQ(
      changed({5, 6, 7}, {1}, 0, {.min_new_tokens = 9, .forced_eos = {1}, .end_ids = {1}}, {}, 1),
      (std::vector<float>{kNever, 0, kNever}))
      << "the last token is forced whatever is held back";
}

TEST(ChangeScores, SuppressesTokens) {
  EXPECT_EQ(changed({5, 6, 7}, {1}, 0, {.suppress_tokens = {-1, 0, 99}}),
            (std::vector<float>{kNever, 6, 7}));
  const SamplingOptions begin{.begin_suppress_tokens = {1}};
  EXPECT_EQ(changed({5, 6, 7}, {0, 0}, 0, begin), (std::vector<float>{5, kNever, 7}));
  EXPECT_EQ(changed({5, 6, 7}, {0, 0}, 1, begin), (std::vector<float>{5, 6, 7}));
  const SamplingOptions after{.forced_bos = 2, .begin_suppress_tokens = {1, 2}};
  EXPECT_EQ(changed({5, 6, 7}, {0}, 0, after), (std::vector<float>{kNever, kNever, 0}))
      << "a forced token may be one of them";
  EXPECT_EQ(changed({5, 6, 7}, {0, 2}, 1, after), (std::vector<float>{5, kNever, kNever}));
}

TEST(LogSumExp, OfManyAndOfLargeValues) {
  std::vector<float> values;
  double sum = 0;
  for (int v = 0; v < 1003; ++v) {
    values.push_back(static_cast<float>(80 + std::sin(v)));
    sum += std::exp(static_cast<double>(values.back()) - 80);
  }
  EXPECT_NEAR(log_sum_exp(values), 80 + std::log(sum), 1e-5);
  EXPECT_NEAR(log_sum_exp(std::vector<float>{-300, -300}), -300 + std::log(2), 1e-5);
}

TEST(LargestScore, IsTheFirstOfEquals) { EXPECT_EQ(largest_score(std::vector<float>{1, 3, 3}), 1); }

// --- Sampling ---

// How often each token is drawn for 0 <= u < 1 in equal steps: its probability but for one step.
std::vector<double> shares(const std::vector<float>& scores, const SamplingOptions& options,
                           int64_t draws = 20000) {
  std::vector<double> out(scores.size());
  for (int64_t i = 0; i < draws; ++i)
    out[static_cast<size_t>(draw_token(
        scores, options, (static_cast<double>(i) + 0.5) / static_cast<double>(draws)))] +=
        1.0 / static_cast<double>(draws);
  return out;
}

void expect_shares(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t v = 0; v < found.size(); ++v) EXPECT_NEAR(found[v], expected[v], 1e-3) << v;
}

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

TEST(DrawToken, FollowsTheProbabilities) {
  const std::vector<double> p = {0.1, 0.4, 0.2, 0.3};
  expect_shares(shares(logs(p), {.temperature = 1}), p);
  expect_shares(shares(logs(p), {.temperature = 0.5}),
                {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3});  // squares
  expect_shares(shares(logs(p), {.temperature = 1, .top_k = 2}), {0, 4.0 / 7, 0, 3.0 / 7});
  expect_shares(shares(logs(p), {.temperature = 1, .top_k = 9}), p);
  expect_shares(shares(logs({0.25, 0.25, 0.5}), {.temperature = 1, .top_k = 2}),
                {0.25, 0.25, 0.5});  // as probable as the second: stays
  expect_shares(shares(logs(p), {.temperature = 1, .top_p = 0.65}),
                {0, 4.0 / 7, 0, 3.0 / 7});  // 0.4 alone falls short
  expect_shares(shares(logs(p), {.temperature = 1, .top_p = 0.75}), {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
  expect_shares(shares(logs(p), {.temperature = 1, .top_p = 0.01}), {0, 1, 0, 0});
  expect_shares(shares(logs(p), {.temperature = 1, .top_k = 3, .top_p = 0.75}),
                {0, 4.0 / 7, 0, 3.0 / 7});  // of what top_k left: 4/9 + 3/9
  expect_shares(shares({kNever, 0, kNever, 0}, {.temperature = 2}), {0, 0.5, 0, 0.5});
}

std::vector<float> drawable(std::vector<float> scores, const SamplingOptions& options,
                            int64_t least) {
  keep_drawable(scores, options, least);
  return scores;
}

// As DrawToken, of which some always stay.
TEST(KeepDrawable, LeavesSoManyAtLeast) {
  const std::vector<float> p = logs({0.1, 0.4, 0.2, 0.3});
  const auto only = [&](const std::vector<size_t>& kept, float temperature) {
    std::vector<float> out(4, kNever);
    for (const size_t v : kept) out[v] = p[v] / temperature;
    return out;
  };
  EXPECT_EQ(drawable(p, {.temperature = 1}, 2), p);
  EXPECT_EQ(drawable(p, {.temperature = 0.5}, 2), only({0, 1, 2, 3}, 0.5F));
  EXPECT_EQ(drawable(p, {.temperature = 2, .top_k = 1}, 3), only({1, 2, 3}, 2));
  EXPECT_EQ(drawable(p, {.temperature = 1, .top_p = 0.01}, 2), only({1, 3}, 1));
  EXPECT_EQ(drawable(p, {.temperature = 1, .top_k = 3, .top_p = 0.3}, 1), only({1}, 1));
  EXPECT_EQ(drawable({kNever, 0, kNever, kNever}, {.temperature = 1, .top_p = 0.5}, 2),
            (std::vector<float>{kNever, 0, kNever, kNever}));
}

// Two of five tokens end, drawn without replacement: all ordered pairs by hand, 20,000 seeds; four
// deviations of a share are 0.014 at most.
TEST(BeamSearch, DrawsWithoutReplacement) {
  const std::vector<double> p = {0.4, 0.3, 0.15, 0.1, 0.05};
  const std::vector<float> scores = logs(p);
  std::vector<double> found(5), expected(5);
  constexpr uint64_t kSeeds = 20000;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    BeamSearch search({.beams = 2, .max_new_tokens = 1, .draws = true, .seed = seed});
    search.advance({scores, scores}, {scores, scores});
    ASSERT_EQ(search.finished().size(), 2U);
    EXPECT_GE(search.finished()[0].score, search.finished()[1].score);
    for (const FinishedBeam& each : search.finished())
      found[static_cast<size_t>(each.beam.tokens.front())] += 1.0 / kSeeds;
  }
  for (size_t v = 0; v < 5; ++v) {
    expected[v] = p[v];
    for (size_t u = 0; u < 5; ++u) expected[v] += u == v ? 0 : p[u] * p[v] / (1 - p[u]);
    EXPECT_NEAR(found[v], expected[v], 0.014) << v;
  }
}

// More texts may stop at once than the first 2 * beams hold: those that go on are looked for
// further down.
TEST(BeamSearch, GoesOnBesideManyTextsThatStop) {
  const std::vector<float> scores = logs({0.3, 0.25, 0.2, 0.15, 0.06, 0.04});
  BeamSearch search({.beams = 2, .has_stopped = [](const Ids& tokens) { return tokens[0] < 4; }});
  search.advance({scores, scores}, {scores, scores});
  ASSERT_EQ(search.running().size(), 2U);
  EXPECT_EQ(search.running()[0].tokens, Ids{4});
  EXPECT_EQ(search.running()[1].tokens, Ids{5});
  ASSERT_EQ(search.finished().size(), 2U);
  EXPECT_EQ(search.finished()[0].beam.tokens, Ids{0});
  EXPECT_TRUE(search.finished()[0].has_stopped);
  EXPECT_FALSE(search.finished()[0].has_ended);
}

TEST(TokenUniform, HasAStreamForEachExample) {
  EXPECT_EQ(token_uniform(1, 2, 3), token_uniform(1, 2, 3));
  EXPECT_NE(token_uniform(1, 2, 3), token_uniform(2, 2, 3));
  EXPECT_NE(token_uniform(1, 2, 3), token_uniform(1, 3, 3));
  EXPECT_NE(token_uniform(1, 2, 3), token_uniform(1, 2, 4));
}

// 2,000 first tokens of one prompt against softmax(logits / t): chi-square with 12 degrees of
// freedom; 32.9 is its 0.999 quantile.
TEST(Generate, DrawsFromTheModelsDistribution) {
  const DecodingRig rig(tiny_model("gpt2", Precision::kFloat32), "");
  constexpr int64_t kTexts = 2000;
  std::vector<Sequence> prompts;
  for (int64_t i = 0; i < kTexts; ++i) prompts.push_back({i, {5, 3, 9}});
  const auto texts = generate(*rig.rig.model, {rig.lane(prompts)},
                              {.max_new_tokens = 1, .sampling = {.temperature = 1.5, .seed = 4}});
  const Decoding one(*rig.rig.model, {rig.lane({prompts[0]})}, 0);
  const at::Tensor p = at::softmax(one.logits()[0].to(at::kDouble) / 1.5, 0);
  std::vector<double> counts(13);
  for (const auto& text : texts) counts[static_cast<size_t>(text.front().tokens.front())] += 1;
  double chi_square = 0;
  for (int64_t v = 0; v < 13; ++v) {
    const double expected = p[v].item<double>() * kTexts, found = counts[static_cast<size_t>(v)];
    chi_square += (found - expected) * (found - expected) / expected;
  }
  measured("chi-square", chi_square);
  EXPECT_LT(chi_square, 32.9);
}

// --- Whole texts ---

void expect_same(const std::vector<Generated>& found, const std::vector<Generated>& expected,
                 const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].tokens, expected[i].tokens) << what;
    EXPECT_NEAR(found[i].log_probability, expected[i].log_probability, 2e-5) << what;
    EXPECT_NEAR(found[i].score, expected[i].score, 2e-5) << what;
    EXPECT_EQ(found[i].finish, expected[i].finish) << what;
  }
}

const std::vector<GenerateOptions>& ways() {
  static const std::vector<GenerateOptions> all = {
      {.max_new_tokens = 5, .sampling = {.end_ids = {2, 8}}},
      {.max_new_tokens = 5,
       .sampling = {.temperature = 1.3, .top_k = 8, .top_p = 0.95, .end_ids = {2, 8}, .seed = 11}},
      {.max_new_tokens = 5, .sampling = {.end_ids = {2, 8}}, .beams = 3},
      {.max_new_tokens = 5,
       .sampling = {.temperature = 1.3, .top_p = 0.95, .end_ids = {2, 8}, .seed = 11},
       .beams = 3},
      {.max_new_tokens = 5,
       .sampling =
           {.repetition_penalty = 1.3, .no_repeat_ngram = 2, .min_new_tokens = 2, .end_ids = {2}},
       .beams = 2,
       .length_penalty = 0.7,
       .early_stopping = EarlyStopping::kYes},
  };
  return all;
}

class Generating : public ::testing::TestWithParam<std::string> {};

// Two adapters and their prompts at once, each text as if it were alone.
TEST_P(Generating, AloneOrTogether) {
  const auto model = tiny_model(GetParam(), Precision::kFloat32);
  const DecodingRig lora(model, "{lora: {rank: 2}}"),
      mix(model, "{prompt: {length: 2}}, {gate: {}, of: {affine: {sites: [ffn.act]}}}");
  const std::vector<Sequence> first = short_prompts(), second = short_prompts(40);
  for (size_t w = 0; w < ways().size(); ++w) {
    const auto together = generate(*model, {lora.lane(first), mix.lane(second)}, ways()[w]);
    ASSERT_EQ(together.size(), 8U);
    for (size_t n = 0; n < 8; ++n) {
      const DecodingRig& rig = n < 4 ? lora : mix;
      const std::vector<Sequence> one = {n < 4 ? first[n] : second[n - 4]};
      expect_same(together[n], generate(*model, {rig.lane(one)}, ways()[w]).front(),
                  GetParam() + " way " + std::to_string(w) + " text " + std::to_string(n));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Generating, ::testing::Values("gpt2", "llama", "t5", "bart"),
                         parameter_name);

TEST(Generate, SeedsGiveOtherTexts) {
  const DecodingRig rig(tiny_model("llama", Precision::kFloat32), "");
  const auto run = [&](uint64_t seed) {
    return generate(*rig.rig.model, {rig.lane(short_prompts())},
                    {.max_new_tokens = 6, .sampling = {.temperature = 2, .seed = seed}});
  };
  const auto one = run(1), again = run(1), other = run(2);
  bool differs = false;
  for (size_t n = 0; n < one.size(); ++n) {
    expect_same(one[n], again[n], "again");
    differs = differs || one[n].front().tokens != other[n].front().tokens;
  }
  EXPECT_TRUE(differs);
}

TEST(Generate, TellsTokensAndStopsWhenTold) {
  const DecodingRig rig(tiny_model("gpt2", Precision::kFloat32), "");
  const GenerateOptions options{.max_new_tokens = 4, .sampling = {.no_repeat_ngram = 1}};
  const auto whole = generate(*rig.rig.model, {rig.lane(short_prompts())}, options);
  std::vector<Ids> told(4);
  const auto stopped = generate(*rig.rig.model, {rig.lane(short_prompts())}, options,
                                [&](int64_t prompt, int64_t token) {
                                  told[static_cast<size_t>(prompt)].push_back(token);
                                  return prompt != 2 || told[2].size() < 2;
                                });
  for (size_t n = 0; n < 4; ++n) {
    EXPECT_EQ(told[n], stopped[n].front().tokens);
    Ids expected = whole[n].front().tokens;
    if (n == 2) expected.resize(2);
    EXPECT_EQ(told[n], expected);
    EXPECT_EQ(stopped[n].front().finish, n == 2 ? Finish::kStopped : Finish::kLength);
  }
}

TEST(Generate, RefusesOptionsThatMakeNoSense) {
  const ModelConfig config = tiny_model("gpt2", Precision::kFloat32)->config;
  const auto expect_refused = [&](const GenerateOptions& options, const std::string& message) {
    expect_message<InputError>([&] { check_generation(options, config); }, message);
  };
  check_generation({}, config);
  check_generation({.max_new_tokens = kAsFits, .sampling = {.min_new_tokens = 9}}, config);
  expect_refused({.max_new_tokens = -1},
                 "max_new_tokens: expected 1..1048576, or 0 for what fits, found -1");
  expect_refused({.sampling = {.temperature = -1}},
                 "temperature: expected 0 (the most probable token) or more, found -1");
  expect_refused({.sampling = {.temperature = 1, .top_p = 0}},
                 "top_p: expected a number above 0, at most 1, found 0");
  expect_refused({.sampling = {.top_k = 5}}, "set a temperature");
  expect_refused({.sampling = {.repetition_penalty = 0}},
                 "repetition_penalty: expected a number above 0");
  expect_refused({.max_new_tokens = 3, .sampling = {.min_new_tokens = 4}},
                 "min_new_tokens: 4 are more than max_new_tokens, 3");
  expect_refused({.sampling = {.end_ids = {13}}},
                 "end_ids: expected tokens below the vocabulary's 13, found 13");
  expect_refused({.sampling = {.forced_bos = 13}},
                 "forced_bos: expected tokens below the vocabulary's 13, found 13");
  expect_refused({.sampling = {.forced_eos = {1, 99}}},
                 "forced_eos: expected tokens below the vocabulary's 13, found 99");
  expect_refused({.sampling = {.bad_words = {{1, 13}}}},
                 "bad_words: expected tokens below the vocabulary's 13, found 13");
  expect_refused({.sampling = {.bad_words = {{}}}},
                 "bad_words: expected lists of tokens, found an empty one");
  expect_refused({.max_total_tokens = -1},
                 "max_total_tokens: expected 0 (no bound) or more, found -1");
  check_generation({.max_new_tokens = 0, .max_total_tokens = 4, .sampling = {.min_new_tokens = 9}},
                   config);
  expect_refused({.beams = 0}, "beams: expected 1..1024, found 0");
  expect_refused({.length_penalty = 2}, "length_penalty and early_stopping are for beam search");
  check_generation({.sampling = {.temperature = 1}, .beams = 2}, config);
  expect_refused({.sampling = {.no_repeat_ngram_in = NgramsOf::kNew}},
                 "no_repeat_ngram_in says whose n-grams no_repeat_ngram counts, which is 0");
  expect_refused({.further_end_ids = {13}},
                 "end_ids: expected tokens below the vocabulary's 13, found 13");
}

TEST(Generate, CountsThePromptWhereALengthIsOfAllTokens) {
  const DecodingRig gpt2(tiny_model("gpt2", Precision::kFloat32), ""),
      t5(tiny_model("t5", Precision::kFloat32), "");
  const GenerateOptions five{.max_new_tokens = 1, .max_total_tokens = 5};
  const auto lengths = [&](const DecodingRig& rig, const GenerateOptions& options) {
    std::vector<size_t> out;
    for (const auto& text : generate(*rig.rig.model, {rig.lane(short_prompts())}, options))
      out.push_back(text.front().tokens.size());
    return out;
  };
  EXPECT_EQ(lengths(gpt2, five), (std::vector<size_t>{2, 4, 3, 2}));
  EXPECT_EQ(lengths(gpt2, {.max_total_tokens = 5, .beams = 2}), (std::vector<size_t>{2, 4, 3, 2}));
  EXPECT_EQ(lengths(t5, five), (std::vector<size_t>{4, 4, 4, 4}))
      << "in an encoder-decoder the start token counts";
  EXPECT_EQ(lengths(gpt2, {.max_total_tokens = 5000}), (std::vector<size_t>{8, 10, 9, 8}))
      << "as many as the positions hold";
  expect_message<InputError>(
      [&] { lengths(gpt2, {.max_total_tokens = 3}); },
      "example 0: the prompt has 3 tokens, and texts of at most 3 tokens in all are asked for");
}

// Where no length is given a text has the room behind its own prompt, whatever stands beside it.
TEST(Generate, FillsTheRoomBehindEachPrompt) {
  const DecodingRig gpt2(tiny_model("gpt2", Precision::kFloat32), ""),
      t5(tiny_model("t5", Precision::kFloat32), "");
  for (const int64_t beams : {1, 2}) {
    const GenerateOptions options{.max_new_tokens = kAsFits, .beams = beams};
    const auto texts = generate(*gpt2.rig.model, {gpt2.lane(short_prompts())}, options);
    const std::vector<size_t> lengths = {8, 10, 9, 8};  // of 10 positions
    for (size_t n = 0; n < lengths.size(); ++n) {
      EXPECT_EQ(texts[n].front().tokens.size(), lengths[n]);
      const std::vector<Sequence> one = {short_prompts()[n]};
      EXPECT_EQ(texts[n].front().tokens,
                generate(*gpt2.rig.model, {gpt2.lane(one)}, options).front().front().tokens);
    }
  }
  const std::vector<Sequence> one = {short_prompts().front()};
  const auto longest = generate(*t5.rig.model, {t5.lane(one)}, {.max_new_tokens = kAsFits});
  EXPECT_EQ(longest.front().front().tokens.size(), 128U) << "no end of positions";
}

// What generate() finds when its turn comes is told of each prompt before.
TEST(Generate, ChecksAPromptBeforeItsTurn) {
  const auto model = tiny_model("gpt2", Precision::kFloat32);
  const auto bart = tiny_model("bart", Precision::kFloat32);
  const Sequence prompt{7, {5, 3, 9}};
  const auto expect_refused = [&](const Model& of, const GenerateOptions& options,
                                  const std::string& message) {
    expect_message<InputError>([&] { check_prompt(of.config, {}, prompt, options, "f:2: "); },
                               message);
  };
  for (const GenerateOptions& options :
       {GenerateOptions{.max_new_tokens = 8}, GenerateOptions{.max_new_tokens = kAsFits},
        GenerateOptions{.max_total_tokens = 5000}})
    check_prompt(model->config, {}, prompt, options, "");
  expect_refused(*model, {.max_new_tokens = 9},
                 "f:2: 3 of the 10 positions of this model are taken before a token is written, "
                 "and 9 new tokens are asked for: ask for at most 8, or shorten the prompt");
  expect_refused(*bart, {.max_new_tokens = 12}, "12 new tokens are asked for: ask for at most 10");
  expect_refused(*model, {.max_total_tokens = 3}, "f:2: the prompt has 3 tokens");
  expect_refused(*model, {.max_new_tokens = kAsFits, .sampling = {.min_new_tokens = 9}},
                 "f:2: texts of at least 9 new tokens are asked for (min_new_tokens), and here one "
                 "of at most 8 is written");
}

TEST(Generate, RefusesToGoOnWithoutAToken) {
  const DecodingRig rig(tiny_model("t5", Precision::kFloat32), "");
  expect_message<InputError>(
      [&] {
        generate(*rig.rig.model, {rig.lane(short_prompts())},
                 {.max_new_tokens = 20, .sampling = {.no_repeat_ngram = 1}});
      },
      "example 0: no token is left to go on with: lower no_repeat_ngram or min_new_tokens");
}

// --- Stop texts ---

TEST(StopWatch, HoldsBackWhatMayBecomeAStopText) {
  StopWatch watch({"\n\n", "END"});
  EXPECT_EQ(watch.push("a\n"), "a");
  EXPECT_EQ(watch.push("b E"), "\nb ");
  EXPECT_EQ(watch.push("N"), "");
  EXPECT_EQ(watch.push("d"), "ENd");
  EXPECT_FALSE(watch.has_stopped());
  EXPECT_EQ(watch.push("xE"), "x");
  EXPECT_EQ(watch.push("ND and more\n\n"), "");
  EXPECT_TRUE(watch.has_stopped());
  EXPECT_EQ(watch.push("y"), "");
  EXPECT_EQ(watch.finish(), "");
}

TEST(StopWatch, GivesTheRestWhenNoneCame) {
  StopWatch watch({"###"});
  EXPECT_EQ(watch.push("a##"), "a");
  EXPECT_EQ(watch.finish(), "##");
  StopWatch none({});
  EXPECT_EQ(none.push("abc"), "abc");
  EXPECT_EQ(none.finish(), "");
}

}  // namespace
}  // namespace graft::testing::test_generate
