// Attention by padding: sequences side by side, [N, H, L, D], and dense products over all of them.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "tensor/chunk.h"
#include "tensor/plain/drop_mask.h"
#include "tensor/plain/plain.h"

namespace graft::plain {

namespace {

using at::Tensor;

Tensor index_tensor(const std::vector<int64_t>& values, const at::Device& device) {
  return at::tensor(values, at::kLong).to(device);
}

// The rows of all sequences, padded to the longest.
struct Padding {
  int64_t sequences = 0, length = 0;  // N, L
  Tensor index;                       // [N * L]: the row in the matrix, 0 for padding
  Tensor valid;                       // [N, L]
  Tensor slots, rows;  // the valid entries of `index`: their places, and the rows themselves

  // [T, heads * D] -> [N, L, heads, D] in `type`; zero for padding, whatever lies in row 0.
  Tensor gathered(const Tensor& x, int64_t heads, at::ScalarType type) const {
    const int64_t width = x.size(1) / heads;
    if (length == 0) return at::zeros({sequences, 0, heads, width}, x.options().dtype(type));
    return at::index(x, {index})
        .to(type)
        .view({sequences, length, heads, width})
        .masked_fill(valid.bitwise_not().view({sequences, length, 1, 1}), 0.0);
  }
};

template <class Range>
Padding padding(const Spans& spans, const at::Device& device, Range range) {
  Padding out;
  out.sequences = static_cast<int64_t>(spans.sequences.size());
  for (const Spans::Span& span : spans.sequences)
    out.length = std::max(out.length, range(span).second - range(span).first);
  std::vector<int64_t> index(static_cast<size_t>(out.sequences * out.length)), valid(index.size()),
      slots, rows;
  for (int64_t n = 0; n < out.sequences; ++n) {
    const auto [begin, end] = range(spans.sequences[static_cast<size_t>(n)]);
    for (int64_t row = begin; row < end; ++row) {
      slots.push_back(n * out.length + row - begin);
      rows.push_back(row);
      index[static_cast<size_t>(slots.back())] = row;
      valid[static_cast<size_t>(slots.back())] = 1;
    }
  }
  out.index = index_tensor(index, device);
  out.valid = index_tensor(valid, device).to(at::kBool).view({out.sequences, out.length});
  out.slots = index_tensor(slots, device);
  out.rows = index_tensor(rows, device);
  return out;
}

// Prefix rows of all sequences, padded to the widest lane.
struct PaddedPrefix {
  Tensor keys, values;        // [N, P, K, D]
  Tensor bias;                // [N]
  Tensor valid;               // [N, P]: which rows exist
  std::vector<int64_t> rows;  // [N]: how many
};

Tensor widened(const Tensor& rows, const Tensor& scale, int64_t sequences, int64_t prefix_rows) {
  Tensor all = rows.unsqueeze(0).expand({sequences, -1, -1, -1});
  if (scale.defined()) all = all * scale.to(rows.scalar_type()).view({-1, 1, 1, 1});
  return at::constant_pad_nd(all, {0, 0, 0, 0, 0, prefix_rows - rows.size(0)});
}

PaddedPrefix padded_prefix(const std::vector<LanePrefix>& prefixes, int64_t sequences,
                           int64_t heads, int64_t width, const at::TensorOptions& options) {
  int64_t prefix_rows = 0;
  std::vector<const LanePrefix*> order;
  for (const LanePrefix& lane : prefixes) {
    prefix_rows = std::max(prefix_rows, lane.keys.size(0));
    if (lane.end_sequence > lane.first_sequence) order.push_back(&lane);
  }
  std::sort(order.begin(), order.end(),
            [](auto* a, auto* b) { return a->first_sequence < b->first_sequence; });
  std::vector<Tensor> keys, values, bias, valid;
  std::vector<int64_t> rows;
  const auto without = [&](int64_t count) {
    keys.push_back(at::zeros({count, prefix_rows, heads, width}, options));
    values.push_back(keys.back());
    bias.push_back(at::zeros({count}, options));
    valid.push_back(at::zeros({count, prefix_rows}, options.dtype(at::kBool)));
    rows.insert(rows.end(), static_cast<size_t>(count), 0);
  };
  int64_t next = 0;
  for (const LanePrefix* lane : order) {
    const int64_t count = lane->end_sequence - lane->first_sequence, own_rows = lane->keys.size(0);
    without(lane->first_sequence - next);
    keys.push_back(widened(lane->keys.to(options), lane->key_scale, count, prefix_rows));
    values.push_back(widened(lane->values.to(options), lane->value_scale, count, prefix_rows));
    bias.push_back(lane->logit_bias.defined() ? lane->logit_bias.to(options)
                                              : at::zeros({count}, options));
    valid.push_back(at::arange(prefix_rows, options.dtype(at::kLong))
                        .lt(own_rows)
                        .unsqueeze(0)
                        .expand({count, -1}));
    rows.insert(rows.end(), static_cast<size_t>(count), own_rows);
    next = lane->end_sequence;
  }
  without(sequences - next);
  return {at::cat(keys), at::cat(values), at::cat(bias), at::cat(valid), std::move(rows)};
}

// [N, H, L, M]: the table's column for every (key position - query position) of `distance` [N, 1,
// L, M]; 0 for prefix rows.
Tensor distance_biases(const Tensor& table, const Tensor& distance, int64_t prefix_rows) {
  const int64_t last = table.size(1) - 1;
  const Tensor column = (distance + last / 2).clamp(0, last);  // padding may lie outside
  const Tensor biases = at::index(table, {{}, column.reshape(-1)})
                            .view({-1, column.size(0), column.size(2), column.size(3)});
  const Tensor is_key = at::arange(column.size(3), distance.options()).ge(prefix_rows);
  return biases.transpose(0, 1).masked_fill(is_key.bitwise_not(), 0.0);
}

// [N, H, L, M]. Dropout counts the columns of K', whose prefix is as long as its lane's; here it is
// padded to the widest.
Tensor probability_mask(const Spans& spans, const AttentionOptions& options,
                        const PaddedPrefix& prefix, const Tensor& position, const Tensor& logits) {
  const int64_t sequences = logits.size(0), heads = logits.size(1), length = logits.size(2),
                columns = logits.size(3);
  std::vector<int64_t> high;     // [N * H], of row_name(example, head, position)
  std::vector<int64_t> missing;  // [N]: rows of padding behind the prefix
  for (size_t n = 0; n < spans.sequences.size(); ++n) {
    for (int64_t head = 0; head < heads; ++head)
      high.push_back(static_cast<int64_t>(row_name(spans.sequences[n].example, head, 0).high));
    missing.push_back(prefix.valid.size(1) - prefix.rows[n]);
  }
  const Tensor names =
      index_tensor(high, logits.device()).view({sequences, heads, 1}).expand({-1, -1, length});
  const Tensor positions = position.view({sequences, 1, length}).expand({-1, heads, -1});
  LaneDropouts lanes = options.dropout;  // of sequences; here every head has `length` rows of each
  for (LaneDropout& lane : lanes) lane.end = std::min(lane.end, sequences) * heads * length;
  const Tensor mask = drop_mask(lanes, {names.reshape({-1}), positions.reshape({-1})}, columns,
                                logits.scalar_type());
  const Tensor column = at::arange(columns, position.options());
  const Tensor is_key = column.ge(prefix.valid.size(1)).to(at::kLong);
  const Tensor in_lane =
      column - is_key * index_tensor(missing, logits.device()).view({-1, 1, 1, 1});
  return mask.view({sequences, heads, length, columns})
      .gather(3, in_lane.expand({-1, heads, length, -1}));
}

}  // namespace

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        std::shared_ptr<const Spans> spans, const AttentionOptions& options,
                        const std::vector<LanePrefix>& prefixes) {
  const int64_t heads = options.num_heads, key_heads = options.num_key_heads,
                width = q.size(1) / heads;
  const at::ScalarType type = accumulator_type(q.scalar_type());
  const at::TensorOptions inner = q.options().dtype(type), integers = q.options().dtype(at::kLong);
  const Padding queries = padding(*spans, q.device(), [](const Spans::Span& s) {
    return std::pair(s.query_begin, s.query_end);
  });
  const Padding keys = padding(
      *spans, q.device(), [](const Spans::Span& s) { return std::pair(s.key_begin, s.key_end); });
  if (queries.length == 0) return at::zeros_like(q) + 0 * q;  // no query, yet a graph
  const int64_t sequences = queries.sequences;
  const PaddedPrefix prefix = padded_prefix(prefixes, sequences, key_heads, width, inner);
  const int64_t prefix_rows = prefix.valid.size(1), columns = prefix_rows + keys.length;
  const auto for_query_heads = [&](const Tensor& own, const Tensor& matrix) {  // [N, H, M, D]
    const Tensor all = at::cat({own, keys.gathered(matrix, key_heads, type)}, 1);
    return all.transpose(1, 2).repeat_interleave(heads / key_heads, 1);
  };
  const Tensor padded_q = queries.gathered(q, heads, type).transpose(1, 2);  // [N, H, L, D]
  const Tensor padded_k = for_query_heads(prefix.keys, k),
               padded_v = for_query_heads(prefix.values, v);
  Tensor logits = at::matmul(padded_q * options.scale, padded_k.transpose(2, 3));  // [N, H, L, M]
  logits = logits + at::constant_pad_nd(prefix.bias.view({-1, 1}).expand({-1, prefix_rows}),
                                        {0, keys.length})
                        .view({sequences, 1, 1, columns});

  Tensor visible = at::cat({prefix.valid, keys.valid}, 1).view({sequences, 1, 1, columns});
  std::vector<int64_t> first;
  for (const Spans::Span& span : spans->sequences) first.push_back(span.first_position);
  const Tensor position = index_tensor(first, q.device()).view({-1, 1, 1, 1}) +
                          at::arange(queries.length, integers).view({1, 1, -1, 1});  // [N, 1, L, 1]
  const Tensor key = at::arange(columns, integers) - prefix_rows;                    // [M]
  if (options.is_causal) visible = visible.bitwise_and(key.le(position));
  if (options.window) {
    const Tensor is_near =
        key.ge(position - *options.window).bitwise_and(key.le(position + *options.window));
    visible = visible.bitwise_and(is_near.bitwise_or(key.lt(0)));
  }
  if (options.distance_bias.defined()) {
    logits = logits + distance_biases(options.distance_bias.to(type), key - position, prefix_rows);
  }
  // A padded row that sees nothing would be 0/0; it is dropped below, but its gradient must be
  // finite.
  Tensor weights =
      logits.masked_fill(visible.bitwise_not(), std::numeric_limits<float>::lowest()).softmax(-1);
  if (is_active(options.dropout))
    weights = weights * probability_mask(*spans, options, prefix, position, logits);
  const Tensor out =
      at::matmul(weights, padded_v).transpose(1, 2).reshape({-1, heads * width});  // [N * L, H*D]
  return at::zeros({q.size(0), q.size(1)}, inner)
      .index_copy(0, queries.rows, at::index(out, {queries.slots}))
      .to(q.scalar_type());
}

}  // namespace graft::plain
