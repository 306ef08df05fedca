// FrozenLinear and linear against their plain form and against central differences.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/error.h"
#include "tensor/linear.h"
#include "tensor/plain/plain.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_linear {
namespace {

class Linear : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240612); }
};

struct Shape {
  int64_t rows, in, out;
};

const std::vector<Shape> kShapes{{1, 768, 768}, {2, 8, 5},      {7, 384, 1536}, {33, 1536, 384},
                                 {64, 768, 8},  {64, 4, 768},   {130, 768, 64}, {200, 64, 768},
                                 {5, 1, 1},     {500, 384, 384}};

// Sums of `in` products in float32, in whatever order: a few rounding errors of the largest partial
// sum. In bfloat16 the result is rounded once.
double tolerance(at::ScalarType type, double largest) {
  return (type == at::kFloat ? 2e-6 : 6e-3) * largest;
}

TEST_F(Linear, GradientsOfTrainedWeights) {
  expect_gradients([](const auto& in) { return linear(in[0], in[1], in[2]); },
                   {leaf(at::randn({5, 4}, at::kDouble)), leaf(at::randn({3, 4}, at::kDouble)),
                    leaf(at::randn({3}, at::kDouble))});
  expect_gradients([](const auto& in) { return linear(in[0], in[1], at::Tensor()); },
                   {leaf(at::randn({5, 4}, at::kDouble)), leaf(at::randn({3, 4}, at::kDouble))});
}

TEST_F(Linear, GradientOfFrozenWeights) {
  const FrozenLinear layer(at::randn({3, 4}, at::kDouble), at::randn({3}, at::kDouble));
  expect_gradients([&](const auto& in) { return layer(in[0]); },
                   {leaf(at::randn({5, 4}, at::kDouble))});
}

TEST_F(Linear, MatchesFloat64) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(::testing::Message() << at::toString(type) << " T=" << shape.rows
                                        << " in=" << shape.in << " out=" << shape.out);
      const at::Tensor x = leaf(at::randn({shape.rows, shape.in}).to(type)),
                       w = leaf(at::randn({shape.out, shape.in}).to(type)),
                       b = leaf(at::randn({shape.out}).to(type)),
                       grad = at::randn({shape.rows, shape.out}).to(type);
      const at::Tensor xd = leaf(x.to(at::kDouble)), wd = leaf(w.to(at::kDouble)),
                       bd = leaf(b.to(at::kDouble));
      const at::Tensor expected = plain::linear(xd, wd, bd);
      const auto expected_grads =
          torch::autograd::grad({expected}, {xd, wd, bd}, {grad.to(at::kDouble)});
      const auto close = [&](const at::Tensor& a, const at::Tensor& e, const std::string& what) {
        ASSERT_EQ(a.scalar_type(), type);
        expect_close(a, e, tolerance(type, e.abs().max().item<double>()), 0, what);
      };
      const at::Tensor trained = linear(x, w, b);
      close(trained, expected, "linear");
      const auto grads = torch::autograd::grad({trained}, {x, w, b}, {grad});
      for (size_t i = 0; i < 3; ++i)
        close(grads[i], expected_grads[i], "gradient " + std::to_string(i));

      const FrozenLinear layer(w.detach(), b.detach());
      const at::Tensor frozen = layer(x);
      close(frozen, expected, "FrozenLinear");
      close(torch::autograd::grad({frozen}, {x}, {grad})[0], expected_grads[0],
            "FrozenLinear's gradient");
      close(FrozenLinear(w.detach(), {})(x), expected - bd, "FrozenLinear without a bias");
    }
  }
}

TEST_F(Linear, FrozenTensorsGetNoGradient) {
  const at::Tensor w = at::randn({16, 32}), b = at::randn({16}), x = leaf(at::randn({4, 32}));
  const FrozenLinear layer(w, b);
  layer(x).sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(w.grad().defined());
  EXPECT_FALSE(b.grad().defined());
  EXPECT_FALSE(layer(x.detach()).requires_grad());
  const at::Tensor plain = leaf(w);
  linear(x.detach(), plain, b).sum().backward();
  EXPECT_TRUE(plain.grad().defined());
  EXPECT_FALSE(b.grad().defined());
}

TEST_F(Linear, TakesStridedAndEmptyInputs) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor w = at::randn({16, 32}).to(type), wide = at::randn({6, 64}).to(type);
    const FrozenLinear layer(w, {});
    expect_same_bits(layer(wide.narrow(1, 16, 32)), layer(wide.narrow(1, 16, 32).contiguous()));
    const at::Tensor x = leaf(wide.narrow(1, 16, 32));
    const at::Tensor grad =
        at::ones({1, 1}).to(type).expand({6, 16});  // as from a sum: no row of its own
    const auto grads = torch::autograd::grad({layer(x)}, {x}, {grad});
    expect_same_bits(grads[0], torch::autograd::grad({layer(x)}, {x}, {grad.contiguous()})[0]);
    const at::Tensor none = leaf(at::zeros({0, 32}).to(type)), trained = leaf(w);
    EXPECT_EQ(layer(none).sizes(), (std::vector<int64_t>{0, 16}));
    const auto empty = torch::autograd::grad({linear(none, trained, at::Tensor())}, {none, trained},
                                             {at::zeros({0, 16}).to(type)});
    EXPECT_EQ(empty[0].sizes(), none.sizes());
    EXPECT_TRUE(empty[1].eq(0).all().item<bool>());
  }
}

