// Interchange and collect: whose values go where, what is refused. (Values, gradients and training
// are compared with pyvene's in tests/golden.)
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "edit/rotation.h"
#include "infer/collect.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_interchange {
namespace {

using at::Tensor;

std::string edits(const std::string& options) {
  return "{edits: [{interchange: " + options + "}]}";
}

// Hidden states of all rows after each block.
std::vector<Tensor> hidden_of(const Rig& rig, const std::vector<Sequence>& texts) {
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  const at::NoGradGuard no_grad;
  const Pack pack = pack_of(*rig.model, {lane_of(rig, texts)});
  ForwardOptions options{.keep_hidden = true};
  return forward_lanes(*rig.model, input_of(rig.model->config, pack), {{&bound, {}}}, options)
      .hidden;
}

// Each text gets the vectors of its own row, whatever texts stand beside it; two sites one slice
// each.
TEST(Interchange, EachTextGetsItsOwnSource) {
  const auto model = tiny_model("gpt2", Precision::kFloat64);
  const Rig rig(model, edits("{sites: [out], positions: last}"), std::nullopt);
  std::vector<Sequence> texts = random_sequences(model->config, 3, 7, 5);
  const int64_t width = model->config.width;
  for (size_t n = 0; n < texts.size(); ++n) {
    texts[n].embedding.assign(static_cast<size_t>(2 * width), static_cast<float>(n) + 1);
    std::fill_n(texts[n].embedding.begin() + width, width, -1 - static_cast<float>(n));
  }
  const std::vector<Tensor> hidden = hidden_of(rig, texts);
  int64_t row = -1;
  for (size_t n = 0; n < texts.size(); ++n) {
    row += std::ssize(texts[n].ids);
    const Tensor same = at::full({width}, static_cast<double>(n) + 1, at::kDouble);
    expect_bits(hidden[1][row], same, "block 0");
    expect_bits(hidden[2][row], -same, "block 1");
  }
}

TEST(Interchange, NeedsTheSourcesOfItsSites) {
  const auto model = tiny_model("gpt2", Precision::kFloat64);
  const Rig rig(model, edits("{sites: [out], positions: last}"), std::nullopt);
  std::vector<Sequence> texts = random_sequences(model->config, 1, 4, 5);
  expect_message<InputError>([&] { hidden_of(rig, texts); },
                             "interchange reads 16 numbers of each row");
  texts[0].embedding.assign(15, 0.0f);
  expect_message<InputError>([&] { hidden_of(rig, texts); }, "the data's have 15");
}

// Noise is drawn by its own seed and lies in no file.
TEST(Interchange, NoiseIsDrawnByItsOwnSeed) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  const auto of = [&](const std::string& more, uint64_t seed) {
    return Rig(model, edits("{source: noise, operation: add, layers: [0]" + more + "}"),
               std::nullopt, seed)
        .tensors.at("0.interchange/enc.0.out.noise");
  };
  expect_bits(of("", 1), of("", 2), "another run");
  EXPECT_FALSE(of(", noise_seed: 1", 1).equal(of("", 1)));
  const double deviation = of(", deviation: 100", 1).std().item<double>();
  EXPECT_GT(deviation, 30);  // 8 draws: below a third of the deviation once in 10^4
}

// Orthogonal for any chart, and the base at the chart that it starts with.
TEST(Interchange, ARotationOfAllCoordinatesStaysOne) {
  const Tensor base = random_rotation(6, 6, RandomKey{3}).to(at::kDouble);
  expect_near(full_rotation_of(initial_chart(6, 6).to(at::kDouble), base), base, {1e-12, 0},
              "start");
  const Tensor chart = at::arange(36, at::kDouble).view({6, 6}) / 7;
  const Tensor q = full_rotation_of(chart, base);
  expect_near(at::mm(q.t(), q), at::eye(6, at::kDouble), {1e-6, 0}, "Q^T Q");
  EXPECT_GT((q - base).abs().max().item<double>(), 0.1);
}

TEST(Interchange, Refusals) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  const auto refused = [&](const std::string& options, const std::string& message) {
    expect_message<InputError>([&] { Rig(model, edits(options), std::nullopt); }, message);
  };
  refused("{space: low_rank}", "expected 1..7 of the 8 coordinates of enc.0.out, found 0");
  refused("{space: rotated, rank: 8}", "expected 1..7 of the 8 coordinates");
  refused("{rank: 9}", "expected 1..8 of the 8 coordinates");
  refused("{deviation: 2}", "only noise has one");
  refused("{noise_seed: 2}", "only noise is drawn");
  refused("{source: zero, operation: add}", "nothing is added");
  refused("{sites: [attn]}", "is an attention site");
  refused("{positions: f}", "expected fN, lN, fN+lM, last or all");
}

// The mean over the tokens that are chosen, as if each text were alone.
TEST(Collect, IsTheMeanOverTheTokens) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  const auto collected = [&](const std::string& positions, const std::vector<Sequence>& texts) {
    const Adapter adapter = collecting_adapter(yaml("{sites: [out], positions: " + positions + "}"),
                                               "test", nullptr, {model->config, model->sites});
    const BoundAdapter bound(*model, adapter, {});
    Dataset data;
    data.sequences = texts;
    data.examples.resize(texts.size());
    return collect_states(*model, bound, data);
  };
  const std::vector<Sequence> texts = random_sequences(model->config, 4, 9, 3);
  const Rig bare(model, "{edits: []}", std::nullopt);
  for (size_t n = 0; n < texts.size(); ++n) {
    const std::vector<Tensor> hidden = hidden_of(bare, {texts[n]});
    const auto row = static_cast<int64_t>(n);
    expect_near(collected("all", texts)[row],
                at::cat({hidden[1].mean(0), hidden[2].mean(0)}).to(at::kFloat), {1e-6, 1e-6},
                "all");
    expect_near(collected("last", texts)[row],
                at::cat({hidden[1][-1], hidden[2][-1]}).to(at::kFloat), {1e-6, 1e-6}, "last");
    expect_near(collected("f1", texts)[row], at::cat({hidden[1][0], hidden[2][0]}).to(at::kFloat),
                {1e-6, 1e-6}, "first");
  }
}

}  // namespace
}  // namespace graft::testing::test_interchange
