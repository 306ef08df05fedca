// A few queries over long key ranges, as in decoding: the same numbers as the full pass.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/tensor/attention_case.h"

namespace graft::test_attention_decoding {
namespace {

class AttentionDecoding : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20240615); }
};

// The last queries of every sequence of `full`, over the keys of a cache with rows between the
// sequences that nobody may read.
Case last_queries(const Case& full, const std::vector<int64_t>& counts) {
  constexpr int64_t kGap = 7;
  Case out = full;
  SpanList spans;
  std::vector<at::Tensor> queries, keys, values;
  int64_t row = 0, key_row = kGap;
  const at::Tensor gap =
      at::full({kGap, full.k.size(1)}, std::numeric_limits<double>::quiet_NaN(), full.k.options());
  for (size_t n = 0; n < counts.size(); ++n) {
    const Spans::Span& span = full.spans->sequences[n];
    const int64_t length = span.query_end - span.query_begin, count = std::min(counts[n], length);
    queries.push_back(full.q.narrow(0, span.query_end - count, count));
    keys.insert(keys.end(), {gap, full.k.narrow(0, span.key_begin, length)});
    values.insert(values.end(), {gap, full.v.narrow(0, span.key_begin, length)});
    spans.push_back({row, row + count, key_row, key_row + length, length - count, span.example});
    row += count;
    key_row += length + kGap;
  }
  out.q = at::cat(queries);
  out.k = at::cat(keys);
  out.v = at::cat(values);
  out.spans = shared(spans);
  return out;
}

// Recorded for a backward pass, the full causal pass takes the general way; without a graph, a few
// queries take their own.
void expect_bits_of_the_full_pass(Case full) {
  const std::vector<int64_t> counts{1, 4, 2, 1, 5, 3};  // the fifth is too many for the short way
  const Case few = last_queries(full, counts);
  const at::Tensor out = few.packed();
  full.q = leaf(full.q);
  const at::Tensor all = full.packed().detach();
  for (size_t n = 0; n < counts.size(); ++n) {
    const Spans::Span &mine = few.spans->sequences[n], &whole = full.spans->sequences[n];
    const int64_t count = mine.query_end - mine.query_begin;
    const at::Tensor got = out.narrow(0, mine.query_begin, count),
                     expected = all.narrow(0, whole.query_end - count, count);
    if (full.q.scalar_type() ==
        at::kDouble) {  // one value at a time: the compiler may contract products differently
      expect_close(got, expected, 1e-14, 1e-14, "sequence " + std::to_string(n));
    } else {
      expect_same_bits(got, expected, "sequence " + std::to_string(n));
    }
  }
}

const std::vector<int64_t> kLengths{1, 70, 200, 64, 33, 129};

TEST_F(AttentionDecoding, HasTheBitsOfTheFullPass) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    SCOPED_TRACE(at::toString(type));
    expect_bits_of_the_full_pass(make_case(self_spans(kLengths), heads(9, 3, 64, true), 64, type));
    expect_bits_of_the_full_pass(make_case(self_spans(kLengths), heads(4, 1, 20, true), 20, type));
    expect_bits_of_the_full_pass(make_case(self_spans(kLengths), heads(2, 2, 16, true), 16, type));
  }
}

TEST_F(AttentionDecoding, HasTheBitsOfTheFullPassWithPrefixesAndDistances) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(at::toString(type));
    Case test = make_case(self_spans(kLengths), heads(4, 2, 32, true), 32, type);
    test.options.distance_bias = random({4, 399}, at::kFloat);
    expect_bits_of_the_full_pass(test);
    test.prefixes = {make_prefix(0, 2, 5, 2, 32, type, true),
                     make_prefix(2, 5, 80, 2, 32, type, false)};
    expect_bits_of_the_full_pass(test);
  }
}

TEST_F(AttentionDecoding, MatchesPadding) {
  // Sequences that share a prompt, cross-attention that sees all of it, and a sequence without
  // queries.
  const SpanList spans{
      {0, 1, 0, 90, 89, 0}, {1, 2, 0, 91, 90, 1}, {2, 2, 0, 91, 0, 2}, {2, 5, 20, 100, 3, 3}};
  for (const bool causal : {false, true}) {
    const Case test = make_case(spans, heads(6, 2, 24, causal), 24, at::kDouble);
    expect_close(test.packed(), test.plain(), 1e-12, 1e-12);
    const Case narrow =
        test.over({test.q.to(at::kFloat), test.k.to(at::kFloat), test.v.to(at::kFloat)});
    expect_close(narrow.packed(), test.plain(), 1e-5, 1e-4);
  }
}

TEST_F(AttentionDecoding, ThreadsAndBatchMatesChangeNothing) {
  const Case full = make_case(self_spans(kLengths), heads(6, 3, 32, true), 32, at::kFloat);
  const Case together = last_queries(full, {1, 1, 1, 1, 1, 1});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor out = together.packed();
  at::set_num_threads(2);
  expect_same_bits(together.packed(), out);
  at::set_num_threads(threads);
  for (const Spans::Span& span : together.spans->sequences) {
    Case alone = together;
    alone.q = together.q.narrow(0, span.query_begin, 1);
    alone.spans = shared({{0, 1, span.key_begin, span.key_end, span.first_position, span.example}});
    expect_same_bits(alone.packed(), out.narrow(0, span.query_begin, 1));
  }
}

}  // namespace
}  // namespace graft::test_attention_decoding
