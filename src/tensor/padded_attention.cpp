// Attention by padding: the plain composition of tensor operations that packed_attention is judged by.
// Autograd derives its backward pass.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "tensor/attention_plan.h"
#include "tensor/packed_attention.h"

namespace graft {

namespace {

struct Padding {
  at::Tensor index;  // [N * L], row in the matrix (0 for padding)
  at::Tensor valid;  // [N, L]
  int64_t length = 0;
};

template <class Range>
Padding padding(const Spans& spans, Range range, const at::Device& device) {
  Padding out;
  const auto count = static_cast<int64_t>(spans.sequences.size());
  for (const Spans::Span& span : spans.sequences) out.length = std::max(out.length, range(span).second - range(span).first);
  const at::Tensor index = at::zeros({count, out.length}, at::kLong), valid = at::zeros({count, out.length}, at::kBool);
  for (int64_t n = 0; n < count; ++n) {
    const auto [begin, end] = range(spans.sequences[static_cast<size_t>(n)]);
    if (begin == end) continue;
    index[n].narrow(0, 0, end - begin).copy_(at::arange(begin, end, at::kLong));
    valid[n].narrow(0, 0, end - begin).fill_(true);
  }
  out.index = index.view(-1).to(device);
  out.valid = valid.to(device);
  return out;
}

// Prefix rows of all sequences, padded to the widest lane: [N, P, K, D], and which of them exist: [N, P].
struct PaddedPrefix {
  at::Tensor keys, values, bias, valid;
};

at::Tensor widened(const at::Tensor& rows, const at::Tensor& scale, int64_t sequences, int64_t prefix_rows) {
  at::Tensor all = rows.unsqueeze(0).expand({sequences, -1, -1, -1});
  if (scale.defined()) all = all * scale.view({-1, 1, 1, 1});
  return at::constant_pad_nd(all, {0, 0, 0, 0, 0, prefix_rows - rows.size(0)});
}

PaddedPrefix padded_prefix(const std::vector<LanePrefix>& prefixes, int64_t sequences, int64_t heads, int64_t width,
                           const at::TensorOptions& options) {
  int64_t prefix_rows = 0;
  std::vector<const LanePrefix*> order;
  for (const LanePrefix& lane : prefixes) {
    prefix_rows = std::max(prefix_rows, lane.keys.size(0));
    if (lane.end_sequence > lane.first_sequence) order.push_back(&lane);
  }
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->first_sequence < b->first_sequence; });
  std::vector<at::Tensor> keys, values, bias, valid;
  const auto without = [&](int64_t count) {
    keys.push_back(at::zeros({count, prefix_rows, heads, width}, options));
    values.push_back(keys.back());
    bias.push_back(at::zeros({count}, options));
    valid.push_back(at::zeros({count, prefix_rows}, options.dtype(at::kBool)));
  };
  int64_t next = 0;
  for (const LanePrefix* lane : order) {
    const int64_t count = lane->end_sequence - lane->first_sequence;
    without(lane->first_sequence - next);
    keys.push_back(widened(lane->keys.to(options), lane->key_scale, count, prefix_rows));
    values.push_back(widened(lane->values.to(options), lane->value_scale, count, prefix_rows));
    bias.push_back(lane->logit_bias.defined() ? lane->logit_bias.to(options) : at::zeros({count}, options));
    valid.push_back((at::arange(prefix_rows, options.dtype(at::kLong)) < lane->keys.size(0)).unsqueeze(0).expand({count, -1}));
    next = lane->end_sequence;
  }
  without(sequences - next);
  return {at::cat(keys), at::cat(values), at::cat(bias), at::cat(valid)};
}

// [N, H, L, M]: the table's column for every (key position - query position) of `distance` [N, 1, L, M]; 0 for prefix rows.
at::Tensor distance_biases(const at::Tensor& table, const at::Tensor& distance, int64_t prefix_rows) {
  const int64_t last = table.size(1) - 1;
  const at::Tensor column = (distance + last / 2).clamp(0, last);  // padding may lie outside
  const at::Tensor biases = table.index_select(1, column.reshape(-1)).view({-1, column.size(0), column.size(2), column.size(3)});
  const at::Tensor is_key = at::arange(column.size(3), distance.options()).ge(prefix_rows);
  return biases.transpose(0, 1).masked_fill(is_key.logical_not(), 0.0);
}

}  // namespace

