// Attention to a window of keys: against its plain form, central differences, and attention that
// gets no other keys.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/error.h"
#include "tensor/packed_attention.h"
#include "tests/tensor/attention_case.h"

namespace graft::test_window {
namespace {

class Window : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(20261130); }
};

AttentionOptions windowed(AttentionOptions options, int64_t window) {
  options.window = window;
  return options;
}

// Around the window, a chunk of 16 columns, a cut of 48 rows, and both ends of those.
const std::vector<int64_t> kLengths{1,  2,  3,  4,  5,  6,  7,   15,  16, 17,
                                    31, 47, 48, 49, 63, 97, 129, 131, 300};

TEST_F(Window, GradientsOfCentralDifferences) {
  for (const int64_t window : {0, 1, 3}) {
    SCOPED_TRACE(window);
    expect_gradients_of(
        make_case(self_spans({1, 2, 3, 7, 9}), windowed(heads(2, 1, 3), window), 3, at::kDouble));
  }
  expect_gradients_of(
      make_case(self_spans({5, 8}), windowed(heads(4, 2, 2, true), 2), 2, at::kDouble));
}

TEST_F(Window, GradientsWithPrefixesDropoutAndDistances) {
  Case test = make_case(self_spans({6, 1, 9}), windowed(heads(2, 2, 3), 2), 3, at::kDouble);
  test.options.dropout = {{0.3, RandomKey{7}.with("attention")}};
  test.options.distance_bias = random({2, 17});
  expect_gradients_of(test);
  test.prefixes = {make_prefix(1, 3, 2, 2, 3, at::kDouble, true)};
  expect_gradients_of(test);
}

TEST_F(Window, MatchesPaddingAroundTheWindow) {
  for (const int64_t window : {0, 1, 2, 7, 8, 15, 16, 17, 64}) {
    SCOPED_TRACE(window);
    expect_same_as_plain(
        make_case(self_spans(kLengths), windowed(heads(2, 1, 16), window), 16, at::kDouble));
    expect_same_as_plain(
        make_case(self_spans(kLengths), windowed(heads(3, 3, 20, true), window), 20, at::kDouble));
  }
}

TEST_F(Window, MatchesPaddingWithPrefixesDropoutAndDistances) {
  Case test =
      make_case(self_spans({7, 130, 19, 400}), windowed(heads(4, 2, 16), 9), 16, at::kDouble);
  test.options.dropout = {{0.3, RandomKey{7}.with("attention")}};
  test.options.distance_bias = random({4, 2 * 400 - 1});
  expect_same_as_plain(test);
  test.prefixes = {make_prefix(1, 2, 17, 2, 16, at::kDouble, true),
                   make_prefix(3, 4, 5, 2, 16, at::kDouble, false)};
  expect_same_as_plain(test);
}

// The last block of a classifier: one query of each sequence, anywhere in it, with a graph and
// without.
TEST_F(Window, MatchesPaddingWithFewQueries) {
  SpanList spans;
  const std::vector<int64_t> lengths{1, 5, 40, 200, 200, 200, 77};
  const std::vector<int64_t> firsts{0, 4, 0, 100, 196, 3, 20};
  int64_t key = 0, query = 0;
  for (size_t n = 0; n < lengths.size(); ++n) {
    const int64_t count =
        std::min<int64_t>(lengths[n] - firsts[n], 1 + static_cast<int64_t>(n) % 4);
    spans.push_back({query, query + count, key, key + lengths[n], firsts[n], 3});
    query += count;
    key += lengths[n];
  }
  for (const int64_t window : {0, 3, 16, 64}) {
    const Case test = make_case(spans, windowed(heads(4, 2, 16), window), 16, at::kDouble);
    expect_same_as_plain(test);
    const at::NoGradGuard no_grad;
    expect_close(test.packed(), test.plain(), 1e-12, 1e-12, "without a graph");
  }
}

// A window as wide as the sequence hides nothing, and then bits are those of no window: blocks are
// cut otherwise, but a row's sums run in the same order.
TEST_F(Window, AsWideAsTheSequenceHidesNothing) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Case wide = make_case(self_spans({40, 300, 9}), windowed(heads(2, 2, 32), 300), 32, type);
    Case open = wide;
    open.options.window = {};
    expect_same_bits(wide.packed(), open.packed(), at::toString(type));
  }
}

// Keys outside every window do not even reach a sum.
TEST_F(Window, ReadsNoKeyOutside) {
  Case test = make_case(self_spans({400}), windowed(heads(2, 2, 16), 5), 16, at::kFloat);
  test.spans = shared({{0, 1, 0, 400, 200, 0}});
  test.q = test.q.narrow(0, 0, 1);
  const at::Tensor before = test.packed();
  for (at::Tensor* each : {&test.k, &test.v}) {
    each->narrow(0, 0, 176).fill_(std::numeric_limits<float>::quiet_NaN());
    each->narrow(0, 224, 176).fill_(std::numeric_limits<float>::quiet_NaN());
  }
  expect_same_bits(test.packed(), before);
}

TEST_F(Window, BitsDependOnNeitherThreadsNorNeighbours) {
  const int threads = at::get_num_threads();
  const Case all =
      make_case(self_spans({33, 200, 5}), windowed(heads(4, 2, 16), 12), 16, at::kFloat);
  at::set_num_threads(1);
  const at::Tensor one = all.packed();
  at::set_num_threads(2);
  expect_same_bits(all.packed(), one, "threads");
  at::set_num_threads(threads);
  Case alone = all;
  alone.q = all.q.narrow(0, 33, 200);
  alone.k = all.k.narrow(0, 33, 200);
  alone.v = all.v.narrow(0, 33, 200);
  alone.spans = shared({{0, 200, 0, 200, 0, 101}});
  expect_same_bits(alone.packed(), one.narrow(0, 33, 200), "neighbours");
}

TEST_F(Window, IsRefusedWhereAQuerySeesNoKey) {
  const auto expect_refused = [](Case test, const std::string& message) {
    try {
      test.packed();
      ADD_FAILURE() << "expected: " << message;
    } catch (const InternalError& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  };
  Case test = make_case({{0, 2, 0, 4, 5, 0}}, windowed(heads(2, 2, 4), 3), 4, at::kFloat);
  test.packed();  // position 6 sees key 3
  test.options.window = 2;
  expect_refused(test, "no key of a sequence lies in the window of a query");
  test.prefixes = {make_prefix(0, 1, 2, 2, 4, at::kDouble, false)};
  for (LanePrefix& each : test.prefixes) {
    each.keys = each.keys.to(at::kFloat);
    each.values = each.values.to(at::kFloat);
  }
  expect_same_as_plain(test, at::kFloat, 1e-5, 1e-4);  // it sees its prefix
  test.options.window = -1;
  expect_refused(test, "the window is negative");
}

}  // namespace
}  // namespace graft::test_window
