// One call of packed attention as its tasks see it: typed pointers, the keys of one sequence and
// head, blocks of query rows. Internal to src/tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "tensor/attention_plan.h"
#include "tensor/attention_rows.h"
#include "tensor/chunk.h"
#include "tensor/dropout_bits.h"
#include "tensor/small_gemm.h"

namespace graft {

// Prefix rows in the accumulator's type, ready to read.
template <class A>
struct PrefixData {
  at::Tensor keys, values, key_scale, value_scale,
      logit_bias;  // contiguous; the last three may be undefined

  static A at(const at::Tensor& values, int64_t i, A otherwise) {
    return values.defined() ? values.const_data_ptr<A>()[i] : otherwise;
  }
};

template <class T>
struct Call {
  using A = typename Chunk<T>::Accumulator;

  const AttentionPlan& plan;
  at::Tensor q, k, v;  // kept so that the pointers below stay valid
  int64_t width;       // D
  int64_t wide;        // D rounded up to whole chunks
  bool drops;          // some sequence's probabilities are dropped out
  std::vector<PrefixData<A>> prefixes;
  at::Tensor distances;  // the distance bias, contiguous in the accumulator's type, or undefined

  Call(const AttentionPlan& the_plan, const at::Tensor& the_q, const at::Tensor& the_k,
       const at::Tensor& the_v, const at::Tensor& distance_bias,
       const std::vector<LanePrefix>& lanes)
      : plan(the_plan),
        q(the_q),
        k(the_k),
        v(the_v),
        width(q.size(1) / plan.options.num_heads),
        wide(padded(width)),
        drops(is_active(plan.options.dropout)) {
    const auto prepared = [&](const at::Tensor& tensor) {
      return tensor.defined() ? tensor.detach().to(accumulator_type(q.scalar_type())).contiguous()
                              : tensor;
    };
    distances = prepared(distance_bias);
    for (const LanePrefix& lane : lanes) {
      prefixes.push_back({prepared(lane.keys), prepared(lane.values), prepared(lane.key_scale),
                          prepared(lane.value_scale), prepared(lane.logit_bias)});
    }
  }

  int64_t key_head(int64_t head) const {
    return head / (plan.options.num_heads / plan.options.num_key_heads);
  }

  Rows<const T> rows_of(const at::Tensor& matrix, int64_t row, int64_t head) const {
    return Rows<const T>{matrix.const_data_ptr<T>() + head * width, matrix.stride(0)}.from(row);
  }

  // The first of the columns of the distance bias that belong to the keys 0, 1, ... of the query at
  // `position`.
  int64_t first_distance(int64_t position) const { return distances.size(1) / 2 - position; }
};

// The most query rows of a block under a causal mask or a window.
inline constexpr int64_t kCutRows = 48;

// A sequence as one head sees it: K' and V' = prefix rows, then keys.
template <class T>
struct SequenceKeys {
  using A = typename Chunk<T>::Accumulator;

  const Call<T>& call;
  const Spans::Span& span;
  int64_t head;                // of the keys
  int64_t prefix_rows, count;  // P, and P + number of keys
  const PrefixData<A>* prefix = nullptr;
  int64_t index_in_lane = 0;
  A bias = 0;
  int64_t behind = kNoLimit, ahead = kNoLimit;  // keys that a query sees before and after its own
  DropRate rate{0.0};
  RandomKey dropout_key;

