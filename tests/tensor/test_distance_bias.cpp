// The distance bias of packed_attention against its plain form, central differences, and the
// definition written out.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/tensor/attention_case.h"

namespace graft::test_distance_bias {
namespace {

class DistanceBias : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240614); }
};

// Distances up to `reach` - 1. T5 scales nothing.
Case with_bias(Case test, int64_t reach, at::ScalarType type = at::kDouble) {
  test.options.scale = 1.0;
  test.options.distance_bias = random({test.options.num_heads, 2 * reach - 1}, type);
  return test;
}

// Two query heads, one sequence of 4 queries that begins at position 2 of 6 keys.
TEST_F(DistanceBias, IsTheColumnOfKeyMinusQuery) {
  Case test = with_bias(make_case({{0, 4, 0, 6, 2, 0}}, heads(2, 1, 3), 3, at::kDouble), 6);
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t head = 0; head < 2; ++head) {
      std::vector<double> logits;
      for (int64_t j = 0; j < 6; ++j) {
        const double product = test.q[i].narrow(0, head * 3, 3).dot(test.k[j]).item<double>();
        logits.push_back(product +
                         test.options.distance_bias[head][j - (2 + i) + 5].item<double>());
      }
      rows.push_back(at::tensor(logits, at::kDouble).softmax(0).matmul(test.v));
    }
  }
  const at::Tensor expected = at::stack(rows).view({4, 6});
  expect_close(test.packed(), expected, 1e-13, 1e-13, "packed");
  expect_close(test.plain(), expected, 1e-13, 1e-13, "plain");
}

TEST_F(DistanceBias, Gradients) {
  expect_gradients_of(
      with_bias(make_case(self_spans({3, 1, 5}), heads(2, 2, 3), 3, at::kDouble), 5));
  expect_gradients_of(
      with_bias(make_case(self_spans({4, 2}), heads(4, 2, 3, true), 3, at::kDouble), 7));
  // Keys shared by two sequences, and a first position.
  expect_gradients_of(
      with_bias(make_case({{0, 2, 0, 4, 2, 0}, {2, 3, 0, 4, 0, 1}, {3, 6, 2, 6, 1, 2}},
                          heads(2, 1, 3), 3, at::kDouble),
                6));
}

TEST_F(DistanceBias, GradientsBesidePrefixesAndDropout) {
  Case test = with_bias(make_case(self_spans({2, 3, 1}), heads(2, 1, 3), 3, at::kDouble), 4);
  test.prefixes = {make_prefix(1, 3, 2, 1, 3, at::kDouble, true)};
  expect_gradients_of(test);
  test.options.dropout = {{0.3, RandomKey{7}}};
  expect_gradients_of(test);
}

TEST_F(DistanceBias, MatchesPadding) {
  for (const bool causal : {false, true}) {
    Case test = with_bias(
        make_case(self_spans({1, 9, 24, 130, 17}), heads(6, 3, 20, causal), 20, at::kDouble), 130);
    test.q = test.q * 0.2;  // logits of the usual size without a scale
    expect_same_as_plain(test);
    test.prefixes = {make_prefix(2, 4, 5, 3, 20, at::kDouble, true)};
    expect_same_as_plain(test);
  }
}

// As without a bias: logits and sums run in float32, and the output is rounded once.
TEST_F(DistanceBias, Bfloat16WithinItsRounding) {
  Case test = with_bias(make_case(self_spans({9, 40, 3}), heads(2, 2, 16), 16, at::kDouble), 40);
  test.q = test.q * 0.25;
  const auto mine = leaves_of({test.q, test.k, test.v}, at::kBFloat16);
  test.options.distance_bias = test.options.distance_bias.to(at::kFloat);
  Case narrow = test.over(mine);
  narrow.options.distance_bias = leaf(test.options.distance_bias);
  Case judge = test.over(leaves_of({mine[0], mine[1], mine[2]}, at::kDouble));
  judge.options.distance_bias = leaf(test.options.distance_bias.to(at::kDouble));
  const at::Tensor out = narrow.packed(), expected = judge.plain();
  expect_close(out, expected, 4e-3, 8e-3);
  const auto grads = gradients(out, {narrow.options.distance_bias, mine[0]});
  const auto expected_grads = gradients(expected, {judge.options.distance_bias, judge.q});
  ASSERT_EQ(grads[0].scalar_type(), at::kFloat);
  for (size_t i = 0; i < 2; ++i) {
    expect_close(grads[i], expected_grads[i],
                 4e-3 * std::max(1.0, expected_grads[i].abs().max().item<double>()), 8e-3);
  }
}

TEST_F(DistanceBias, ThreadsChangeNothing) {
  const Case test =
      with_bias(make_case(self_spans({5, 40, 17, 200, 33}), heads(4, 2, 16), 16, at::kFloat), 200,
                at::kFloat);
  const int threads = at::get_num_threads();
  std::vector<std::vector<at::Tensor>> grads;
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    const auto leaves = leaves_of(test.inputs(), at::kFloat);
    grads.push_back(gradients(test.over(leaves).packed(), leaves));
  }
  at::set_num_threads(threads);
  for (size_t i = 0; i < grads[0].size(); ++i) expect_same_bits(grads[0][i], grads[1][i]);
}

TEST_F(DistanceBias, LearnsAlone) {
  Case test =
      with_bias(make_case(self_spans({3, 4}), heads(2, 2, 8), 8, at::kFloat), 4, at::kFloat);
  const auto leaves = leaves_of(test.inputs(), at::kFloat);
  const auto all = gradients(test.over(leaves).packed(), leaves);
  test.options.distance_bias = leaf(test.options.distance_bias);
  expect_same_bits(gradients(test.packed(), {test.options.distance_bias})[0], all.back());
}

TEST_F(DistanceBias, RefusesWrongCalls) {
  const Case good = make_case({{0, 2, 0, 4, 3, 0}}, heads(2, 2, 8), 8, at::kFloat);
  const char* outside =
      "attention: a distance between query and key lies outside the distance bias";
  expect_refused([&] { with_bias(good, 4, at::kFloat).packed(); },
                 outside);  // position 4 and key 0
  EXPECT_NO_THROW(with_bias(good, 5, at::kFloat).packed());
  expect_refused(
      [&] {
        with_bias(make_case({{0, 1, 0, 5, 1, 0}}, heads(2, 2, 8), 8, at::kFloat), 3, at::kFloat)
            .packed();
      },
      outside);
  Case wrong = with_bias(good, 5, at::kFloat);
  wrong.options.distance_bias = at::zeros({2, 8});
  expect_refused([&] { wrong.packed(); }, "attention: the distance bias must be [H, 2R - 1]");
  wrong.options.distance_bias = at::zeros({1, 9});
  expect_refused([&] { wrong.packed(); }, "attention: the distance bias must be [H, 2R - 1]");
}

}  // namespace
}  // namespace graft::test_distance_bias
