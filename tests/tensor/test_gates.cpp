// gated() against its plain form and central differences.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "tensor/fused.h"
#include "tensor/plain/plain.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_gates {
namespace {

constexpr Activation kAll[] = {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu,
                               Activation::kSilu};

class Gates : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240616); }
};

TEST_F(Gates, Gradients) {
  for (const Activation each : kAll) {
    at::Tensor gate = at::randn({5, 7}, at::kDouble) * 2;
    gate = at::where(gate.abs() < 1e-3, at::full_like(gate, 0.5), gate);  // off the kink
    expect_gradients([&](const auto& in) { return gated(in[0], in[1], each); },
                     {leaf(gate), leaf(at::randn({5, 7}, at::kDouble))});
  }
}

// float64 to its rounding; float32 to a few of its units; bfloat16 rounds output and gradients
// once, by 2^-8 relative at most.
TEST_F(Gates, MatchTheirPlainForm) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const double bound = type == at::kDouble ? 1e-13 : type == at::kFloat ? 2e-6 : 4e-3;
    for (const Activation each : kAll) {
      SCOPED_TRACE(::testing::Message() << at::toString(type) << " " << static_cast<int>(each));
      const at::Tensor gate = leaf((at::randn({37, 101}, at::kDouble) * 3).to(type)),
                       up = leaf(at::randn({37, 101}, at::kDouble).to(type)),
                       grad = at::randn({37, 101}, at::kDouble).to(type);
      const at::Tensor wide_gate = leaf(gate.to(at::kDouble)), wide_up = leaf(up.to(at::kDouble));
      const at::Tensor out = gated(gate, up, each),
                       expected = plain::gated(wide_gate, wide_up, each);
      ASSERT_EQ(out.scalar_type(), type);
      expect_close(out, expected, bound, bound, "output");
      expect_same_bits(out, gated(gate.detach(), up.detach(), each), "without a graph");
      const auto grads = torch::autograd::grad({out}, {gate, up}, {grad});
      const auto judge =
          torch::autograd::grad({expected}, {wide_gate, wide_up}, {grad.to(at::kDouble)});
      for (size_t i = 0; i < 2; ++i)
        expect_close(grads[i], judge[i], 3 * bound, bound, "gradient " + std::to_string(i));
    }
  }
}

// No overflow of an inner exponential may reach value or slope. An exponential that stops at e^88
// leaves 1e-38 where zero belongs, times a cube of x at most.
TEST_F(Gates, SurviveLargeInputs) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    for (const Activation each : kAll) {
      const at::Tensor gate = leaf(at::tensor({-1e4, -800.0, -90.0, 90.0, 800.0, 1e4}, type)),
                       up = leaf(at::ones({6}, type));
      const at::Tensor out = gated(gate, up, each);
      out.sum().backward();
      const at::Tensor zeros_and_x = at::tensor({0.0, 0.0, 0.0, 90.0, 800.0, 1e4}, type),
                       step = at::tensor({0.0, 0.0, 0.0, 1.0, 1.0, 1.0}, type);
      expect_close(out, zeros_and_x, 1e-25, 1e-6);
      expect_close(up.grad(), zeros_and_x, 1e-25, 1e-6);
      expect_close(gate.grad(), step, 1e-25, 1e-6);
    }
  }
}

TEST_F(Gates, OnlyWhatNeedsAGradientGetsOne) {
  const at::Tensor gate = at::randn({3, 20}), up = at::randn({3, 20});
  const at::Tensor both_gate = leaf(gate), both_up = leaf(up), only_gate = leaf(gate),
                   only_up = leaf(up);
  gated(both_gate, both_up, Activation::kSilu).sum().backward();
  gated(only_gate, up, Activation::kSilu).sum().backward();
  gated(gate, only_up, Activation::kSilu).sum().backward();
  EXPECT_FALSE(gate.grad().defined() || up.grad().defined());
  expect_same_bits(only_gate.grad(), both_gate.grad());
  expect_same_bits(only_up.grad(), both_up.grad());
}

TEST_F(Gates, TakesHalvesOfOneMatrixAndNothing) {
  const at::Tensor both = at::randn({4, 40});
  const at::Tensor gate = both.narrow(1, 0, 20), up = both.narrow(1, 20, 20);
  expect_same_bits(gated(gate, up, Activation::kSilu),
                   gated(gate.contiguous(), up.contiguous(), Activation::kSilu));
  EXPECT_EQ(gated(at::randn({0, 8}), at::randn({0, 8}), Activation::kRelu).numel(), 0);
  expect_refused([&] { gated(gate, both, Activation::kSilu); },
                 "gated: gate and up must have one shape and dtype");
  expect_refused([&] { gated(gate, up.to(at::kDouble), Activation::kSilu); },
                 "gated: gate and up must have one shape and dtype");
}

}  // namespace
}  // namespace graft::test_gates
