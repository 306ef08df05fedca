// packed_attention against its plain form and against central differences.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "tensor/packed_attention.h"
#include "tests/tensor/attention_case.h"

namespace graft::test_packed_attention {
namespace {

class PackedAttention : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240611); }
};

TEST_F(PackedAttention, GradientsOfSelfAttention) {
  expect_gradients_of(make_case(self_spans({3, 1, 5}), heads(2, 2, 3), 3, at::kDouble));
}

TEST_F(PackedAttention, GradientsOfCausalGroupedQuery) {
  expect_gradients_of(make_case(self_spans({4, 2}), heads(4, 2, 3, true), 3, at::kDouble));
}

TEST_F(PackedAttention, GradientsOfSharedKeysAndRowsInNoSpan) {
  // Two sequences share all keys, a third overlaps them, a fourth has its own.
  expect_gradients_of(
      make_case({{0, 2, 0, 4, 0, 0}, {2, 3, 0, 4, 0, 1}, {4, 6, 2, 6, 0, 2}, {6, 8, 7, 8, 0, 3}},
                heads(2, 1, 3), 3, at::kDouble, 1));
}

TEST_F(PackedAttention, GradientsOfPrefixes) {
  Case test = make_case(self_spans({2, 3, 1, 2}), heads(4, 2, 3), 3, at::kDouble);
  test.prefixes = {make_prefix(0, 2, 2, 2, 3, at::kDouble, true),
                   make_prefix(3, 4, 3, 2, 3, at::kDouble, true)};
  expect_gradients_of(test);
  test.options.is_causal = true;
  test.prefixes[1].key_scale = test.prefixes[1].logit_bias = at::Tensor();
  expect_gradients_of(test);
}

TEST_F(PackedAttention, GradientsWithDropout) {
  Case test = make_case(self_spans({3, 4}), heads(2, 1, 3), 3, at::kDouble);
  test.prefixes = {make_prefix(1, 2, 2, 1, 3, at::kDouble, true)};
  test.options.dropout = {{0.3, RandomKey{7}.with("attention")}};
  expect_gradients_of(test);
}

TEST_F(PackedAttention, MatchesPaddingOnRaggedLengths) {
  std::vector<int64_t> lengths{1, 2, 3, 15, 16, 17, 31, 33, 64, 100};
  expect_same_as_plain(make_case(self_spans(lengths), heads(2, 2, 32), 32, at::kDouble));
  expect_same_as_plain(make_case(self_spans(lengths), heads(3, 3, 20, true), 20, at::kDouble));
}

TEST_F(PackedAttention, MatchesPaddingOnLongSequences) {
  expect_same_as_plain(make_case(self_spans({512, 1, 300}), heads(2, 1, 64), 64, at::kDouble));
  expect_same_as_plain(make_case(self_spans({512, 40}), heads(2, 1, 64, true), 64, at::kDouble));
}

TEST_F(PackedAttention, MatchesPaddingAtTheWidthsOfRealModels) {
  for (const auto& [width, count] : {std::pair<int64_t, int64_t>{384, 12}, {768, 12}, {1024, 16}}) {
    SCOPED_TRACE(width);
    expect_same_as_plain(make_case(self_spans({9, 24, 37, 5}), heads(count, count, width / count),
                                   width / count, at::kDouble));
  }
}

TEST_F(PackedAttention, MatchesPaddingWithManyQueryHeadsPerKeyHead) {
  expect_same_as_plain(
      make_case(self_spans({9, 24, 37, 5}), heads(9, 3, 64, true), 64, at::kDouble));
}

TEST_F(PackedAttention, MatchesPaddingWithKeysFromACache) {
  // Decoding: the queries are the last rows of longer key ranges.
  SpanList spans{{0, 1, 0, 12, 11, 0}, {1, 4, 12, 20, 5, 1}};
  expect_same_as_plain(make_case(spans, heads(4, 2, 16, true), 16, at::kDouble));
}

TEST_F(PackedAttention, MatchesPaddingWithSharedKeys) {
  SpanList spans;
  for (int64_t n = 0; n < 6; ++n)
    spans.push_back({n * 3, n * 3 + 3, n < 4 ? 0 : 20, n < 4 ? 20 : 33, 0, n});
  expect_same_as_plain(make_case(spans, heads(4, 4, 16), 16, at::kDouble, 2));
}

TEST_F(PackedAttention, MatchesPaddingWithPrefixesAlone) {
  SpanList spans{{0, 3, 0, 0, 0, 0},
                 {3, 5, 0, 4, 0, 1},
                 {5, 8, 2, 2, 0, 2},
                 {8, 9, 3, 6, 0, 3}};  // two sequences have no keys
  Case test = make_case(spans, heads(2, 2, 8), 8, at::kDouble);
  test.prefixes = {make_prefix(0, 3, 5, 2, 8, at::kDouble, true)};
  expect_same_as_plain(test);
}