  SequenceKeys(const Call<T>& the_call, int64_t sequence, int64_t key_head)
      : call(the_call),
        span(call.plan.spans->sequences[static_cast<size_t>(sequence)]),
        head(key_head),
        prefix_rows(call.plan.prefix_rows(sequence)),
        count(prefix_rows + span.key_end - span.key_begin) {
    const AttentionOptions& options = call.plan.options;
    if (options.window) behind = ahead = *options.window;
    if (options.is_causal) ahead = 0;
    if (call.drops) {
      const LaneDropout& dropout = dropout_of(call.plan.options.dropout, sequence);
      rate = DropRate(dropout.probability);
      dropout_key = dropout.key;
    }
    if (prefix_rows == 0) return;
    const auto lane = static_cast<size_t>(call.plan.lane_of[static_cast<size_t>(sequence)]);
    prefix = &call.prefixes[lane];
    index_in_lane = sequence - call.plan.lane_first[lane];
    bias = PrefixData<A>::at(prefix->logit_bias, index_in_lane, 0);
  }

  // float32 and float64 rows are read where they are.
  bool borrows() const {
    return std::is_same_v<T, A> && prefix_rows == 0 && call.width == call.wide;
  }

  // Room for `rows` rows of K' or V'; none where they are read in place.
  Scratch<A> room(int64_t rows) const {
    return borrows() ? Scratch<A>() : Scratch<A>(rows, call.wide);
  }

  // The rows [begin, end) of K', of V'. Rows in scratch are `wide`, and end in zeros.
  Rows<const A> keys(int64_t begin, int64_t end, const Scratch<A>& room) const {
    return read(call.k, true, begin, end, room);
  }
  Rows<const A> values(int64_t begin, int64_t end, const Scratch<A>& room) const {
    return read(call.v, false, begin, end, room);
  }

  // The end of the columns that query row i of the sequence sees.
  int64_t visible(int64_t i) const {
    return std::min(count, prefix_rows + span.first_position + i + 1 + ahead);
  }
  // The first of the keys that it sees, counted without the prefix.
  int64_t first_key(int64_t i) const {
    return std::max<int64_t>(0, span.first_position + i - behind);
  }
  // The column from which on the rows i, i + 1, ... are computed: that of a whole chunk, 0 with a
  // prefix, which all of them see.
  int64_t first_column(int64_t i) const { return prefix_rows > 0 ? 0 : first_key(i) / kPad * kPad; }
  bool has_window() const { return behind < kNoLimit; }
  // The most that a block of queries reads.
  int64_t block_columns() const {
    if (!has_window() || prefix_rows > 0) return count;
    return std::min(count, behind + std::min(ahead, behind) + kCutRows + kPad);
  }

 private:
  static constexpr int64_t kNoLimit = int64_t{1} << 60;

  Rows<const A> read(const at::Tensor& matrix, bool are_keys, int64_t begin, int64_t end,
                     const Scratch<A>& room) const {
    if constexpr (std::is_same_v<T, A>) {
      if (borrows()) return call.rows_of(matrix, span.key_begin + begin, head);
    }
    const int64_t own = std::max(begin, prefix_rows);  // the first row that is a key
    if (own < end) {
      copy_padded(call.rows_of(matrix, span.key_begin + own - prefix_rows, head),
                  room.rows().from(own - begin), end - own, call.width, A{1});
    }
    if (begin < prefix_rows) {
      const at::Tensor &rows = are_keys ? prefix->keys : prefix->values,
                       &scale = are_keys ? prefix->key_scale : prefix->value_scale;
      const Rows<const A> from{rows.const_data_ptr<A>() + head * call.width,
                               call.plan.options.num_key_heads * call.width};
      copy_padded(from.from(begin), room.rows(), std::min(end, prefix_rows) - begin, call.width,
                  PrefixData<A>::at(scale, index_in_lane, 1));
    }
    return room.rows();
  }
};

// The columns of a matrix from `first` on.
template <class A>
Rows<const A> columns_from(Rows<const A> matrix, int64_t first) {
  return {matrix.data + first, matrix.stride};
}

// All of K' and V' of a sequence, and what the products need of their transposes.
template <class T>
struct WholeKeys : SequenceKeys<T> {
  using A = typename Chunk<T>::Accumulator;

  Scratch<A> key_room, value_room;
  Rows<const A> all_keys, all_values;  // [count, D]
  Scratch<A> transposed_keys;          // [D, count], padded to whole chunks on both sides

