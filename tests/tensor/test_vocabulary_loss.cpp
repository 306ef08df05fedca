// vocabulary_loss and chunked_loss against the plain form, which holds all logits, and central
// differences.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

#include "tensor/plain/plain.h"
#include "tensor/vocabulary_loss.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_vocabulary_loss {
namespace {

class VocabularyLosses : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240619); }
};

OutputLayer plain_layer(const at::Tensor& weight, const at::Tensor& bias, double scale = 1.0) {
  return {weight, bias, scale, std::nullopt};
}
OutputLayer frozen_layer(const at::Tensor& weight, const at::Tensor& bias, double scale = 1.0) {
  return {{}, {}, scale, FrozenLinear(weight, bias)};
}

std::vector<int64_t> random_targets(int64_t rows, int64_t vocabulary) {
  const at::Tensor ids = at::randint(vocabulary, {rows}, at::kLong);
  return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + rows};
}

TEST_F(VocabularyLosses, Gradients) {
  const at::Tensor hidden = leaf(at::randn({5, 4}, at::kDouble)),
                   weight = leaf(at::randn({19, 4}, at::kDouble)),
                   bias = leaf(at::randn({19}, at::kDouble));
  const std::vector<int64_t> targets = random_targets(5, 19);
  for (const VocabularyLossOptions& options :
       {VocabularyLossOptions{}, VocabularyLossOptions{0.2, 0.03}}) {
    expect_gradients(
        [&](const auto& in) {
          return vocabulary_loss(in[0], plain_layer(in[1], in[2], 0.7), targets, options).sum * 0.3;
        },
        {hidden, weight, bias});
    const OutputLayer frozen = frozen_layer(weight.detach(), {}, 0.7);
    expect_gradients(
        [&](const auto& in) { return vocabulary_loss(in[0], frozen, targets, options).sum; },
        {hidden});
  }
}

struct Problem {
  at::Tensor hidden, weight, bias;
  std::vector<int64_t> targets;
};

Problem make_problem(int64_t rows, int64_t width, int64_t vocabulary, at::ScalarType type) {
  return {at::randn({rows, width}, at::kDouble).to(type),
          (at::randn({vocabulary, width}, at::kDouble) * 0.5).to(type),
          at::randn({vocabulary}, at::kDouble).to(type), random_targets(rows, vocabulary)};
}

// The bounds are relative to the largest value of a tensor. float32: logits of about 10 are good to
// 1e-6 of themselves, and their error enters probabilities as it is. bfloat16: logits below 16
// round by up to 2^-5, which is the relative error of a probability; the products then round to
// 2^-8.
void expect_like_plain_form(const Problem& p, at::ScalarType type, bool is_frozen, double scale,
                            const VocabularyLossOptions& options) {
  const double bound = type == at::kDouble ? 1e-12 : type == at::kFloat ? 2e-5 : 4e-2;
  const at::Tensor hidden = leaf(p.hidden), weight = is_frozen ? p.weight : leaf(p.weight),
                   bias = is_frozen ? p.bias : leaf(p.bias);
  const VocabularyLoss loss = vocabulary_loss(
      hidden, is_frozen ? frozen_layer(weight, bias, scale) : plain_layer(weight, bias, scale),
      p.targets, options);
  const at::Tensor wide_hidden = leaf(p.hidden.to(at::kDouble)),
                   wide_weight = leaf(p.weight.to(at::kDouble)),
                   wide_bias = leaf(p.bias.to(at::kDouble));
  const VocabularyLoss judge = plain::vocabulary_loss(
      wide_hidden, plain_layer(wide_weight, wide_bias, scale), p.targets, options);
  ASSERT_EQ(loss.sum.scalar_type(), type == at::kDouble ? at::kDouble : at::kFloat);
  ASSERT_EQ(loss.sum.dim(), 0);
  EXPECT_FALSE(loss.rows.requires_grad());
  const auto expect_like = [&](const at::Tensor& a, const at::Tensor& b, const std::string& what) {
    expect_close(a, b, bound * std::max(1e-3, b.abs().max().item<double>()), bound, what);
  };
  expect_like(loss.rows, judge.rows, "rows");
  expect_like(loss.sum, judge.sum, "sum");
  std::vector<at::Tensor> mine{hidden}, judges{wide_hidden};
  if (!is_frozen) {
    mine.insert(mine.end(), {weight, bias});
    judges.insert(judges.end(), {wide_weight, wide_bias});
  }
  const auto grads = torch::autograd::grad({loss.sum / 8}, mine),
             expected = torch::autograd::grad({judge.sum / 8}, judges);
  for (size_t i = 0; i < grads.size(); ++i) {
    ASSERT_EQ(grads[i].scalar_type(), type);
    expect_like(grads[i], expected[i], "gradient " + std::to_string(i));
  }
}

