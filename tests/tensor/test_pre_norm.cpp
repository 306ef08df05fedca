// sum_and_norm against its plain form and central differences.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

#include "tensor/fused.h"
#include "tensor/plain/plain.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_pre_norm {
namespace {

class PreNorm : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240617); }
};

RowDropout make_dropout(double probability, int64_t rows) {
  auto ids = std::make_shared<RowIds>();
  for (int64_t t = 0; t < rows; ++t) {
    ids->example.push_back(1000 + t / 7);
    ids->position.push_back(t % 7);
  }
  return {{{probability, RandomKey{5}}}, ids};
}

at::Tensor joined(const Normed& out) { return at::cat({out.sum, out.normed}, 1); }

TEST_F(PreNorm, GradientsOfTheRootMeanSquareNorm) {
  for (const int64_t columns : {5, 19}) {
    const at::Tensor x = leaf(at::randn({4, columns}, at::kDouble)),
                     y = leaf(at::randn({4, columns}, at::kDouble)),
                     w = leaf(at::randn({columns}, at::kDouble));
    for (const double probability : {0.0, 0.3}) {
      const RowDropout drop = make_dropout(probability, 4);
      const auto of = [&](const auto& in) {
        return sum_and_norm(in[0], in[1], Norm::kRootMeanSquare, in[2], {}, 1e-5, drop);
      };
      expect_gradients([&](const auto& in) { return joined(of(in)); }, {x, y, w});
      expect_gradients([&](const auto& in) { return of(in).normed; }, {x, y, w});
      expect_gradients(
          [&](const auto& in) {
            return of(std::vector<at::Tensor>{in[0], in[1], w}).sum;
          },
          {x, y});
    }
    const auto alone = [&](const auto& in) {
      return joined(sum_and_norm(in[0], {}, Norm::kRootMeanSquare, in[1], {}, 1e-5));
    };
    expect_gradients(alone, {x, w});
  }
}

TEST_F(PreNorm, GradientsOfTheLayerNorm) {
  const at::Tensor x = leaf(at::randn({4, 19}, at::kDouble)),
                   y = leaf(at::randn({4, 19}, at::kDouble)),
                   w = leaf(at::randn({19}, at::kDouble)), b = leaf(at::randn({19}, at::kDouble));
  const RowDropout drop = make_dropout(0.3, 4);
  expect_gradients(
      [&](const auto& in) {
        return joined(sum_and_norm(in[0], in[1], Norm::kLayer, in[2], in[3], 1e-5, drop));
      },
      {x, y, w, b});
  expect_gradients(
      [&](const auto& in) {
        return joined(sum_and_norm(in[0], {}, Norm::kLayer, in[1], in[2], 1e-5));
      },
      {x, w, b});
  expect_gradients(
      [&](const auto& in) {
        return joined(sum_and_norm(in[0], in[1], Norm::kLayer, in[2], {}, 1e-5));
      },
      {x, y, w});
}

// float64 and float32 against the plain form in float64; bfloat16 against the same over the rounded
// sum. Its outputs round once; a gradient reads that sum, too, and rounds once.
TEST_F(PreNorm, MatchesItsPlainForm) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const Norm kind : {Norm::kLayer, Norm::kRootMeanSquare}) {
      for (const int64_t columns : {15, 16, 40, 576, 768}) {
        SCOPED_TRACE(::testing::Message()
                     << at::toString(type) << " " << static_cast<int>(kind) << " C=" << columns);
        const auto values = [&](at::IntArrayRef shape, at::ScalarType dtype) {
          return at::randn(shape, at::kDouble).to(dtype);
        };
        const at::ScalarType weight_type = columns == 40         ? type
                                           : type == at::kDouble ? at::kDouble
                                                                 : at::kFloat;
        const at::Tensor x = leaf(values({37, columns}, type)),
                         y = leaf(values({37, columns}, type)),
                         w = leaf(values({columns}, weight_type)),
                         b = kind == Norm::kLayer ? leaf(values({columns}, weight_type))
                                                  : at::Tensor();
        const at::Tensor d_sum = values({37, columns}, type),
                         d_normed = values({37, columns}, type);
        const Normed out = sum_and_norm(x, y, kind, w, b, 1e-5);
        ASSERT_EQ(out.normed.scalar_type(), type);
        expect_same_bits(out.sum, x + y, "sum");
        const at::Tensor sum = leaf(out.sum.to(at::kDouble)), wide_w = leaf(w.to(at::kDouble)),
                         wide_b = b.defined() ? leaf(b.to(at::kDouble)) : b;
        const at::Tensor expected = plain::sum_and_norm(sum, {}, kind, wide_w, wide_b, 1e-5).normed;
        const double absolute = type == at::kDouble ? 1e-11 : type == at::kFloat ? 1e-5 : 1e-6;
        const double relative = type == at::kDouble  ? 1e-11
                                : type == at::kFloat ? 1e-5
                                                     : 4e-3;  // 2^-8
        expect_close(out.normed, expected, absolute, relative, "normed");
        const Normed bare = sum_and_norm(x.detach(), y.detach(), kind, w.detach(),
                                         b.defined() ? b.detach() : b, 1e-5);
        expect_same_bits(out.normed, bare.normed, "without a graph");
        expect_same_bits(out.sum, bare.sum, "sum without a graph");
        const Normed alone = sum_and_norm(out.sum.detach(), {}, kind, w, b, 1e-5);
        expect_same_bits(alone.normed, out.normed, "of a sum made elsewhere");

        std::vector<at::Tensor> mine{x, y, w}, judges{sum, wide_w};
        if (b.defined()) {
          mine.push_back(b);
          judges.push_back(wide_b);
        }
        const auto grads = torch::autograd::grad({out.sum, out.normed}, mine, {d_sum, d_normed});
        const auto judge = torch::autograd::grad({sum.mul(1), expected}, judges,
                                                 {d_sum.to(at::kDouble), d_normed.to(at::kDouble)});
        for (size_t i = 0; i < grads.size(); ++i) {
          const at::Tensor& right = judge[i < 2 ? 0 : i - 1];
          ASSERT_EQ(grads[i].scalar_type(), mine[i].scalar_type());
          expect_close(grads[i], right, absolute * std::max(1.0, right.abs().max().item<double>()),
                       relative, "gradient " + std::to_string(i));
        }
      }
    }
  }
}