TEST_F(PackedAttention, MatchesPaddingWithPrefixes) {
  Case test = make_case(self_spans({7, 30, 19, 4, 50}), heads(4, 4, 16), 16, at::kDouble);
  test.prefixes = {make_prefix(3, 5, 17, 4, 16, at::kDouble, true),
                   make_prefix(0, 2, 10, 4, 16, at::kDouble, false)};
  expect_same_as_plain(test);
  test.options.is_causal = true;
  expect_same_as_plain(test);
}

// The same draws, although padding puts the columns of K' elsewhere.
TEST_F(PackedAttention, MatchesPaddingWithDropout) {
  Case test = make_case(self_spans({7, 130, 19, 4, 50}), heads(4, 2, 16, true), 16, at::kDouble);
  test.options.dropout = {{0.3, RandomKey{7}.with("attention")}};
  expect_same_as_plain(test);
  test.prefixes = {make_prefix(3, 5, 17, 2, 16, at::kDouble, true),
                   make_prefix(0, 2, 10, 2, 16, at::kDouble, false)};
  expect_same_as_plain(test);
}

// One prefix row whose logit_bias is very low is as good as none, and a very high one takes all the
// attention.
TEST_F(PackedAttention, LogitBiasSwitchesAPrefix) {
  Case test = make_case(self_spans({5, 6}), heads(2, 2, 8), 8, at::kFloat);
  const at::Tensor without = test.packed();
  test.prefixes = {make_prefix(0, 2, 1, 2, 8, at::kFloat, false)};
  test.prefixes[0].logit_bias = at::tensor({-1e4f, 1e4f});
  const at::Tensor with = test.packed();
  expect_close(with.narrow(0, 0, 5), without.narrow(0, 0, 5), 1e-6, 1e-6);
  expect_close(with.narrow(0, 5, 6), test.prefixes[0].values.view({1, 16}).expand({6, 16}), 1e-6,
               1e-6);
}

TEST_F(PackedAttention, ReadsStridedRows) {
  const Case dense = make_case(self_spans({7, 12}), heads(2, 2, 16), 16, at::kFloat);
  Case sliced = dense;
  const at::Tensor wide = leaf(at::cat({dense.q, dense.k, dense.v}, 1));
  sliced.q = wide.narrow(1, 0, 32);
  sliced.k = wide.narrow(1, 32, 32);
  sliced.v = wide.narrow(1, 64, 32);
  const auto leaves = leaves_of(dense.inputs(), at::kFloat);
  const at::Tensor out = sliced.packed(), expected = dense.over(leaves).packed();
  expect_same_bits(out, expected);
  const auto grad = gradients(out, {wide})[0];
  const auto grads = gradients(expected, leaves);
  expect_same_bits(grad, at::cat({grads[0], grads[1], grads[2]}, 1));
}

TEST_F(PackedAttention, RowsInNoSpanAreZeroAndGetZeroGradient) {
  SpanList spans{{1, 4, 2, 5, 0, 0}};
  const Case test = make_case(spans, heads(2, 2, 8), 8, at::kFloat, 3);
  const auto leaves = leaves_of(test.inputs(), at::kFloat);
  const at::Tensor out = test.over(leaves).packed();
  EXPECT_TRUE(out[0].eq(0).all().item<bool>());
  EXPECT_TRUE(out.narrow(0, 4, 3).eq(0).all().item<bool>());
  const auto grads = gradients(out, leaves);
  EXPECT_TRUE(grads[0].narrow(0, 4, 3).eq(0).all().item<bool>());
  EXPECT_TRUE(grads[1].narrow(0, 0, 2).eq(0).all().item<bool>());
  EXPECT_TRUE(grads[2].narrow(0, 5, 3).eq(0).all().item<bool>());
}

TEST_F(PackedAttention, NothingToDo) {
  const Case empty = make_case({}, heads(2, 2, 8), 8, at::kFloat, 3);
  EXPECT_TRUE(empty.packed().eq(0).all().item<bool>());
  const Case no_queries = make_case({{0, 0, 0, 0, 0, 0}}, heads(2, 2, 8), 8, at::kFloat);
  EXPECT_EQ(no_queries.packed().size(0), 0);
}

// bfloat16 keeps 8 bits: inputs are rounded alike, logits and sums run in float32, and the output
// (below 4 in size) is rounded once, by at most 2^-8 relative. Gradients round twice: the incoming
// one and the result.
TEST_F(PackedAttention, Bfloat16WithinItsRounding) {
  Case test = make_case(self_spans({9, 24, 100, 1}), heads(4, 2, 32), 32, at::kDouble);
  test.prefixes = {make_prefix(1, 3, 10, 2, 32, at::kDouble, true)};
  expect_same_as_plain(test, at::kBFloat16, 4e-3, 8e-3);
}

