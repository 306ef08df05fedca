// rotate() against complex multiplication and central differences.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tensor/rotary.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_rotary {
namespace {

class Rotary : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240618); }
};

at::Tensor angles(int64_t rows, int64_t half) { return at::rand({rows, half}, at::kDouble) * 100; }

RotaryTable table_of(const at::Tensor& angle, at::ScalarType type) {
  return {angle.cos().to(type), angle.sin().to(type)};
}

// Halves as real and imaginary parts, times e^(i angle).
at::Tensor reference(const at::Tensor& x, const at::Tensor& angle, int64_t heads) {
  const at::Tensor wide = x.to(at::kDouble).view({x.size(0), heads, 2, -1});
  const at::Tensor turned = at::complex(wide.select(2, 0), wide.select(2, 1)) *
                            at::polar(at::ones_like(angle), angle).unsqueeze(1);
  return at::stack({at::real(turned), at::imag(turned)}, 2).view(x.sizes());
}

// The table is rounded to float32; bfloat16 rounds its output once more.
TEST_F(Rotary, MatchesComplexMultiplication) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const auto& [heads, half] :
         {std::pair<int64_t, int64_t>{9, 32}, {2, 5}, {1, 1}, {3, 24}}) {
      SCOPED_TRACE(::testing::Message()
                   << at::toString(type) << " " << heads << " heads of " << 2 * half);
      const at::Tensor angle = angles(11, half),
                       x = leaf(at::randn({11, heads * 2 * half}, at::kDouble).to(type)),
                       grad = at::randn({11, heads * 2 * half}, at::kDouble).to(type);
      const RotaryTable table = table_of(angle, type == at::kDouble ? at::kDouble : at::kFloat);
      const double bound = type == at::kDouble ? 1e-13 : type == at::kFloat ? 1e-6 : 4e-3;
      const at::Tensor out = rotate(x, table, heads);
      ASSERT_EQ(out.scalar_type(), type);
      expect_close(out, reference(x, angle, heads), bound, bound);
      expect_same_bits(rotate(x.detach(), table, heads), out, "without a graph");
      expect_close(torch::autograd::grad({out}, {x}, {grad})[0], reference(grad, -angle, heads),
                   bound, bound, "gradient");
    }
  }
}

TEST_F(Rotary, Gradients) {
  const RotaryTable table = table_of(angles(3, 5), at::kDouble);
  expect_gradients([&](const auto& in) { return rotate(in[0], table, 2); },
                   {leaf(at::randn({3, 20}, at::kDouble))});
}

TEST_F(Rotary, ReadsStridedRowsAndNone) {
  const RotaryTable table = table_of(angles(6, 8), at::kFloat);
  const at::Tensor wide = at::randn({6, 96}), part = wide.narrow(1, 32, 48);
  expect_same_bits(rotate(part, table, 3), rotate(part.contiguous(), table, 3));
  const at::Tensor columns_first = part.t().contiguous().t();
  expect_same_bits(rotate(columns_first, table, 3), rotate(part.contiguous(), table, 3));
  const at::Tensor x = leaf(part);
  rotate(x, table, 3).sum().backward();  // a gradient without strides
  expect_close(x.grad(), torch::autograd::grad({rotate(x, table, 3)}, {x}, {at::ones({6, 48})})[0],
               0, 0);
  EXPECT_EQ(rotate(at::empty({0, 48}), table_of(angles(0, 8), at::kFloat), 3).size(0), 0);
}

TEST_F(Rotary, RefusesWrongCalls) {
  const RotaryTable table = table_of(angles(6, 8), at::kFloat);
  expect_refused(
      [&] {
        rotate(at::randn({6, 45}), table, 3);
      },
      "rotate: x must be [T, heads * D], D even");
  expect_refused(
      [&] {
        rotate(at::randn({5, 48}), table, 3);
      },
      "rotate: the tables must be [T, D/2]");
  expect_refused(
      [&] {
        rotate(at::randn({6, 48}), table, 1);
      },
      "rotate: the tables must be [T, D/2]");
}

}  // namespace
}  // namespace graft::test_rotary