  WholeKeys(const Call<T>& the_call, int64_t sequence, int64_t key_head)
      : SequenceKeys<T>(the_call, sequence, key_head),
        key_room(this->room(this->count)),
        value_room(this->room(this->count)),
        all_keys(this->keys(0, this->count, key_room)),
        all_values(this->values(0, this->count, value_room)),
        transposed_keys(the_call.wide, padded(this->count)) {
    transpose(all_keys, this->count, the_call.width, transposed_keys.rows());
  }

  Rows<const A> keys_from(int64_t first) const {
    return columns_from<A>(transposed_keys.rows(), first);
  }
};

// The query rows [begin, end) of a sequence, cut so that a block of logits stays small, over the
// columns [first, visible) of K'.
struct QueryBlock {
  int64_t begin, end;  // inside the sequence
  int64_t first;       // see SequenceKeys::first_column
  int64_t visible;     // end of the columns that the last row sees
};

// Query rows of a block over `columns` of K'. Under a causal mask or a window a block computes what
// any of its rows sees, so smaller blocks skip more; they are cut alike, in whole tiles, so that no
// small rest is left.
inline int64_t block_rows(const AttentionOptions& options, const Spans::Span& span,
                          int64_t columns) {
  constexpr int64_t kBlockValues = 1 << 16, kLeast = 12, kTile = 6;
  const int64_t queries = span.query_end - span.query_begin;
  int64_t rows = std::max(kLeast, kBlockValues / padded(std::max<int64_t>(columns, 1)));
  if ((options.is_causal || options.window) && queries > 0) {
    const int64_t blocks = (queries + kCutRows - 1) / kCutRows;
    rows = std::min(rows, ((queries + blocks - 1) / blocks + kTile - 1) / kTile * kTile);
  }
  return std::min(rows, queries);
}

template <class T, class F>
void for_blocks(const SequenceKeys<T>& keys, F f) {
  const int64_t queries = keys.span.query_end - keys.span.query_begin;
  const int64_t rows = block_rows(keys.call.plan.options, keys.span, keys.block_columns());
  for (int64_t begin = 0; begin < queries; begin += rows) {
    const int64_t end = std::min(queries, begin + rows);
    f(QueryBlock{begin, end, keys.first_column(begin), keys.visible(end - 1)});
  }
}

// -infinity for the keys that lie before the window of query row i, in a row of products with the
// columns from `first` on.
template <class T, class A>
void hide_before_window(const SequenceKeys<T>& keys, int64_t i, int64_t first, A* row) {
  std::fill(row + std::max(first, keys.prefix_rows) - first,
            row + std::min(keys.count, keys.prefix_rows + keys.first_key(i)) - first,
            -std::numeric_limits<A>::infinity());
}

// Turns products of query row i with the columns of K' from `first` on into logits: biases, and
// -infinity from the first column behind those that it sees. Returns the columns that are worth a
// look: whole chunks. Of the others nothing is written.
template <class T, class A>
int64_t finish_logits(const SequenceKeys<T>& keys, int64_t head, int64_t i, int64_t first, A* row) {
  const int64_t visible = keys.visible(i) - first, columns = padded(visible);
  std::fill(row + visible, row + columns, -std::numeric_limits<A>::infinity());
  for (int64_t c = 0; c < keys.prefix_rows; ++c) row[c] += keys.bias;
  const at::Tensor& table = keys.call.distances;
  if (table.defined()) {
    const A* from = table.const_data_ptr<A>() + head * table.size(1) +
                    keys.call.first_distance(keys.span.first_position + i) + first;
    add_row(from, row + keys.prefix_rows, visible - keys.prefix_rows);
  }
  return columns;
}

inline RowName mask_name(const Spans::Span& span, int64_t head, int64_t i) {
  return row_name(span.example, head, span.first_position + i);
}

}  // namespace graft