TEST_F(PackedAttention, SkipsWhatNeedsNoGradient) {
  const Case test = make_case(self_spans({3, 4}), heads(2, 2, 8), 8, at::kFloat);
  for (size_t only = 0; only < 3; ++only) {
    auto leaves = leaves_of(test.inputs(), at::kFloat);
    const auto all = gradients(test.over(leaves).packed(), leaves);
    for (size_t i = 0; i < 3; ++i) {
      if (i != only) leaves[i].set_requires_grad(false);
    }
    const at::Tensor out = test.over(leaves).packed();
    (out * probe(out.sizes()).to(at::kFloat)).sum().backward();
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(leaves[i].grad().defined(), i == only);
    expect_same_bits(leaves[only].grad(), all[only]);
  }
  const at::Tensor out = test.packed();
  EXPECT_FALSE(out.requires_grad());
}

TEST_F(PackedAttention, APrefixAloneCanLearn) {
  Case test = make_case(self_spans({3, 4}), heads(2, 2, 8), 8, at::kFloat);
  test.prefixes = {make_prefix(0, 2, 3, 2, 8, at::kFloat, true)};
  const auto leaves = leaves_of(test.inputs(), at::kFloat);
  const auto all = gradients(test.over(leaves).packed(), leaves);
  for (const size_t only : {3, 4, 5, 6, 7}) {
    auto inputs = test.inputs();
    inputs[only] = leaf(inputs[only]);
    const at::Tensor out = test.over(inputs).packed();
    const auto grad =
        torch::autograd::grad({(out * probe(out.sizes()).to(at::kFloat)).sum()}, {inputs[only]})[0];
    expect_same_bits(grad, all[only]);
  }
}

// ---- dropout

Case dropout_case(int64_t length, double probability) {
  Case test = make_case(self_spans({length, length, length}), heads(4, 4, 8), 8, at::kFloat);
  test.options.dropout = {{probability, RandomKey{11}}};
  return test;
}

// With q = 0 every probability is 1/L, and with v = 1 the output is kept/(L (1-p)).
TEST_F(PackedAttention, DropoutKeepsTheRightShareAndTheMean) {
  Case test = dropout_case(200, 0.25);
  test.q.zero_();
  test.v.fill_(1);
  const at::Tensor kept = test.packed()
                              .view({-1, 4, 8})
                              .select(2, 0)
                              .to(at::kDouble);  // [T, H], one draw of 200 masks each
  EXPECT_NEAR(kept.mean().item<double>(), 1.0, 4 * std::sqrt(0.25 / 0.75 / (2400.0 * 200)));
  EXPECT_NEAR(kept.var().item<double>(), 0.25 / 0.75 / 200, 0.1 * 0.25 / 0.75 / 200);
  // Heads, examples and positions draw apart from each other.
  EXPECT_FALSE(kept.select(1, 0).equal(kept.select(1, 1)));
  EXPECT_FALSE(kept.narrow(0, 0, 200).equal(kept.narrow(0, 200, 200)));
  EXPECT_GT(std::get<0>(at::unique_dim(kept, 0)).size(0), 590);
}

TEST_F(PackedAttention, DropoutBelongsToTheExampleNotToItsPlace) {
  const std::vector<int64_t> lengths{5, 40, 17, 33};
  Case test = make_case(self_spans(lengths), heads(2, 1, 16), 16, at::kFloat);
  test.options.dropout = {{0.2, RandomKey{3}}};
  const std::vector<size_t> order{2, 0, 3, 1};
  std::vector<at::Tensor> rows;
  SpanList moved;
  int64_t next = 0;
  for (const size_t n : order) {
    const Spans::Span& span = test.spans->sequences[n];
    const int64_t length = span.query_end - span.query_begin;
    rows.push_back(at::arange(span.query_begin, span.query_end));
    moved.push_back({next, next + length, next, next + length, 0, span.example});
    next += length;
  }
  const at::Tensor index = at::cat(rows);
  Case permuted = test.over({test.q.index_select(0, index), test.k.index_select(0, index),
                             test.v.index_select(0, index)});
  permuted.spans = shared(moved);
  expect_same_bits(permuted.packed(), test.packed().index_select(0, index));
}