at::Tensor padded_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Spans& spans,
                            const AttentionOptions& options, const std::vector<LanePrefix>& prefixes) {
  ensure(options.dropout == 0.0, "padded_attention: it has no dropout");
  const int64_t heads = options.num_heads, key_heads = options.num_key_heads, width = q.size(1) / heads;
  // A borrowed pointer: the plan checks the spans and is dropped.
  plan_attention(std::shared_ptr<const Spans>(std::shared_ptr<const Spans>(), &spans), options, prefixes, q.size(0), k.size(0),
                 width);
  const auto count = static_cast<int64_t>(spans.sequences.size());
  const at::TensorOptions inner = q.options().dtype(q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const Padding queries = padding(
      spans, [](const Spans::Span& s) { return std::pair(s.query_begin, s.query_end); }, q.device());
  const Padding keys = padding(
      spans, [](const Spans::Span& s) { return std::pair(s.key_begin, s.key_end); }, q.device());
  if (count == 0 || queries.length == 0) return at::zeros_like(q) + 0 * q;
  const auto gathered = [&](const at::Tensor& x, const Padding& pad, int64_t of_heads) {
    if (pad.length == 0) return at::zeros({count, 0, of_heads, width}, inner);
    return x.to(inner).index_select(0, pad.index).view({count, pad.length, of_heads, width});
  };
  const PaddedPrefix prefix = padded_prefix(prefixes, count, key_heads, width, inner);
  const int64_t prefix_rows = prefix.valid.size(1), columns = prefix_rows + keys.length;
  const auto for_query_heads = [&](const at::Tensor& x) {  // [N, M, K, D] -> [N, H, M, D]
    return x.transpose(1, 2).repeat_interleave(heads / key_heads, 1);
  };
  const at::Tensor padded_q = gathered(q, queries, heads).transpose(1, 2);                               // [N, H, L, D]
  const at::Tensor padded_k = for_query_heads(at::cat({prefix.keys, gathered(k, keys, key_heads)}, 1));  // [N, H, M, D]
  const at::Tensor padded_v = for_query_heads(at::cat({prefix.values, gathered(v, keys, key_heads)}, 1));
  at::Tensor logits = at::matmul(padded_q, padded_k.transpose(2, 3)) * options.scale;  // [N, H, L, M]
  logits =
      logits +
      at::constant_pad_nd(prefix.bias.view({-1, 1}).expand({-1, prefix_rows}), {0, keys.length}).view({count, 1, 1, columns});

  at::Tensor visible = at::cat({prefix.valid, keys.valid}, 1).view({count, 1, 1, columns});
  std::vector<int64_t> first;
  for (const Spans::Span& span : spans.sequences) first.push_back(span.first_position);
  const at::Tensor position = at::tensor(first, at::kLong).to(q.device()).view({-1, 1, 1, 1}) +
                              at::arange(queries.length, inner.dtype(at::kLong)).view({1, 1, -1, 1});
  const at::Tensor key = at::arange(columns, inner.dtype(at::kLong)).view({1, 1, 1, -1}) - prefix_rows;
  if (options.is_causal) visible = visible.logical_and(key.le(position));
  if (options.distance_bias.defined()) logits = logits + distance_biases(options.distance_bias, key - position, prefix_rows);
  // A padded row that sees nothing would be 0/0; it is dropped below, but its gradient must be finite.
  logits = logits.masked_fill(visible.logical_not(), std::numeric_limits<float>::lowest());
  const at::Tensor out = at::matmul(logits.softmax(-1), padded_v).transpose(1, 2).reshape({-1, heads * width});  // [N * L, H*D]
  const at::Tensor kept = queries.valid.view(-1).nonzero().view(-1);
  return at::zeros({q.size(0), q.size(1)}, inner)
      .index_copy(0, queries.index.index_select(0, kept), out.index_select(0, kept))
      .to(q.scalar_type());
}

}  // namespace graft
