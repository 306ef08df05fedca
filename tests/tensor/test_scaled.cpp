// Factors and shifts that are finer than bfloat16: exact elsewhere, right in the mean there, and
// the same for a row wherever it is.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "tensor/plain/plain.h"
#include "tensor/scaled.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_scaled {
namespace {

using at::Tensor;
using Shapes = std::vector<std::vector<int64_t>>;

class Scaled : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20261129); }
};

TEST_F(Scaled, EqualsItsPlainFormInFloat32AndFloat64) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const int64_t columns : {1, 6, 16, 48, 390}) {
      const Tensor y = at::randn({37, columns}, type);
      const Shapes shapes = {
          {columns}, {37, columns}, {37, 1}, {1, 1}, {37, columns % 6 == 0 ? 6 : 1}};
      for (const std::vector<int64_t>& shape : shapes) {
        const Tensor mul = at::randn(shape, type), add = at::randn({columns}, type);
        expect_same_bits(scale_and_shift(y, mul, {}), plain::scale_and_shift(y, mul, {}), "mul");
        // The compiler may round a product and its sum once together.
        expect_close(scale_and_shift(y, mul, add), plain::scale_and_shift(y, mul, add), 1e-6, 3e-7,
                     "both");
        expect_same_bits(scale_and_shift(y, {}, add), plain::scale_and_shift(y, {}, add), "add");
      }
    }
  }
}

TEST_F(Scaled, Gradients) {
  const Shapes factors = {{6}, {5, 6}, {5, 1}, {5, 3}, {1, 3}, {1}}, shifts = {{6}, {5, 6}};
  for (const std::vector<int64_t>& shape : factors) {
    for (const std::vector<int64_t>& shift : shifts) {
      const std::vector<Tensor> inputs{leaf(at::randn({5, 6}, at::kDouble)),
                                       leaf(at::randn(shape, at::kDouble)),
                                       leaf(at::randn(shift, at::kDouble))};
      expect_gradients([](const auto& in) { return scale_and_shift(in[0], in[1], in[2]); }, inputs);
      expect_gradients([](const auto& in) { return scale_and_shift(in[0], in[1], {}); },
                       {inputs[0], inputs[1]});
      expect_gradients([](const auto& in) { return scale_and_shift(in[0], {}, in[1]); },
                       {inputs[0], inputs[2]});
    }
  }
}

// The factor's gradient is summed in float32 over all rows, in one order.
TEST_F(Scaled, GradientsOfABfloat16TensorAreThoseOfFloat32) {
  const Tensor y = at::randn({3000, 40}).to(at::kBFloat16),
               grad = at::randn({3000, 40}).to(at::kBFloat16);
  const Shapes shapes = {{40}, {3000, 40}, {3000, 1}, {3000, 5}};
  for (const std::vector<int64_t>& shape : shapes) {
    const Tensor mul = leaf(at::randn(shape)), wide_mul = leaf(mul.detach().clone()),
                 own = leaf(y.clone());
    scale_and_shift(own, mul, {}).backward(grad);
    plain::scale_and_shift(y.to(at::kFloat), wide_mul, {}).backward(grad.to(at::kFloat));
    expect_close(mul.grad(), wide_mul.grad(), 2e-4, 1e-5, "d mul");
    expect_same_bits(
        own.grad(), plain::scale_and_shift(grad.to(at::kFloat), mul.detach(), {}).to(at::kBFloat16),
        "d y");
    const Tensor first = mul.grad().clone();
    at::set_num_threads(1);
    mul.mutable_grad().reset();
    scale_and_shift(own, mul, {}).backward(grad);
    at::set_num_threads(2);
    expect_same_bits(mul.grad(), first, "on one thread");
  }
}