TEST_F(PackedAttention, ThreadsChangeNothing) {
  Case test = make_case(self_spans({5, 40, 17, 512, 33}), heads(4, 2, 16), 16, at::kFloat);
  test.options.dropout = {{0.1, {}}};
  test.prefixes = {make_prefix(0, 2, 3, 2, 16, at::kFloat, true)};
  const int threads = at::get_num_threads();
  std::vector<at::Tensor> outs;
  std::vector<std::vector<at::Tensor>> grads;
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    const auto leaves = leaves_of(test.inputs(), at::kFloat);
    outs.push_back(test.over(leaves).packed());
    grads.push_back(gradients(outs.back(), leaves));
  }
  at::set_num_threads(threads);
  expect_same_bits(outs[0], outs[1]);
  for (size_t i = 0; i < 3; ++i) expect_same_bits(grads[0][i], grads[1][i]);
}

TEST_F(PackedAttention, BatchMatesChangeNothing) {
  const Case together = make_case(self_spans({5, 40, 17, 33}), heads(4, 2, 16), 16, at::kFloat);
  const at::Tensor out = together.packed();
  for (const Spans::Span& span : together.spans->sequences) {
    const int64_t length = span.query_end - span.query_begin;
    Case alone = together.over({together.q.narrow(0, span.query_begin, length),
                                together.k.narrow(0, span.query_begin, length),
                                together.v.narrow(0, span.query_begin, length)});
    alone.spans = shared({{0, length, 0, length, 0, span.example}});
    expect_same_bits(alone.packed(), out.narrow(0, span.query_begin, length));
  }
}

// ---- what it refuses

TEST_F(PackedAttention, RefusesWrongCalls) {
  const auto with_spans = [](SpanList spans) {
    Case test = make_case(self_spans({4}), heads(2, 2, 8), 8, at::kFloat);
    test.spans = shared(std::move(spans));
    return test;
  };
  expect_refused(
      [&] {
        with_spans({{0, 5, 0, 4, 0, 0}}).packed();
      },
      "attention: a query range lies outside q");
  expect_refused(
      [&] {
        with_spans({{0, 4, 0, 5, 0, 0}}).packed();
      },
      "attention: a key range lies outside k");
  expect_refused(
      [&] {
        with_spans({{0, 4, 1, 0, 0, 0}}).packed();
      },
      "attention: a key range lies outside k");
  expect_refused(
      [&] {
        with_spans({{0, 4, 0, 4, -1, 0}}).packed();
      },
      "attention: a first position is negative");
  expect_refused(
      [&] {
        with_spans({{0, 4, 2, 2, 0, 0}}).packed();
      },
      "attention: a sequence has neither keys nor prefix rows");
  expect_refused(
      [&] {
        with_spans({{0, 3, 0, 4, 0, 0}, {2, 4, 0, 4, 0, 1}}).packed();
      },
      "attention: two query ranges overlap");

  const Case good = make_case(self_spans({4, 3}), heads(2, 2, 8), 8, at::kFloat);
  const auto with_prefix = [&](LanePrefix prefix) {
    Case test = good;
    test.prefixes = {std::move(prefix)};
    return test;
  };
  expect_refused([&] { with_prefix(make_prefix(1, 3, 2, 2, 8, at::kFloat, false)).packed(); },
                 "attention: a prefix lane names sequences that do not exist");
  expect_refused([&] { with_prefix(make_prefix(0, 2, 2, 2, 4, at::kFloat, false)).packed(); },
                 "attention: prefix keys and values must be [P, K, D]");
  LanePrefix prefix = make_prefix(0, 2, 2, 2, 8, at::kFloat, false);
  prefix.key_scale = at::ones({3});
  expect_refused([&] { with_prefix(prefix).packed(); },
                 "attention: scales and bias of a prefix need one value per sequence of the lane");
  Case twice = good;
  twice.prefixes = {make_prefix(0, 2, 2, 2, 8, at::kFloat, false),
                    make_prefix(1, 2, 2, 2, 8, at::kFloat, false)};
  expect_refused([&] { twice.packed(); }, "attention: two prefix lanes share a sequence");

  Case wrong = good;
  wrong.options.num_key_heads = 3;
  expect_refused([&] { wrong.packed(); },
                 "attention: the number of key heads must divide the number of heads");
  wrong = good;
  wrong.k = wrong.v = at::zeros({7, 24});
  expect_refused([&] { wrong.packed(); },
                 "attention: the widths of q, k and v do not fit the number of heads");
  wrong = good;
  wrong.v = at::zeros({6, 16});
  expect_refused([&] { wrong.packed(); }, "attention: q must be [T, H*D], k and v [S, K*D]");
  wrong = good;
  wrong.v = wrong.v.to(at::kDouble);
  expect_refused([&] { wrong.packed(); }, "attention: q, k and v must have one dtype");
  wrong = good;
  wrong.options.dropout = {{1.0, {}}};
  expect_refused([&] { wrong.packed(); }, "dropout: the probability must be in [0, 1)");
}

}  // namespace
}  // namespace graft::test_packed_attention
