// What the tests of attention share: a call with its tensors, and its judge.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "tensor/packed_attention.h"
#include "tensor/plain/plain.h"
#include "tests/tensor/gradient_check.h"

namespace graft {

using SpanList = std::vector<Spans::Span>;

inline std::shared_ptr<const Spans> shared(SpanList list) {
  return std::make_shared<const Spans>(Spans{std::move(list)});
}

// Self-attention over sequences of these lengths, end to end.
inline SpanList self_spans(const std::vector<int64_t>& lengths) {
  SpanList list;
  int64_t row = 0;
  for (const int64_t length : lengths) {
    list.push_back(
        {row, row + length, row, row + length, 0, static_cast<int64_t>(list.size()) + 100});
    row += length;
  }
  return list;
}

inline AttentionOptions heads(int64_t query, int64_t key, int64_t width, bool causal = false) {
  AttentionOptions options;
  options.num_heads = query;
  options.num_key_heads = key;
  options.scale = 1.0 / std::sqrt(static_cast<double>(width));
  options.is_causal = causal;
  return options;
}

struct Case {
  at::Tensor q, k, v;
  std::shared_ptr<const Spans> spans;
  AttentionOptions options;
  std::vector<LanePrefix> prefixes;

  std::vector<at::Tensor> inputs() const {
    std::vector<at::Tensor> all{q, k, v};
    for (const LanePrefix& lane : prefixes) {
      for (const at::Tensor& each :
           {lane.keys, lane.values, lane.key_scale, lane.value_scale, lane.logit_bias})
        all.push_back(each);
    }
    all.push_back(options.distance_bias);
    return all;
  }

  // The same case over other tensors, in the order of inputs(); the last, the distance bias, may be
  // missing.
  Case over(const std::vector<at::Tensor>& all) const {
    Case out = *this;
    out.q = all[0];
    out.k = all[1];
    out.v = all[2];
    for (size_t lane = 0; lane < prefixes.size(); ++lane) {
      LanePrefix& each = out.prefixes[lane];
      const size_t i = 3 + 5 * lane;
      each.keys = all[i];
      each.values = all[i + 1];
      each.key_scale = all[i + 2];
      each.value_scale = all[i + 3];
      each.logit_bias = all[i + 4];
    }
    if (all.size() == inputs().size()) out.options.distance_bias = all.back();
    return out;
  }

  at::Tensor packed() const { return packed_attention(q, k, v, spans, options, prefixes); }
  at::Tensor plain() const {
    return graft::plain::packed_attention(q, k, v, spans, options, prefixes);
  }
};

inline at::Tensor random(at::IntArrayRef shape, at::ScalarType type = at::kDouble) {
  return at::randn(shape, at::kDouble).to(type);
}

inline Case make_case(SpanList spans, AttentionOptions options, int64_t width, at::ScalarType type,
                      int64_t extra_rows = 0) {
  int64_t queries = 0, keys = 0;
  for (const Spans::Span& span : spans) {
    queries = std::max(queries, span.query_end);
    keys = std::max(keys, span.key_end);
  }
  Case out;
  out.q = random({queries + extra_rows, options.num_heads * width}, type);
  out.k = random({keys + extra_rows, options.num_key_heads * width}, type);
  out.v = random({keys + extra_rows, options.num_key_heads * width}, type);
  out.spans = shared(std::move(spans));
  out.options = options;
  return out;
}

inline LanePrefix make_prefix(int64_t first, int64_t end, int64_t rows, int64_t key_heads,
                              int64_t width, at::ScalarType type, bool scaled) {
  LanePrefix lane{first,
                  end,
                  random({rows, key_heads, width}, type),
                  random({rows, key_heads, width}, type),
                  {},
                  {},
                  {}};
  if (scaled) {
    lane.key_scale = at::rand({end - first}, at::kDouble).to(type);
    lane.value_scale = at::rand({end - first}, at::kDouble).to(type);
    lane.logit_bias = random({end - first}, type);
  }
  return lane;
}

inline std::vector<at::Tensor> leaves_of(const std::vector<at::Tensor>& inputs,
                                         at::ScalarType type) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& input : inputs)
    out.push_back(input.defined() ? leaf(input.to(type)) : input);
  return out;
}

inline std::vector<at::Tensor> gradients(const at::Tensor& out,
                                         const std::vector<at::Tensor>& leaves) {
  std::vector<at::Tensor> wanted;
  for (const at::Tensor& each : leaves) {
    if (each.defined()) wanted.push_back(each);
  }
  return torch::autograd::grad({(out * probe(out.sizes()).to(out.scalar_type())).sum()}, wanted);
}

// Output and gradients of the packed kernel in `type` against the plain form in float64.
inline void expect_same_as_plain(const Case& test, at::ScalarType type, double absolute,
                                 double relative) {
  const auto mine = leaves_of(test.inputs(), type);
  std::vector<at::Tensor> judge;  // the same values, after rounding to `type`
  for (const at::Tensor& each : mine)
    judge.push_back(each.defined() ? leaf(each.to(at::kDouble)) : each);
  const at::Tensor got = test.over(mine).packed(), expected = test.over(judge).plain();
  ASSERT_EQ(got.scalar_type(), type);
  expect_close(got, expected, absolute, relative, "output");
  const auto got_gradients = gradients(got, mine), expected_gradients = gradients(expected, judge);
  for (size_t i = 0; i < got_gradients.size(); ++i) {
    ASSERT_EQ(got_gradients[i].scalar_type(), type);
    const double largest = std::max(1.0, expected_gradients[i].abs().max().item<double>());
    expect_close(got_gradients[i], expected_gradients[i], absolute * largest, relative,
                 "gradient " + std::to_string(i));
  }
}

inline void expect_same_as_plain(const Case& test) {
  expect_same_as_plain(test, at::kDouble, 1e-12, 1e-12);
  expect_same_as_plain(test, at::kFloat, 1e-5, 1e-4);
}

inline void expect_gradients_of(const Case& test) {
  std::vector<at::Tensor> inputs;
  for (const at::Tensor& each : test.inputs()) inputs.push_back(each.defined() ? leaf(each) : each);
  expect_gradients([&](const std::vector<at::Tensor>& all) { return test.over(all).packed(); },
                   inputs);
}

}  // namespace graft
