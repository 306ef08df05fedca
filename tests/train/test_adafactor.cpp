// Adafactor against optax (tests/golden/optimizers, made by tools/golden/adafactor_optax.py),
// traces worked out by hand from its recurrence (the values in the comments), and its state.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
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

// scale * sin(rate i + shift) in row-major order.
Tensor wave(const std::vector<int64_t>& shape, double scale, double rate, double shift) {
  const int64_t count = c10::multiply_integers(shape);
  const Tensor at = at::arange(count, at::kDouble) * rate + shift;
  return (at.sin() * scale).to(at::kFloat).view(shape);
}

// Six steps, the fourth of them clipped, the last of zero gradients; all moves are 0.1 and more,
// and float32 is off by 2e-7 at most.
TEST(Adafactor, FollowsOptax) {
  const Node file =
      parse_json(read_file(golden_dir("optimizers") / "adafactor.json"), "adafactor.json");
  const double rate = number_of(*file.find("rate"));
  EXPECT_EQ(file.find("tensors")->members.size(), 7U);
  for (const auto& [name, told] : file.find("tensors")->members) {
    std::vector<int64_t> shape;
    for (const Node& size : told.find("shape")->items)
      shape.push_back(static_cast<int64_t>(number_of(size)));
    for (const bool factored : {false, true}) {
      SCOPED_TRACE(name + (factored ? ", factored" : ""));
      Adafactor optimizer({{.name = "p", .shape = shape}}, {.factored = factored});
      NamedTensors tensors{
          {"p", wave(shape, number_of(*told.find("scale")), 0.7, 1).requires_grad_(true)}};
      double t = 0;
      for (const Node& expected : told.find(factored ? "factored" : "plain")->items) {
        const double size = number_of(file.find("sizes")->items[static_cast<size_t>(t)]);
        tensors.at("p").mutable_grad() = wave(shape, size, 1.3, 0.9 * t++);
        optimizer.step(tensors, rate);
        const Tensor flat = tensors.at("p").detach().to(at::kDouble).view({-1});
        const int64_t stride = std::max<int64_t>(1, flat.numel() / 5);
        int64_t i = 0;
        for (const Node& entry : expected.find("entries")->items) {
          EXPECT_NEAR(flat[i].item<double>(), number_of(entry), 5e-7) << "entry " << i;
          i += stride;
        }
        EXPECT_NEAR(flat.mean().item<double>(),
                    number_of(*expected.find("sum")) / static_cast<double>(flat.numel()), 2e-7);
        EXPECT_NEAR(flat.square().mean().sqrt().item<double>(),
                    number_of(*expected.find("root_mean_square")), 2e-7);
      }
    }
  }
}

TEST(Adafactor, FactorsLargeTensorsAlone) {
  const std::vector<ParamSpec> specs = {{.name = "narrow", .shape = {127, 200}},
                                        {.name = "stack", .shape = {3, 128, 130}},
                                        {.name = "vector", .shape = {300}}};
  Adafactor whole(specs, {.factored = true}), first(specs, {.factored = true});
  NamedTensors a, b;
  for (const ParamSpec& spec : specs) {
    a[spec.name] = wave(spec.shape, 1, 0.7, 0).requires_grad_(true);
    b[spec.name] = wave(spec.shape, 1, 0.7, 0).requires_grad_(true);
  }
  const auto step = [&](Adafactor& optimizer, NamedTensors& tensors, double t) {
    for (const ParamSpec& spec : specs)
      tensors.at(spec.name).mutable_grad() = wave(spec.shape, 1, 1.3, t);
    optimizer.step(tensors, 1e-2);
  };
  step(whole, a, 0);
  step(first, b, 0);
  const NamedTensors state = first.state();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"column/stack", "row/stack", "t/steps", "v/narrow",
                                             "v/vector"}));
  EXPECT_EQ(state.at("row/stack").numel(), 3 * 128);
  EXPECT_EQ(state.at("column/stack").numel(), 3 * 130);
  Adafactor second(specs, {.factored = true});
  second.restore(state);
  step(whole, a, 1);
  step(second, b, 1);
  for (const ParamSpec& spec : specs) EXPECT_TRUE(a.at(spec.name).equal(b.at(spec.name)));
  Adafactor plain(specs, {});
  expect_message<InputError>([&] { plain.restore(state); }, "does not train");
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