TEST_F(VocabularyLosses, MatchThePlainForm) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const int64_t vocabulary : {1, 2, 15, 64, 100, 1003}) {
      for (const bool is_frozen : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << at::toString(type) << " V=" << vocabulary << " frozen=" << is_frozen);
        const Problem p = make_problem(23, 24, vocabulary, type);
        expect_like_plain_form(p, type, is_frozen, 1.0, {});
        expect_like_plain_form(p, type, is_frozen, 0.25, {0.1, 1e-2});
      }
    }
  }
}

// 40000 columns: 209 float32 rows, 419 bfloat16 rows a chunk.
TEST_F(VocabularyLosses, MatchThePlainFormOverSeveralChunks) {
  expect_like_plain_form(make_problem(250, 16, 40000, at::kFloat), at::kFloat, true, 1.0, {});
  expect_like_plain_form(make_problem(210, 16, 40000, at::kFloat), at::kFloat, false, 0.5,
                         {0.1, 1e-3});  // one row is left over
  expect_like_plain_form(make_problem(430, 16, 40000, at::kBFloat16), at::kBFloat16, false, 1.0,
                         {});
}

TEST_F(VocabularyLosses, ARowDoesNotDependOnItsBatch) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Problem p = make_problem(250, 16, 40000, type);
    const OutputLayer layer = frozen_layer(p.weight, p.bias);
    const at::Tensor hidden = leaf(p.hidden);
    const VocabularyLoss all = vocabulary_loss(hidden, layer, p.targets);
    const at::Tensor grad = torch::autograd::grad({all.sum}, {hidden})[0];
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    for (const auto& [begin, count] :
         {std::pair<int64_t, int64_t>{0, 1}, {208, 1}, {207, 5}, {249, 1}}) {
      const at::Tensor part = leaf(p.hidden.narrow(0, begin, count));
      const VocabularyLoss loss = vocabulary_loss(
          part, layer, {p.targets.begin() + begin, p.targets.begin() + begin + count});
      expect_same_bits(loss.rows, all.rows.narrow(0, begin, count));
      // A product over 40000 columns may be cut into parts that depend on the rows: only the order
      // of its additions.
      expect_close(torch::autograd::grad({loss.sum}, {part})[0], grad.narrow(0, begin, count),
                   type == at::kFloat ? 1e-5 : 1e-2, 8e-3);
    }
    at::set_num_threads(threads);
  }
}

TEST_F(VocabularyLosses, WithoutAGraphOnlyLosses) {
  const Problem p = make_problem(9, 8, 77, at::kFloat);
  const at::Tensor hidden = leaf(p.hidden);
  const VocabularyLoss with = vocabulary_loss(hidden, plain_layer(p.weight, p.bias), p.targets);
  const VocabularyLoss frozen = vocabulary_loss(p.hidden, plain_layer(p.weight, p.bias), p.targets);
  const at::NoGradGuard no_grad;
  const VocabularyLoss without = vocabulary_loss(hidden, plain_layer(p.weight, p.bias), p.targets);
  EXPECT_TRUE(with.sum.requires_grad());
  EXPECT_FALSE(without.sum.requires_grad() || frozen.sum.requires_grad());
  for (const VocabularyLoss& each : {without, frozen}) {
    expect_same_bits(each.rows, with.rows);
    expect_same_bits(each.sum, with.sum);
  }
}

TEST_F(VocabularyLosses, NoRows) {
  const at::Tensor hidden = leaf(at::empty({0, 8})), weight = leaf(at::randn({30, 8})),
                   bias = leaf(at::randn({30}));
  const VocabularyLoss loss = vocabulary_loss(hidden, plain_layer(weight, bias), {});
  EXPECT_EQ(loss.sum.item<float>(), 0.0f);
  EXPECT_EQ(loss.rows.size(0), 0);
  loss.sum.backward();
  EXPECT_EQ(hidden.grad().size(0), 0);
  EXPECT_TRUE(weight.grad().eq(0).all().item<bool>() && bias.grad().eq(0).all().item<bool>());
}

TEST_F(VocabularyLosses, AGradientCanBeTakenTwice) {
  const Problem p = make_problem(9, 8, 77, at::kFloat);
  const at::Tensor hidden = leaf(p.hidden),
                   loss = vocabulary_loss(hidden, plain_layer(p.weight, p.bias), p.targets).sum;
  const at::Tensor first = torch::autograd::grad({loss}, {hidden}, {}, true)[0],
                   second = torch::autograd::grad({loss}, {hidden}, {at::scalar_tensor(2.0f)})[0];
  expect_same_bits(second, first * 2);
}

TEST_F(VocabularyLosses, NotANumberStays) {
  Problem p = make_problem(3, 8, 77, at::kFloat);
  p.hidden[1].fill_(std::numeric_limits<float>::quiet_NaN());
  const VocabularyLoss loss = vocabulary_loss(p.hidden, plain_layer(p.weight, p.bias), p.targets);
  EXPECT_TRUE(loss.sum.isnan().item<bool>());
  EXPECT_TRUE(loss.rows[1].isnan().item<bool>() && loss.rows[0].isfinite().item<bool>());
}

