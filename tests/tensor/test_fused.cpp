// The fused elementwise kernels against their plain forms and against central differences.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "tensor/fused.h"
#include "tensor/plain/plain.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_fused {
namespace {

class Fused : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240613); }
};

RowDropout make_dropout(double probability, int64_t rows, uint64_t key = 5) {
  auto ids = std::make_shared<RowIds>();
  for (int64_t t = 0; t < rows; ++t) {
    ids->example.push_back(1000 + t / 7);
    ids->position.push_back(t % 7);
  }
  return {{{probability, RandomKey{key}}}, ids};
}

TEST_F(Fused, GradientsOfAddNorm) {
  for (const int64_t columns : {5, 19}) {
    const std::vector<at::Tensor> inputs{
        leaf(at::randn({4, columns}, at::kDouble)), leaf(at::randn({4, columns}, at::kDouble)),
        leaf(at::randn({columns}, at::kDouble)), leaf(at::randn({columns}, at::kDouble))};
    for (const double probability : {0.0, 0.3}) {
      const RowDropout dropout = make_dropout(probability, 4);
      expect_gradients(
          [&](const auto& in) { return norm_of_sum(in[0], in[1], in[2], in[3], 1e-5, dropout); },
          inputs);
      expect_gradients(
          [&](const auto& in) { return norm_of_sum(in[0], {}, in[1], in[2], 1e-5, dropout); },
          {inputs[0], inputs[2], inputs[3]});
    }
  }
}

TEST_F(Fused, GradientsOfDropoutAndActivations) {
  const RowDropout options = make_dropout(0.4, 6);
  expect_gradients([&](const auto& in) { return dropout(in[0], options); },
                   {leaf(at::randn({6, 9}, at::kDouble))});
  for (const Activation each :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kSilu}) {
    at::Tensor x = at::randn({6, 9}, at::kDouble) * 2;
    x = at::where(x.abs() < 1e-3, at::full_like(x, 0.5), x);  // off the kink
    expect_gradients([&](const auto& in) { return activate(in[0], each); }, {leaf(x)});
  }
}

// float32 and float64 against the plain form in float64; bfloat16 against the same on rounded
// inputs, where the result is rounded once.
TEST_F(Fused, AddNormMatchesItsPlainForm) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const int64_t columns : {1, 15, 16, 40, 384, 768, 1024}) {
      if (columns == 1 && type != at::kDouble)
        continue;  // 1/deviation is 316: what cancels in float64 is noise here
      for (const bool adds : {true, false}) {
        SCOPED_TRACE(::testing::Message()
                     << at::toString(type) << " C=" << columns << " residual=" << adds);
        const at::ScalarType weight_type =
            adds ? at::kFloat : type;  // both kinds of weights are allowed
        const at::ScalarType wide = type == at::kDouble ? at::kDouble : weight_type;
        const at::Tensor x = leaf((at::randn({37, columns}, at::kDouble) * 3 + 1).to(type)),
                         r = adds ? leaf(at::randn({37, columns}, at::kDouble).to(type))
                                  : at::Tensor(),
                         w = leaf(at::randn({columns}, at::kDouble).to(wide)),
                         b = leaf(at::randn({columns}, at::kDouble).to(wide)),
                         grad = at::randn({37, columns}, at::kDouble).to(type);
        std::vector<at::Tensor> mine{x, w, b},
            judge{leaf(x.to(at::kDouble)), leaf(w.to(at::kDouble)), leaf(b.to(at::kDouble))};
        if (adds) {
          mine.push_back(r);
          judge.push_back(leaf(r.to(at::kDouble)));
        }
        const at::Tensor got = norm_of_sum(x, r, w, b, 1e-5);
        const at::Tensor expected =
            plain::norm_of_sum(judge[0], adds ? judge[3] : at::Tensor(), judge[1], judge[2], 1e-5);
        const double absolute = type == at::kDouble ? 1e-11 : type == at::kFloat ? 1e-5 : 1e-2;
        const double relative = type == at::kDouble ? 1e-11 : type == at::kFloat ? 1e-5 : 8e-3;
        ASSERT_EQ(got.scalar_type(), type);
        expect_close(got, expected, absolute, relative, "output");
        expect_same_bits(
            got, norm_of_sum(x.detach(), adds ? r.detach() : r, w.detach(), b.detach(), 1e-5),
            "without a graph");
        const auto grads = torch::autograd::grad({got}, mine, {grad});
        const auto expected_grads =
            torch::autograd::grad({expected}, judge, {grad.to(at::kDouble)});
        for (size_t i = 0; i < grads.size(); ++i) {
          ASSERT_EQ(grads[i].scalar_type(), mine[i].scalar_type());
          const double largest = std::max(1.0, expected_grads[i].abs().max().item<double>());
          expect_close(grads[i], expected_grads[i], absolute * largest, relative,
                       "gradient " + std::to_string(i));
        }
      }
    }
  }
}

