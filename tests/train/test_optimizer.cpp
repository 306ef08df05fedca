// AdamW and clipping. That AdamW equals torch's over ten steps is in tests/golden; here: what the
// golden runs do not meet.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "edit/initial.h"
#include "tests/support/compare.h"
#include "tests/support/testing.h"

namespace graft::testing::test_optimizer {
namespace {

using at::Tensor;

std::vector<ParamSpec> params(const std::vector<std::string>& names) {
  std::vector<ParamSpec> out;
  for (const std::string& name : names) out.push_back({.name = name, .shape = {2}});
  return out;
}

NamedTensors zeros(const std::vector<std::string>& names) {
  NamedTensors out;
  for (const std::string& name : names) out[name] = at::zeros({2}).requires_grad_(true);
  return out;
}

void give(NamedTensors& tensors, const std::string& name, double gradient) {
  tensors.at(name).mutable_grad() = at::full({2}, gradient);
}

// As in the released code of AdaMix, whose gradients are zero-filled: one gradient of 1, then nine
// of none. It moves on: 4.187611 learning rates in all, where 1 would be if the empty steps were
// skipped. A tensor that never had a gradient stays where it is, weight decay or not.
TEST(AdamW, KeepsMovingWhatItOnceMoved) {
  for (const bool is_zero : {false, true}) {  // a missing gradient and one of zeros are the same
    AdamW optimizer(params({"drawn", "undrawn"}), {.weight_decay = 0});
    NamedTensors tensors = zeros({"drawn", "undrawn"});
    constexpr double kRate = 1e-3;
    give(tensors, "drawn", 1);
    optimizer.step(tensors, kRate);
    EXPECT_NEAR(tensors.at("drawn")[0].item<double>(), -kRate, 1e-9);
    EXPECT_FALSE(tensors.at("drawn").grad().defined()) << "a step clears the gradients";
    for (int step = 1; step < 10; ++step) {
      if (is_zero) give(tensors, "drawn", 0);
      optimizer.step(tensors, kRate);
    }
    EXPECT_NEAR(tensors.at("drawn")[0].item<double>(), -4.187611 * kRate, 2e-9);
    EXPECT_EQ(tensors.at("undrawn").abs().max().item<double>(), 0);
    EXPECT_EQ(optimizer.state().size(), 3U) << "the undrawn tensor has no state";
  }
}

// The other way: a tensor without a gradient waits, and its next step is what its second would have
// been.
TEST(AdamW, LetsTensorsWaitWhereAsked) {
  AdamW waiting(params({"a"}), {.weight_decay = 0.5, .missing_gradient = MissingGradient::kSkip}),
      busy(params({"a"}), {.weight_decay = 0.5});
  NamedTensors a = zeros({"a"}), b = zeros({"a"});
  const auto step = [](AdamW& optimizer, NamedTensors& tensors, bool has_gradient) {
    if (has_gradient) give(tensors, "a", 1);
    optimizer.step(tensors, 1e-3);
  };
  for (const bool has_gradient : {true, false, false, true}) step(waiting, a, has_gradient);
  for (int i = 0; i < 2; ++i) step(busy, b, true);
  EXPECT_TRUE(a.at("a").equal(b.at("a")));
}

TEST(AdamW, NeverDecaysWhatNeverHadAGradient) {
  AdamW optimizer(params({"a", "b"}), {.weight_decay = 0.5});
  NamedTensors tensors;
  for (const char* name : {"a", "b"}) tensors[name] = at::ones({2}).requires_grad_(true);
  give(tensors, "a", 0);
  optimizer.step(tensors, 0.1);
  EXPECT_NEAR(tensors.at("a")[0].item<double>(), 0.95, 1e-7);
  EXPECT_EQ(tensors.at("b")[0].item<double>(), 1);
}

TEST(AdamW, FollowsTheSpecOfEachTensor) {
  std::vector<ParamSpec> specs = params({"plain", "bias", "fast", "fixed"});
  specs[1].decays = false;
  specs[2].rate_scale = 3;
  specs[3].role = Role::kBuffer;
  const AdamW::Options options{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.1};
  AdamW optimizer(specs, options);
  NamedTensors tensors;
  for (const char* name : {"plain", "bias", "fast", "fixed"})
    tensors[name] = at::full({2}, 2.0).requires_grad_(true);
  const double gradients[] = {0.5, -1, 2};
  std::map<std::string, double> expected = {{"plain", 2}, {"bias", 2}, {"fast", 2}, {"fixed", 2}};
  double m = 0, v = 0;
  for (int t = 1; t <= 3; ++t) {
    const double g = gradients[t - 1], rate = 0.01;
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const double move = m / (1 - std::pow(options.beta1, t)) /
                        (std::sqrt(v / (1 - std::pow(options.beta2, t))) + options.epsilon);
    expected["plain"] = expected["plain"] * (1 - rate * 0.1) - rate * move;
    expected["bias"] -= rate * move;
    expected["fast"] = expected["fast"] * (1 - 3 * rate * 0.1) - 3 * rate * move;
    for (auto& [name, tensor] : tensors) give(tensors, name, g);
    optimizer.step(tensors, rate);
  }
  for (const auto& [name, value] : expected)
    EXPECT_NEAR(tensors.at(name)[1].item<double>(), value, 1e-6) << name;
}

TEST(AdamW, GoesOnFromItsState) {
  const std::vector<std::string> names = {"a", "b", "c"};
  const auto step = [](AdamW& optimizer, NamedTensors& tensors, int number) {
    give(tensors, "a", std::sin(number));
    if (number % 2 == 0) give(tensors, "b", std::cos(number));
    optimizer.step(tensors, 0.01);
  };
  AdamW whole(params(names), {}), first(params(names), {}), second(params(names), {});
  NamedTensors straight = zeros(names), broken = zeros(names);
  for (int i = 1; i <= 6; ++i) step(whole, straight, i);
  for (int i = 1; i <= 3; ++i) step(first, broken, i);
  second.restore(first.state());
  for (int i = 4; i <= 6; ++i) step(second, broken, i);
  expect_all_bits(broken, straight, "tensors");
  expect_all_bits(second.state(), whole.state(), "state");
  EXPECT_FALSE(second.state().contains("m/c"));
}

TEST(AdamW, RefusesStateThatFitsNoParam) {
  AdamW optimizer(params({"a"}), {});
  const Tensor two = at::zeros({2}), scalar = at::zeros({}, at::kFloat);
  expect_message<InputError>(
      [&] {
        optimizer.restore({{"m/a", at::zeros({3})}, {"v/a", two}, {"t/a", scalar}});
      },
      "checkpoint: tensor 'm/a': expected [2], found [3]");
  expect_message<InputError>(
      [&] {
        optimizer.restore({{"m/a", two}, {"v/a", two}, {"t/a", two}});
      },
      "checkpoint: tensor 't/a': expected [], found [2]");
  expect_message<InputError>([&] { optimizer.restore({{"m/a", two}, {"v/a", two}}); }, "t/a");
  expect_message<InputError>(
      [&] {
        optimizer.restore({{"m/b", two}});
      },
      "checkpoint: optimizer state of tensors that this run does not train");
}

TEST(Clip, ScalesAllGradientsTogether) {
  NamedTensors tensors = zeros({"a", "b", "none"});
  give(tensors, "a", 3);
  give(tensors, "b", -4);
  const double norm = std::sqrt(2 * 9.0 + 2 * 16.0);
  EXPECT_NEAR(gradient_norm(tensors), norm, 1e-12);
  clip_gradients(tensors, norm, 10);
  EXPECT_EQ(tensors.at("a").grad()[0].item<double>(), 3) << "below the limit nothing changes";
  clip_gradients(tensors, norm, 0);
  EXPECT_EQ(tensors.at("a").grad()[0].item<double>(), 3) << "0 is off";
  clip_gradients(tensors, norm, 1);
  EXPECT_NEAR(tensors.at("a").grad()[0].item<double>(), 3 / (norm + 1e-6), 1e-7);
  EXPECT_NEAR(tensors.at("b").grad()[1].item<double>(), -4 / (norm + 1e-6), 1e-7);
  EXPECT_NEAR(gradient_norm(tensors), 1, 1e-6);
}

}  // namespace
}  // namespace graft::testing::test_optimizer