// ---- any loss

at::Tensor both_ways(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor p = a.log_softmax(1), q = b.log_softmax(1);
  return ((p.exp() - q.exp()) * (p - q)).sum() * 0.5;
}

TEST_F(VocabularyLosses, ChunkedGradientsOfTwoPasses) {
  const OutputLayer frozen = frozen_layer(at::randn({11, 4}, at::kDouble), {}, 0.5);
  const at::Tensor a = leaf(at::randn({3, 4}, at::kDouble)),
                   b = leaf(at::randn({3, 4}, at::kDouble)),
                   weight = leaf(at::randn({11, 4}, at::kDouble));
  const auto loss = [](const std::vector<at::Tensor>& logits, int64_t) {
    return both_ways(logits[0], logits[1]);
  };
  expect_gradients(
      [&](const auto& in) {
        return chunked_loss({in[0], in[1]}, frozen, loss);
      },
      {a, b});
  expect_gradients(
      [&](const auto& in) {
        return chunked_loss({in[0], in[1]}, plain_layer(in[2], {}), loss);
      },
      {a, b, weight});
}

TEST_F(VocabularyLosses, ChunkedLossKnowsItsRows) {
  const Problem p = make_problem(250, 16, 40000, at::kFloat);
  const at::Tensor a = leaf(p.hidden), b = leaf(p.hidden * 0.9), alone = leaf(p.hidden);
  const OutputLayer layer = frozen_layer(p.weight, p.bias);
  std::vector<int64_t> firsts;
  const auto loss = [&](const std::vector<at::Tensor>& logits, int64_t first_row) {
    firsts.push_back(first_row);
    const std::vector<int64_t> own(p.targets.begin() + first_row,
                                   p.targets.begin() + first_row + logits[0].size(0));
    return at::cross_entropy_loss(logits[0], at::tensor(own, at::kLong), {}, at::Reduction::Sum) +
           0 * logits[1].sum();
  };
  const at::Tensor sum = chunked_loss({a, b}, layer, loss);
  EXPECT_EQ(firsts,
            (std::vector<int64_t>{0, 104, 208}));  // half as many rows a chunk as with one pass
  const VocabularyLoss direct = vocabulary_loss(alone, layer, p.targets);
  expect_close(sum, direct.sum, 0, 1e-6);
  expect_close(torch::autograd::grad({sum}, {a})[0],
               torch::autograd::grad({direct.sum}, {alone})[0], 1e-6, 1e-4);
}

TEST_F(VocabularyLosses, ChunkedLossMayIgnoreAPassAndTheGraph) {
  const Problem p = make_problem(5, 8, 30, at::kFloat);
  const at::Tensor a = leaf(p.hidden), b = leaf(p.hidden);
  const auto loss = [](const std::vector<at::Tensor>& logits, int64_t) {
    return logits[0].square().sum();
  };
  chunked_loss({a, b}, plain_layer(p.weight, {}), loss).backward();
  expect_close(a.grad(), p.hidden.matmul(p.weight.t()).matmul(p.weight) * 2, 1e-3, 1e-5);
  EXPECT_TRUE(b.grad().eq(0).all().item<bool>());
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(chunked_loss({a, b}, plain_layer(p.weight, {}), loss).requires_grad());
}

TEST_F(VocabularyLosses, RefuseWrongCalls) {
  const Problem p = make_problem(3, 8, 30, at::kFloat);
  const OutputLayer layer = plain_layer(p.weight, {});
  expect_refused(
      [&] {
        vocabulary_loss(p.hidden, layer, {1, 2});
      },
      "vocabulary loss: there must be one target per row");
  expect_refused(
      [&] {
        vocabulary_loss(p.hidden, layer, {1, 2, 30});
      },
      "vocabulary loss: a target lies outside the vocabulary");
  expect_refused(
      [&] {
        vocabulary_loss(p.hidden, layer, {1, -1, 2});
      },
      "vocabulary loss: a target lies outside the vocabulary");
  expect_refused([&] { vocabulary_loss(p.hidden.to(at::kDouble), layer, p.targets); },
                 "vocabulary loss: the hidden states do not fit the output layer");
  expect_refused(
      [&] {
        vocabulary_loss(at::randn({3, 7}), layer, p.targets);
      },
      "vocabulary loss: the hidden states do not fit the output layer");
  const auto any = [](const std::vector<at::Tensor>& logits, int64_t) { return logits[0].sum(); };
  expect_refused([&] { chunked_loss({}, layer, any); },
                 "vocabulary loss: there must be one pass at least");
  expect_refused(
      [&] {
        chunked_loss({p.hidden, at::randn({2, 8})}, layer, any);
      },
      "vocabulary loss: the hidden states must be [R, C], alike in every pass");
}

}  // namespace
}  // namespace graft::test_vocabulary_loss