// A large mean must not cancel: the variance is taken around it.
TEST_F(Fused, AddNormSurvivesALargeMean) {
  const at::Tensor x = at::randn({3, 768}) + 1000, w = at::ones({768}), b = at::zeros({768});
  expect_close(norm_of_sum(x, {}, w, b, 1e-5), at::layer_norm(x.to(at::kDouble), {768}), 2e-4, 0);
}

TEST_F(Fused, FrozenNormGetsNoGradient) {
  const at::Tensor x = leaf(at::randn({5, 32})), r = leaf(at::randn({5, 32})), w = at::randn({32}),
                   b = at::randn({32});
  norm_of_sum(x, r, w, b, 1e-5, make_dropout(0.1, 5)).sum().backward();
  EXPECT_TRUE(x.grad().defined() && r.grad().defined());
  EXPECT_FALSE(w.grad().defined() || b.grad().defined());
  const at::Tensor only = leaf(b);
  norm_of_sum(x.detach(), r.detach(), w, only, 1e-5).sum().backward();
  expect_close(only.grad(), at::full({32}, 5.0), 1e-6, 0);
  const at::Tensor rest = leaf(r);
  norm_of_sum(x.detach(), rest, w, b, 1e-5, make_dropout(0.1, 5)).pow(2).sum().backward();
  EXPECT_TRUE(rest.grad().defined());
}

TEST_F(Fused, ActivationsMatchTheirPlainForms) {
  const at::Tensor x =
      at::cat({at::linspace(-12, 12, 4001, at::kDouble), at::randn({1000}, at::kDouble)});
  for (const Activation each :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kSilu}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(::testing::Message()
                   << at::toString(type) << " activation " << static_cast<int>(each));
      const at::Tensor mine = leaf(x.to(type)), judge = leaf(mine.to(at::kDouble));
      const double absolute = type == at::kDouble ? 1e-13 : 5e-7,
                   relative = type == at::kDouble  ? 1e-12
                              : type == at::kFloat ? 1e-6
                                                   : 4e-3;
      const at::Tensor got = activate(mine, each), expected = plain::activate(judge, each);
      expect_close(got, expected, absolute, relative, "value");
      got.sum().backward();
      expected.sum().backward();
      expect_close(mine.grad(), judge.grad(), absolute, relative, "gradient");
    }
  }
}

// exp in the density and in Phi's tail keeps relative precision where 1 + erf has none left.
TEST_F(Fused, GeluKeepsItsTail) {
  const at::Tensor x = at::linspace(-9, -1, 500, at::kDouble).to(at::kFloat).to(at::kDouble);
  const at::Tensor expected = 0.5 * x * at::erfc(-x / std::sqrt(2.0));
  expect_close(activate(x.to(at::kFloat), Activation::kGelu), expected, 1e-30, 4e-6);
}

TEST_F(Fused, ActivationsPassOnNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  for (const Activation each :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kSilu}) {
    const at::Tensor y = activate(at::tensor({nan, infinity, 1.0f}), each);
    EXPECT_TRUE(std::isnan(y[0].item<float>()));
    EXPECT_EQ(y[1].item<float>(), infinity);
    const at::Tensor bf16 = activate(at::tensor({nan, infinity, 1.0f}).to(at::kBFloat16), each);
    EXPECT_TRUE(std::isnan(bf16[0].item<float>()));
  }
}

// ---- dropout

TEST_F(Fused, DropoutKeepsTheRightShareAndTheMean) {
  constexpr double p = 0.1;
  const at::Tensor y = dropout(at::ones({700, 768}), make_dropout(p, 700));
  const double count = 700.0 * 768;
  EXPECT_NEAR(y.eq(0).to(at::kDouble).mean().item<double>(), p, 4 * std::sqrt(p * (1 - p) / count));
  EXPECT_NEAR(y.to(at::kDouble).mean().item<double>(), 1.0, 4 * std::sqrt(p / (1 - p) / count));
  const at::Tensor kept = y.masked_select(y.ne(0));
  EXPECT_EQ(kept.min().item<float>(), kept.max().item<float>());
  EXPECT_NEAR(kept.max().item<double>(), 1 / (1 - p), 2e-5);
  // Rows and columns are independent: their shares scatter as binomials do.
  const at::Tensor by_row = y.eq(0).to(at::kDouble).mean(1),
                   by_column = y.eq(0).to(at::kDouble).mean(0);
  EXPECT_NEAR(by_row.var().item<double>() / (p * (1 - p) / 768), 1.0, 0.25);
  EXPECT_NEAR(by_column.var().item<double>() / (p * (1 - p) / 700), 1.0, 0.25);
  EXPECT_EQ(std::get<0>(at::unique_dim(y, 0)).size(0), 700);
}