TEST_F(PreNorm, DropsWhatIsAddedNotWhatIsThere) {
  const RowDropout drop = make_dropout(0.4, 9);
  const at::Tensor x = at::randn({9, 70}), y = at::randn({9, 70}), w = at::ones({70});
  expect_same_bits(sum_and_norm(x, y, Norm::kRootMeanSquare, w, {}, 1e-6, drop).sum,
                   x + dropout(y, drop));
  expect_same_bits(sum_and_norm(x, {}, Norm::kRootMeanSquare, w, {}, 1e-6, drop).sum, x);
}

TEST_F(PreNorm, AnUnusedOutputAddsNothing) {
  const at::Tensor x = leaf(at::randn({5, 32})), y = leaf(at::randn({5, 32})),
                   w = leaf(at::randn({32}));
  const auto of = [&] {
    return sum_and_norm(x, y, Norm::kRootMeanSquare, w, {}, 1e-6, make_dropout(0.2, 5));
  };
  const Normed out = of();
  const auto both = torch::autograd::grad({(out.sum * 2).sum() + (out.normed * 3).sum()}, {x, y});
  const auto only_sum = torch::autograd::grad({(of().sum * 2).sum()}, {x, y}),
             only_normed = torch::autograd::grad({(of().normed * 3).sum()}, {x, y});
  for (size_t i = 0; i < 2; ++i) expect_close(both[i], only_sum[i] + only_normed[i], 1e-5, 1e-5);
  of().sum.sum().backward();
  EXPECT_FALSE(w.grad().defined());
}

TEST_F(PreNorm, FrozenTensorsGetNoGradient) {
  const at::Tensor x = at::randn({5, 32}), y = at::randn({5, 32}), w = at::randn({32}),
                   b = at::randn({32});
  const at::Tensor only_y = leaf(y);
  const Normed out = sum_and_norm(x, only_y, Norm::kLayer, w, b, 1e-5);
  (out.sum.sum() + out.normed.pow(2).sum()).backward();
  EXPECT_TRUE(only_y.grad().defined());
  EXPECT_FALSE(x.grad().defined() || w.grad().defined() || b.grad().defined());
  const at::Tensor only_b = leaf(b);
  sum_and_norm(x, y, Norm::kLayer, w, only_b, 1e-5).normed.sum().backward();
  expect_close(only_b.grad(), at::full({32}, 5.0), 1e-6, 0);
}

TEST_F(PreNorm, RowsAndThreadsDoNotMatter) {
  const at::Tensor x = at::randn({300, 576}), y = at::randn({300, 576}), w = leaf(at::randn({576})),
                   grad = at::randn({300, 576});
  const auto of = [&](int64_t begin, int64_t rows) {
    return sum_and_norm(x.narrow(0, begin, rows), y.narrow(0, begin, rows), Norm::kRootMeanSquare,
                        w, {}, 1e-6);
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Normed all = of(0, 300);
  const at::Tensor d_w = torch::autograd::grad({all.normed}, {w}, {grad})[0];
  at::set_num_threads(2);
  const Normed again = of(0, 300);
  expect_same_bits(again.normed, all.normed);
  expect_same_bits(torch::autograd::grad({again.normed}, {w}, {grad})[0], d_w);
  at::set_num_threads(threads);
  expect_same_bits(of(123, 1).normed, all.normed.narrow(0, 123, 1));
  EXPECT_EQ(of(0, 0).normed.size(0), 0);
}

TEST_F(PreNorm, RefusesWrongCalls) {
  const at::Tensor x = at::randn({2, 8}), w = at::ones({8});
  expect_refused([&] { sum_and_norm(x, {}, Norm::kRootMeanSquare, w, w, 1e-6); },
                 "sum_and_norm: a root mean square norm has no bias");
  expect_refused(
      [&] {
        sum_and_norm(x, at::randn({2, 7}), Norm::kLayer, w, w, 1e-6);
      },
      "sum_and_norm: the residual must have x's shape and dtype");
  expect_refused([&] { sum_and_norm(x, {}, Norm::kLayer, at::ones({7}), {}, 1e-6); },
                 "sum_and_norm: weight and bias must be [C]");
  expect_refused(
      [&] {
        sum_and_norm(x, x, Norm::kLayer, w, w, 1e-6, {{{0.5, RandomKey{1}}}, nullptr});
      },
      "dropout: row ids are missing");
}

}  // namespace
}  // namespace graft::test_pre_norm
