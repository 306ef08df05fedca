// The fused gate against its plain form:
// values, gradients, and what must not change a row's bits.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "base/error.h"
#include "tensor/plain/plain.h"
#include "tensor/pooled_gate.h"
#include "tests/support/compare.h"
#include "tests/support/testing.h"

namespace graft::testing::test_pooled_gate {
namespace {

using at::Tensor;

Tensor wave(std::vector<int64_t> shape, double phase, at::ScalarType dtype = at::kDouble) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase)
      .view(shape)
      .to(dtype);
}

// Rows 1-4 and 5-7 with row 2 not counted; row 0 and row 8 belong to no group.
std::shared_ptr<const RowGroups> two_groups() {
  return std::make_shared<const RowGroups>(RowGroups{{1, 5}, {5, 8}, {0, 1, 0, 1, 1, 1, 1, 1, 0}});
}

TEST(PooledGate, EqualsItsPlainFormWithItsGradients) {
  for (const int64_t gates : {1, 2, 3}) {
    const auto groups = two_groups();
    std::vector<Tensor> leaves[2], results[2];
    for (const int side : {0, 1}) {
      leaves[side] = {wave({9, 21}, 0.1).requires_grad_(), wave({gates, 21}, 0.9).requires_grad_(),
                      wave({gates}, 0.4).requires_grad_()};
      const std::vector<Tensor>& at = leaves[side];
      const PooledGate out = side == 0 ? pooled_gate(at[0], at[1], at[2], groups)
                                       : plain::pooled_gate(at[0], at[1], at[2], groups);
      results[side] = {out.by_group, out.by_row};
      // Both results are used, and every number of them has a weight of its own.
      torch::autograd::backward({(out.by_group * wave({2, gates}, 0.2)).sum() +
                                 (out.by_row.pow(2) * wave({9, gates}, 0.3)).sum()},
                                {});
    }
    for (size_t i = 0; i < 2; ++i)
      expect_near(results[0][i], results[1][i], {1e-14, 0}, "result " + std::to_string(i));
    for (size_t i = 0; i < 3; ++i)
      expect_near(leaves[0][i].grad(), leaves[1][i].grad(), {1e-13, 0},
                  "gradient " + std::to_string(i));
  }
}

TEST(PooledGate, AGroupsBitsDependOnNoOtherRow) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor z = wave({200, 37}, 0.5, dtype), w = wave({2, 37}, 0.8, at::kFloat),
                 b = wave({2}, 0.1, at::kFloat);
    const PooledGate all = pooled_gate(z, w, b,
                                       std::make_shared<const RowGroups>(RowGroups{
                                           {0, 150}, {150, 200}, std::vector<uint8_t>(200, 1)}));
    const PooledGate alone = pooled_gate(
        z.slice(0, 150), w, b,
        std::make_shared<const RowGroups>(RowGroups{{0}, {50}, std::vector<uint8_t>(50, 1)}));
    expect_bits(alone.by_group[0], all.by_group[1], "one group");
    expect_bits(alone.by_row, all.by_row.slice(0, 150).contiguous(), "its rows");
  }
}

// With w = 0 every row has the value sigmoid(b); so has the mean, to the last bit, whatever the
// count.
TEST(PooledGate, TheMeanOfEqualValuesIsThatValue) {
  for (const int64_t rows : {1, 3, 7, 49}) {
    const PooledGate out = pooled_gate(
        wave({rows, 8}, 0.5, at::kFloat), at::zeros({1, 8}), at::full({1}, 0.3, at::kFloat),
        std::make_shared<const RowGroups>(
            RowGroups{{0}, {rows}, std::vector<uint8_t>(static_cast<size_t>(rows), 1)}));
    EXPECT_EQ(
        out.by_group.item<float>(),
        at::sigmoid(at::full({1}, 0.3f, at::kFloat).to(at::kDouble)).to(at::kFloat).item<float>())
        << rows;
  }
}

TEST(PooledGate, WithoutACountedRowIsZero) {
  const PooledGate out =
      pooled_gate(wave({4, 8}, 0.5), wave({1, 8}, 0.1), wave({1}, 0.2),
                  std::make_shared<const RowGroups>(RowGroups{{0}, {3}, {0, 0, 0, 1}}));
  EXPECT_EQ(out.by_group.item<double>(), 0.0);
  EXPECT_EQ(out.by_row.abs().sum().item<double>(), 0.0);
}

TEST(PooledGate, RefusesWhatDoesNotFit) {
  const Tensor z = wave({9, 5}, 0.1, at::kFloat), w = wave({1, 5}, 0.2, at::kFloat),
               b = wave({1}, 0.3, at::kFloat);
  expect_message<InternalError>(
      [&] {
        pooled_gate(z, wave({1, 6}, 0.2, at::kFloat), b, two_groups());
      },
      "pooled_gate: z must be [T, C], the weight [K, C] and the bias [K]");
  expect_message<InternalError>(
      [&] { pooled_gate(z, w.to(at::kDouble), b, two_groups()); },
      "pooled_gate: weight and bias are float32, or float64 beside a float64 z");
  expect_message<InternalError>([&] { pooled_gate(z.slice(0, 1), w, b, two_groups()); },
                                "pooled_gate: one mark a row");
  expect_message<InternalError>(
      [&] {
        pooled_gate(
            z, w, b,
            std::make_shared<const RowGroups>(RowGroups{{0}, {10}, std::vector<uint8_t>(9, 1)}));
      },
      "pooled_gate: groups lie inside z");
}

}  // namespace
}  // namespace graft::testing::test_pooled_gate