// Neighbours in bfloat16 are 2^-7 of the power of two below them apart, so none of these changes
// fits between them.
TEST_F(Scaled, ChangesOfABfloat16TensorAreRightInTheMean) {
  const Tensor y = at::randn({4000, 64}).to(at::kBFloat16), wide = y.to(at::kFloat);
  for (const double change : {0.003, -0.003, 0.001, 1e-4}) {
    const Tensor factor = at::full({64}, 1 + change);
    const Tensor delta = scale_and_shift(y, factor, {}).to(at::kFloat) - wide,
                 expected = wide * static_cast<float>(change);
    const double size = ((delta * expected).sum() / (expected * expected).sum()).item<double>();
    EXPECT_NEAR(size, 1.0, 0.05) << change;
    // A value moves to a neighbour or not at all.
    EXPECT_LE((delta.abs() / wide.abs().clamp_min(1e-30)).max().item<double>(), 0.00782);
    // Every column by itself, not only all together.
    const Tensor columns = (delta * expected).sum(0) / (expected * expected).sum(0);
    const double step =
        std::sqrt(0.0078 / std::abs(change) / 4000);  // deviation of a mean of 4,000 draws
    EXPECT_LT((columns - 1).abs().max().item<double>(), 8 * step) << change;
  }
  const Tensor shifted = scale_and_shift(y, {}, at::full({64}, 2e-4)).to(at::kFloat) - wide;
  EXPECT_NEAR(shifted.mean().item<double>(), 2e-4, 2e-5);
}

TEST_F(Scaled, WhatNeedsNoRoundingIsExact) {
  const Tensor y = at::randn({50, 33}).to(at::kBFloat16);
  expect_same_bits(scale_and_shift(y, at::ones({33}), {}), y, "a factor of one");
  expect_same_bits(scale_and_shift(y, at::full({1}, 2.0), at::zeros({33})), y * 2, "of two");
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor special = at::tensor({infinity, -infinity, std::nanf(""), 0.0F, -0.0F, 3e38F})
                             .view({1, 6})
                             .to(at::kBFloat16);
  const Tensor out = scale_and_shift(special, at::full({6}, 1.001), {}).to(at::kFloat);
  EXPECT_EQ(out[0][0].item<float>(), infinity);
  EXPECT_EQ(out[0][1].item<float>(), -infinity);
  EXPECT_TRUE(std::isnan(out[0][2].item<float>()));
  EXPECT_EQ(out[0][3].item<float>(), 0.0F);
  EXPECT_TRUE(std::signbit(out[0][4].item<float>()));
}

TEST_F(Scaled, ARowDependsOnNoOther) {
  const Tensor y = at::randn({300, 48}).to(at::kBFloat16), factor = 1 + 0.01 * at::randn({48});
  const Tensor all = scale_and_shift(y, factor, {});
  expect_same_bits(scale_and_shift(y.slice(0, 17, 18), factor, {}), all.slice(0, 17, 18), "alone");
  expect_same_bits(scale_and_shift(y.flip({0}), factor, {}), all.flip({0}), "in another order");
  at::set_num_threads(1);
  expect_same_bits(scale_and_shift(y, factor, {}), all, "on one thread");
  at::set_num_threads(2);
}

// An edit may find none of its rows in a batch: its tensors then have the gradient zero, not none.
TEST_F(Scaled, NoRowsGiveGradientsOfZero) {
  const Tensor y = at::zeros({0, 4}), factors = at::ones({1, 4}).requires_grad_(true);
  const Tensor row = at::ones({1, 4}).requires_grad_(true),
               rows = at::ones({0, 4}).requires_grad_(true);
  for (const Tensor& shift : {row, rows}) {
    torch::autograd::backward({scale_and_shift(y, factors, shift).sum()}, {});
    EXPECT_TRUE(factors.grad().equal(at::zeros({1, 4})));
    EXPECT_TRUE(shift.grad().equal(at::zeros_like(shift)));
  }
}

TEST_F(Scaled, RefusesFactorsThatDoNotFit) {
  const Tensor y = at::zeros({4, 6});
  EXPECT_THROW(scale_and_shift(y, at::zeros({4, 4}), {}), InternalError);
  EXPECT_THROW(scale_and_shift(y, at::zeros({3, 6}), {}), InternalError);
  EXPECT_THROW(scale_and_shift(y, {}, at::zeros({4, 3})), InternalError);
  expect_same_bits(scale_and_shift(at::zeros({0, 6}), at::zeros({6}), {}), at::zeros({0, 6}),
                   "no rows");
}

}  // namespace
}  // namespace graft::test_scaled
