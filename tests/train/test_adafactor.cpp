// Adafactor against traces worked out by hand from its recurrence (the values in the comments), and
// its state.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tests/support/testing.h"
#include "train/optimizer.h"

namespace graft::testing::test_adafactor {
namespace {

using at::Tensor;

std::vector<ParamSpec> params(const std::vector<std::string>& names, int64_t size) {
  std::vector<ParamSpec> out;
  for (const std::string& name : names) out.push_back({.name = name, .shape = {size}});
  return out;
}

Tensor leaf(std::vector<float> values) {
  return at::tensor(values, at::kFloat).requires_grad_(true);
}

// Two entries, gradients (g0, g1) per step; the recurrence in plain numbers.
std::vector<double> by_hand(std::vector<double> p,
                            const std::vector<std::vector<double>>& gradients, double first_step,
                            double rate) {
  std::vector<double> v(p.size(), 0.0);
  const auto rms = [](const std::vector<double>& x) {
    double sum = 0;
    for (const double value : x) sum += value * value;
    return std::sqrt(sum / static_cast<double>(x.size()));
  };
  for (size_t step = 0; step < gradients.size(); ++step) {
    const double beta = 1 - std::pow(first_step + static_cast<double>(step) + 1, -0.8);
    std::vector<double> y;
    for (size_t i = 0; i < p.size(); ++i) {
      v[i] = beta * v[i] + (1 - beta) * (gradients[step][i] * gradients[step][i] + 1e-30);
      y.push_back(gradients[step][i] / std::sqrt(v[i]));
    }
    const double clip = std::max(1.0, rms(y)), scale = std::max(rms(p), 1e-3);
    for (size_t i = 0; i < p.size(); ++i) p[i] -= rate * scale * y[i] / clip;
  }
  return p;
}

TEST(Adafactor, MovMoloraTraces) {
  const std::vector<std::vector<double>> gradients{{0.5, -2}, {1, 0.25}, {-0.5, 1}};
  for (const int64_t first_step : {int64_t{0}, int64_t{1'100'000}}) {
    for (const std::vector<float>& start :
         {std::vector<float>{1, 1}, std::vector<float>{0, 0}}) {  // zero: the floor of 1e-3
      Adafactor optimizer(params({"p"}, 2), {.first_step = first_step});
      NamedTensors tensors{{"p", leaf(start)}};
      for (const auto& g : gradients) {
        tensors.at("p").mutable_grad() =
            at::tensor({static_cast<float>(g[0]), static_cast<float>(g[1])});
        optimizer.step(tensors, 3e-4);
        EXPECT_FALSE(tensors.at("p").grad().defined());
      }
      const std::vector<double> expected =
          by_hand({start[0], start[1]}, gradients, static_cast<double>(first_step), 3e-4);
      for (int64_t i = 0; i < 2; ++i)
        EXPECT_NEAR(tensors.at("p")[i].item<double>(), expected[static_cast<size_t>(i)], 3e-7)
            << first_step;  // float32 near 1
    }
  }
}

// At the first step every entry moves by the rate times the tensor's size, whatever the gradient:
// with t = 0, v = g^2.
TEST(Adafactor, FirstStepHasThePublishedSize) {
  Adafactor optimizer(params({"vectors", "b"}, 2), {});
  NamedTensors tensors{{"vectors", leaf({1, 1})}, {"b", leaf({0, 0})}};
  for (auto& [name, tensor] : tensors) tensor.mutable_grad() = at::tensor({0.01F, -7.0F});
  optimizer.step(tensors, 3e-4);
  EXPECT_NEAR(tensors.at("vectors")[0].item<double>(), 1 - 3e-4, 1e-7);
  EXPECT_NEAR(tensors.at("vectors")[1].item<double>(), 1 + 3e-4, 1e-7);
  EXPECT_NEAR(tensors.at("b")[1].item<double>(), 3e-7, 1e-12);  // the floor of 1e-3
}

// One tensor of all experts is one unit: the size and the clip are over the stack, so a small
// expert moves as far as a large one.
TEST(Adafactor, MovMoloraStackIsOneUnit) {
  Adafactor whole(params({"p"}, 4), {}), halves(params({"a", "b"}, 2), {});
  NamedTensors stacked{{"p", leaf({1, 1, 0.1F, 0.1F})}},
      apart{{"a", leaf({1, 1})}, {"b", leaf({0.1F, 0.1F})}};
  stacked.at("p").mutable_grad() = at::ones({4});
  for (auto& [name, tensor] : apart) tensor.mutable_grad() = at::ones({2});
  whole.step(stacked, 1e-2);
  halves.step(apart, 1e-2);
  const double scale = std::sqrt((2 * 1.0 + 2 * 0.01) / 4);
  EXPECT_NEAR(stacked.at("p")[0].item<double>(), 1 - 1e-2 * scale, 1e-6);
  EXPECT_NEAR(stacked.at("p")[2].item<double>(), 0.1 - 1e-2 * scale, 1e-6);
  EXPECT_NEAR(apart.at("b")[0].item<double>(), 0.1 - 1e-2 * 0.1, 1e-6);
}

TEST(Adafactor, GoesOnFromItsState) {
  const auto step = [](Adafactor& optimizer, NamedTensors& tensors, int number) {
    tensors.at("p").mutable_grad() = at::tensor({0.3F * static_cast<float>(number), 1.0F});
    optimizer.step(tensors, 1e-2);
  };
  Adafactor whole(params({"p"}, 2), {}), first(params({"p"}, 2), {}), second(params({"p"}, 2), {});
  NamedTensors a{{"p", leaf({1, 2})}}, b{{"p", leaf({1, 2})}};
  for (int i = 1; i <= 4; ++i) step(whole, a, i);
  for (int i = 1; i <= 2; ++i) step(first, b, i);
  second.restore(first.state());
  for (int i = 3; i <= 4; ++i) step(second, b, i);
  EXPECT_TRUE(a.at("p").equal(b.at("p")));
  expect_message<InputError>(
      [&] {
        second.restore({{"t/steps", at::zeros({}, at::kLong)}, {"v/other", at::zeros({2})}});
      },
      "does not train");
}

}  // namespace
}  // namespace graft::testing::test_adafactor
