// Attention over packed rows: all sequences lie end to end, none is padded, and only this function
// sees where one ends.
//
// For sequence n with queries Q, keys K and values V (Vaswani et al. 2017, eq. 1):
//   O = dropout(softmax(scale * Q K^T [+ distance bias] [+ causal mask] [+ window])) V
// With a prefix, P rows come before the keys: K' = [key_scale_n * PK; K], V' = [value_scale_n * PV;
// V], and logit_bias_n is added to the logits of the prefix rows. The backward pass recomputes the
// probabilities.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tensor/rows.h"

namespace graft {

// Sequence n reads query rows [query_begin, query_end) and key rows [key_begin, key_end). Query
// ranges are disjoint; key ranges may be equal or overlap.
struct Spans {
  struct Span {
    int64_t query_begin = 0, query_end = 0;
    int64_t key_begin = 0, key_end = 0;
    int64_t first_position =
        0;  // position of the first query inside its sequence: for the causal mask and for dropout
    int64_t example = 0;  // names the example for dropout
  };
  std::vector<Span> sequences;
};

// Prefix rows of the sequences [first_sequence, end_sequence). keys, values: [P, K, D]; scales and
// bias: [sequences of the lane], or undefined for 1 and 0. Gradients reach every defined tensor.
struct LanePrefix {
  int64_t first_sequence = 0, end_sequence = 0;
  at::Tensor keys, values, key_scale, value_scale, logit_bias;
};

struct AttentionOptions {
  int64_t num_heads = 1;  // H
  int64_t num_key_heads =
      1;  // K, divides H (grouped-query attention: head h reads key head h / (H/K))
  double scale = 1.0;
  bool is_causal =
      false;  // the query at position p sees keys 0..p of its range, and the whole prefix
  // The query at position p sees of its range the keys p - window..p + window alone, and the whole
  // prefix (Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1; their w is 2 * window). Work grows
  // with the window, not with the range. Nothing: all keys.
  std::optional<int64_t> window = {};
  // On the probabilities, by lanes of sequences; drawn by (key, example, head, query position,
  // column of K').
  LaneDropouts dropout = {};

  // What T5 adds to the logits of the keys, not of the prefix (Raffel et al. 2020, sec. 2.1): [H,
  // 2R - 1], float32 (float64 for float64), or undefined. Column (key position - query position) +
  // R - 1, where the first key of a range has position 0 and R is greater than every distance. A
  // gradient reaches it when it requires one, summed in one order whatever the threads.
  at::Tensor distance_bias = {};
};

// q: [T, H*D], k and v: [S, K*D], one floating dtype (float64, float32 or bfloat16; inside in
// float32, float64 for float64). Rows may be strided (a slice of a wider matrix), columns must be
// dense. Returns [T, H*D]; rows in no span are zero. The result of a sequence has the same bits
// whatever shares its batch and however many threads run; gradients of keys too, unless the keys
// are shared. Only gradients that somebody needs are computed. Without a graph no work and no
// memory grows with rows of k and v that are in no span (a cache with room); up to 4 queries of a
// sequence then read its keys once for all heads that share them, and get the bits that a full
// causal pass gives the same rows (float64: to its rounding). Requires: spans inside the tensors;
// every query sees a key or a prefix row. Throws InternalError otherwise.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::shared_ptr<const Spans> spans, const AttentionOptions& options,
                            const std::vector<LanePrefix>& prefixes = {});

}  // namespace graft