// A row's result is the same bits alone, in front, in the middle and at the end of any number of
// rows.
TEST_F(Linear, ARowDoesNotDependOnItsNeighbours) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto& [in, out] :
         {std::pair<int64_t, int64_t>{384, 384}, {768, 768}, {3072, 768}, {768, 3072}, {64, 96}}) {
      const FrozenLinear layer(at::randn({out, in}).to(type), at::randn({out}).to(type));
      const at::Tensor x = at::randn({200, in}).to(type), all = layer(x);
      for (const auto& [first, count] :
           {std::pair<int64_t, int64_t>{0, 1}, {199, 1}, {3, 7}, {17, 32}, {64, 100}, {1, 199}}) {
        expect_same_bits(layer(x.narrow(0, first, count)), all.narrow(0, first, count));
      }
    }
  }
}

// Joined layers give each layer's own bits, for few rows and for many.
TEST_F(Linear, JoinedLayersGiveTheBitsOfEach) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool has_bias : {false, true}) {
      std::vector<at::Tensor> weights, biases;
      for (const int64_t out : {576, 192, 33}) {
        weights.push_back(at::randn({out, 576}).to(type));
        if (has_bias) biases.push_back(at::randn({out}).to(type));
      }
      const JoinedLinears joined(weights, biases);
      for (const int64_t rows : {1, 2, 17, 300}) {
        const at::Tensor x = at::randn({rows, 576}).to(type);
        const std::vector<at::Tensor> each = joined(x);
        ASSERT_EQ(each.size(), weights.size());
        for (size_t i = 0; i < weights.size(); ++i)
          expect_same_bits(each[i],
                           FrozenLinear(weights[i], has_bias ? biases[i] : at::Tensor())(x));
      }
      EXPECT_EQ(joined(at::zeros({0, 576}).to(type))[1].sizes(), (std::vector<int64_t>{0, 192}));
    }
  }
}

TEST_F(Linear, JoinedLayersInDoubleEqualTheProductsAlone) {
  const at::Tensor a = at::randn({5, 7}, at::kDouble), b = at::randn({3, 7}, at::kDouble),
                   x = at::randn({4, 7}, at::kDouble);
  const std::vector<at::Tensor> each = JoinedLinears({a, b}, {})(x);
  EXPECT_LT((each[0] - at::linear(x, a)).abs().max().item<double>(),
            1e-14);  // a product of 7 terms
  EXPECT_LT((each[1] - at::linear(x, b)).abs().max().item<double>(), 1e-14);
  expect_refused(
      [&] {
        JoinedLinears({a, b}, {at::randn({5})});
      },
      "JoinedLinears: a bias for every layer, or for none");
}

TEST_F(Linear, ManyThreadsShareALayer) {
  const FrozenLinear layer(at::randn({64, 128}), at::randn({64}));
  const at::Tensor x = at::randn({9, 128}), expected = layer(x);
  std::vector<std::thread> threads;
  std::vector<int> right(4, 0);
  for (size_t t = 0; t < right.size(); ++t) {
    threads.emplace_back([&, t] {
      const at::Tensor mine = leaf(x);
      const at::Tensor y = layer(mine);
      y.sum().backward();
      right[t] = y.equal(expected) && mine.grad().defined();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 1));
}

TEST_F(Linear, RefusesWrongCalls) {
  const at::Tensor w = at::randn({3, 4}), x = at::randn({2, 4});
  expect_refused(
      [&] {
        linear(at::randn({2, 5}), w, at::Tensor());
      },
      "linear: x must be [T, in] and the weight [out, in]");
  expect_refused([&] { linear(x, w, at::randn({4})); }, "linear: the bias must be [out]");
  expect_refused([&] { linear(x.to(at::kDouble), w, at::Tensor()); },
                 "linear: x and the weight must have one dtype");
  expect_refused([&] { FrozenLinear(at::randn({4}), {}); },
                 "FrozenLinear: the weight must be [out, in]");
  expect_refused([&] { FrozenLinear(leaf(w), {}); },
                 "FrozenLinear: its tensors must not require a gradient");
  expect_refused([&] { FrozenLinear(w, at::randn({4})); }, "FrozenLinear: the bias must be [out]");
}

}  // namespace
}  // namespace graft::test_linear