TEST_F(Fused, DropoutBelongsToTheRowNotToItsPlace) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const RowDropout options = make_dropout(0.3, 50);
    const at::Tensor x = at::randn({50, 100}).to(type), order = at::randperm(50);
    auto moved = std::make_shared<RowIds>();
    for (int64_t t = 0; t < 50; ++t) {
      moved->example.push_back(
          options.rows->example[static_cast<size_t>(order[t].item<int64_t>())]);
      moved->position.push_back(
          options.rows->position[static_cast<size_t>(order[t].item<int64_t>())]);
    }
    expect_same_bits(dropout(x.index_select(0, order), {{{0.3, options.lanes.front().key}}, moved}),
                     dropout(x, options).index_select(0, order));
  }
}

TEST_F(Fused, DropoutIsOneMaskForEveryDtypeAndForAddNorm) {
  const RowDropout options = make_dropout(0.3, 20);
  const at::Tensor x = at::randn({20, 77}).abs() + 0.1;
  const at::Tensor kept = dropout(x, options).ne(0);
  EXPECT_TRUE(dropout(x.to(at::kBFloat16), options).ne(0).equal(kept));
  EXPECT_TRUE(dropout(x.to(at::kDouble), options).ne(0).equal(kept));
  const at::Tensor r = at::randn({20, 77}), w = at::randn({77}), b = at::randn({77});
  expect_close(norm_of_sum(x, r, w, b, 1e-5, options),
               norm_of_sum(dropout(x, options), r, w, b, 1e-5), 1e-6, 1e-6);
  EXPECT_FALSE(dropout(x, make_dropout(0.3, 20, 6)).ne(0).equal(kept))
      << "another key, another mask";
}

TEST_F(Fused, ThreadsChangeNothing) {
  const RowDropout options = make_dropout(0.2, 600);
  const at::Tensor w = leaf(at::randn({384})), b = leaf(at::randn({384})),
                   x = leaf(at::randn({600, 384})), r = at::randn({600, 384});
  std::vector<std::vector<at::Tensor>> results;
  const int threads = at::get_num_threads();
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    const at::Tensor y =
        norm_of_sum(activate(dropout(x, options), Activation::kGelu), r, w, b, 1e-5, options);
    results.push_back(torch::autograd::grad({y.pow(2).sum()}, {x, w, b}));
    results.back().push_back(y);
  }
  at::set_num_threads(threads);
  for (size_t i = 0; i < 4; ++i) expect_same_bits(results[0][i], results[1][i], std::to_string(i));
}

TEST_F(Fused, NoRows) {
  const at::Tensor none = leaf(at::zeros({0, 16}));
  EXPECT_EQ(dropout(none, make_dropout(0.1, 0)).size(0), 0);
  const at::Tensor w = leaf(at::ones({16}));
  const auto grads = torch::autograd::grad({norm_of_sum(none, none, w, w, 1e-5).sum()}, {none, w});
  EXPECT_EQ(grads[0].size(0), 0);
  EXPECT_TRUE(grads[1].eq(0).all().item<bool>());
}

TEST_F(Fused, RefusesWrongCalls) {
  const at::Tensor x = at::randn({4, 8}), w = at::ones({8});
  expect_refused([&] { dropout(x, {{{0.1, {}}}, nullptr}); }, "dropout: row ids are missing");
  expect_refused([&] { dropout(x, make_dropout(0.1, 5)); },
                 "dropout: there must be one row id per row");
  expect_refused([&] { dropout(x, make_dropout(1.0, 4)); },
                 "dropout: the probability must be in [0, 1)");
  expect_refused([&] { dropout(x, make_dropout(-0.1, 4)); },
                 "dropout: the probability must be in [0, 1)");
  expect_refused([&] { dropout(x, make_dropout(0.999999, 4)); },
                 "dropout: the probability rounds to 1 (in units of 1/65536)");
  expect_refused([&] { dropout(x[0], make_dropout(0.1, 4)); }, "dropout: x must be [T, C]");
  expect_refused(
      [&] {
        norm_of_sum(x, at::randn({4, 7}), w, w, 1e-5);
      },
      "norm_of_sum: the residual must have x's shape and dtype");
  expect_refused([&] { norm_of_sum(x, {}, at::ones({7}), w, 1e-5); },
                 "norm_of_sum: weight and bias must be [C]");
  expect_refused([&] { norm_of_sum(x[0], {}, w, w, 1e-5); }, "norm_of_sum: x must be [T, C]");
  expect_refused([&] { activate(x.to(at::kHalf), Activation::kRelu); },
                 "kernels of src/tensor: expected float64, float32 or bfloat16");
}

}  // namespace
}  // namespace graft::test_fused
