// The idea: P = exp(logits - the logarithm of the denominator) is made again, and
//   dV = Pd^T dO,  dP = mask * (dO V^T),  dS = P * (dP - rowsum(P * dP)),  dQ = scale dS K,
//   dK = scale dS^T Q,
// with Pd = mask * P; the gradient of the biases is dS itself. Sequences that share keys, and query
// heads that share a key head, are summed inside one task, in order: no two threads write to one
// place, and the sums do not depend on the number of threads.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "tensor/attention_call.h"
#include "tensor/attention_kernels.h"
#include "tensor/parallel.h"

namespace graft {

namespace {

// Where the prefix gradients of one (sequence, key head) go; null where nobody asks.
template <class A>
struct LaneTarget {
  Rows<A> keys, values;
  A* bias = nullptr;

  template <class T>
  LaneTarget(const Call<T>& call, int64_t sequence, int64_t head, const AttentionWants& wants,
             const AttentionGradients& out) {
    if (call.plan.prefix_rows(sequence) == 0) return;
    const auto lane = static_cast<size_t>(call.plan.lane_of[static_cast<size_t>(sequence)]);
    const int64_t n = sequence - call.plan.lane_first[lane];
    const auto rows = [&](const at::Tensor& sums) {
      return Rows<A>{sums.mutable_data_ptr<A>() + n * sums.stride(0) + head * sums.stride(2),
                     sums.stride(1)};
    };
    if (wants.prefix_keys[lane]) keys = rows(out.lanes[lane].keys);
    if (wants.prefix_values[lane]) values = rows(out.lanes[lane].values);
    if (wants.prefix_bias[lane])
      bias = out.lanes[lane].bias.template mutable_data_ptr<A>() +
             n * out.lanes[lane].bias.stride(0) + head;
  }
};

// Where the other gradients of one (sequence, head) are added: row 0 of the first two is the first
// key of the sequence.
template <class A>
struct Targets {
  Rows<A> keys, values;
  A* distance_bias;  // of this head; null where nobody asks
};

// Adds the gradients of one (sequence, head) into its targets.
template <class T>
void attend_backward(const WholeKeys<T>& keys, int64_t sequence, int64_t head,
                     const at::Tensor& grad, const at::Tensor& log_sums,
                     const AttentionWants& wants, const AttentionGradients& out,
                     Rows<const typename Chunk<T>::Accumulator> transposed_values,
                     Targets<typename Chunk<T>::Accumulator> target) {
  using A = typename Chunk<T>::Accumulator;
  const Call<T>& call = keys.call;
  const Spans::Span& span = keys.span;
  const int64_t width = call.width, wide = call.wide, prefix = keys.prefix_rows;
  const int64_t most_columns = keys.block_columns(),
                most_rows = block_rows(call.plan.options, span, most_columns),
                stride = padded(most_columns);
  const Scratch<A> q(most_rows, wide), d_o(most_rows, wide), p(most_rows, stride),
      d_p(most_rows, stride), mask(1, stride);
  const A* log_sum = log_sums.const_data_ptr<A>() + head * call.q.size(0) + span.query_begin;
  const A scale = static_cast<A>(call.plan.options.scale);
  const Rows<const T> grad_rows{
      grad.const_data_ptr<T>() + span.query_begin * grad.size(1) + head * width, grad.size(1)};
  const LaneTarget<A> lane(call, sequence, call.key_head(head), wants, out);
  const bool wants_logits = wants.q || wants.k || lane.keys.data != nullptr ||
                            lane.bias != nullptr || wants.distance_bias;

  for_blocks(keys, [&](QueryBlock block) {
    const int64_t rows = block.end - block.begin, first = block.first,
                  columns = padded(block.visible - first), own = block.visible - first - prefix;
    copy_padded(call.rows_of(call.q, span.query_begin + block.begin, head), q.rows(), rows, width,
                scale);
    copy_padded(grad_rows.from(block.begin), d_o.rows(), rows, width, A{1});
    multiply<A>(rows, columns, width, q.factor(), keys.keys_from(first), p.rows());
    if (wants_logits)
      multiply<A>(rows, columns, width, d_o.factor(), columns_from(transposed_values, first),
                  d_p.rows());
    if (keys.has_window()) {
      for (int64_t i = 0; i < rows; ++i)
        hide_before_window(keys, block.begin + i, first, p.rows().row(i));
    }
    for (int64_t i = 0; i < rows; ++i) {
      A *p_row = p.rows().row(i), *d_row = d_p.rows().row(i);
      const int64_t seen = finish_logits(keys, head, block.begin + i, first, p_row);
      exponentiate(p_row, seen, log_sum[block.begin + i]);
      if (keys.rate.active()) {
        fill_mask(keys.dropout_key, mask_name(span, head, block.begin + i), keys.rate, first, seen,
                  mask.data.get());
        if (wants_logits) apply_mask(d_row, mask.data.get(), seen);
      }
      if (wants_logits) softmax_backward(p_row, d_row, seen);
      if (keys.rate.active()) apply_mask(p_row, mask.data.get(), seen);
      std::fill(p_row + seen, p_row + columns, A{0});
      std::fill(d_row + seen, d_row + columns, A{0});
      if (target.distance_bias != nullptr) {
        const int64_t column = call.first_distance(span.first_position + block.begin + i) + first;
        add_row(d_row + prefix, target.distance_bias + column,
                keys.visible(block.begin + i) - first - prefix);
      }
    }
    // Columns of P and dS are rows of dV' and dK': the prefix first, then the keys.
    const auto add_columns = [&](const Scratch<A>& matrix, int64_t from, int64_t count,
                                 const Scratch<A>& by, Rows<A> sum) {
      multiply<A>(count, wide, rows, Factor<A>{matrix.data.get() + from, 1, stride}, by.rows(), sum,
                  true);
    };
    if (wants.v && own > 0) add_columns(p, prefix, own, d_o, target.values.from(first));
    if (wants.k && own > 0) add_columns(d_p, prefix, own, q, target.keys.from(first));
    if (lane.values.data != nullptr) add_columns(p, 0, prefix, d_o, lane.values);
    if (lane.keys.data != nullptr) add_columns(d_p, 0, prefix, q, lane.keys);
    if (lane.bias != nullptr) {
      for (int64_t i = 0; i < rows; ++i)
        *lane.bias = std::accumulate(d_p.rows().row(i), d_p.rows().row(i) + prefix, *lane.bias);
    }
    if (wants.q) {
      multiply<A>(rows, wide, block.visible - first, d_p.factor(), keys.all_keys.from(first),
                  q.rows());  // q is free now
      T* to = out.q.mutable_data_ptr<T>() + (span.query_begin + block.begin) * out.q.size(1) +
              head * width;
      copy_rows<A>(q.rows(), Rows<T>{to, out.q.size(1)}, rows, width, scale);
    }
  });
}

// All sequences of a group, all query heads of one key head.
template <class T>
void group_backward(const Call<T>& call, size_t group_index, int64_t kv_head,
                    const at::Tensor& grad, const at::Tensor& log_sums, const AttentionWants& wants,
                    const AttentionGradients& out) {
  using A = typename Chunk<T>::Accumulator;
  const KeyGroup& group = call.plan.key_groups[group_index];
  const int64_t shared = call.plan.options.num_heads / call.plan.options.num_key_heads;
  const int64_t num_keys = group.key_end - group.key_begin;
  const Scratch<A> d_keys(wants.k ? num_keys : 0, call.wide),
      d_values(wants.v ? num_keys : 0, call.wide);
  if (wants.k) std::fill_n(d_keys.data.get(), num_keys * call.wide, A{0});
  if (wants.v) std::fill_n(d_values.data.get(), num_keys * call.wide, A{0});
  for (const int64_t sequence : group.sequences) {
    const WholeKeys<T> keys(call, sequence, kv_head);
    const Scratch<A> values(call.wide, padded(keys.count));
    transpose(keys.all_values, keys.count, call.width, values.rows());
    const int64_t offset =
        call.plan.spans->sequences[static_cast<size_t>(sequence)].key_begin - group.key_begin;
    for (int64_t head = kv_head * shared; head < (kv_head + 1) * shared; ++head) {
      A* distances = nullptr;
      if (wants.distance_bias) {
        const auto place = static_cast<int64_t>(group_index) * call.plan.options.num_heads + head;
        distances =
            out.distance_bias.template mutable_data_ptr<A>() + place * call.distances.size(1);
      }
      attend_backward<T>(keys, sequence, head, grad, log_sums, wants, out, values.rows(),
                         {d_keys.rows().from(offset), d_values.rows().from(offset), distances});
    }
  }
  const auto write = [&](const at::Tensor& to, const Scratch<A>& from) {
    T* start = to.mutable_data_ptr<T>() + group.key_begin * to.size(1) + kv_head * call.width;
    copy_rows<A>(from.rows(), Rows<T>{start, to.size(1)}, num_keys, call.width, A{1});
  };
  if (wants.k) write(out.k, d_keys);
  if (wants.v) write(out.v, d_values);
}

// [G, H, 2R - 1] -> [H, 2R - 1], group after group whatever the number of threads.
template <class A>
at::Tensor sum_of_groups(const at::Tensor& parts) {
  at::Tensor sum = at::zeros({parts.size(1), parts.size(2)}, parts.options());
  const int64_t count = sum.numel();
  for (int64_t group = 0; group < parts.size(0); ++group) {
    add_row(parts.const_data_ptr<A>() + group * count, sum.mutable_data_ptr<A>(), count);
  }
  return sum;
}

template <class T>
AttentionGradients backward(const Call<T>& call, const at::Tensor& grad, const at::Tensor& log_sums,
                            const AttentionWants& wants) {
  const AttentionPlan& plan = call.plan;
  const auto gradient_of = [](const at::Tensor& x, bool wanted, bool covered) {
    if (!wanted) return at::Tensor();
    return covered ? at::empty(x.sizes(), x.options()) : at::zeros(x.sizes(), x.options());
  };
  AttentionGradients out{gradient_of(call.q, wants.q, plan.covers_queries),
                         gradient_of(call.k, wants.k, plan.covers_keys),
                         gradient_of(call.v, wants.v, plan.covers_keys),
                         {},
                         {}};
  const auto options = call.q.options().dtype(accumulator_type(call.q.scalar_type()));
  const auto groups = static_cast<int64_t>(plan.key_groups.size());
  if (wants.distance_bias)
    out.distance_bias =
        at::zeros({groups, plan.options.num_heads, call.distances.size(1)}, options);
  for (size_t lane = 0; lane < plan.lane_rows.size(); ++lane) {
    const int64_t sequences = plan.lane_end[lane] - plan.lane_first[lane],
                  heads = plan.options.num_key_heads;
    const std::array<int64_t, 4> shape{sequences, plan.lane_rows[lane], heads, call.wide};
    out.lanes.push_back(
        {wants.prefix_keys[lane] ? at::zeros(shape, options) : at::Tensor(),
         wants.prefix_values[lane] ? at::zeros(shape, options) : at::Tensor(),
         wants.prefix_bias[lane] ? at::zeros({sequences, heads}, options) : at::Tensor()});
  }
  const int64_t heads = plan.options.num_key_heads;
  parallel_tasks(groups * heads, [&](int64_t task) {
    group_backward(call, static_cast<size_t>(task / heads), task % heads, grad, log_sums, wants,
                   out);
  });
  for (LaneSums& lane : out.lanes) {
    if (lane.keys.defined()) lane.keys = lane.keys.narrow(3, 0, call.width);
    if (lane.values.defined()) lane.values = lane.values.narrow(3, 0, call.width);
  }
  if (wants.distance_bias)
    out.distance_bias = sum_of_groups<typename Chunk<T>::Accumulator>(out.distance_bias);
  return out;
}

}  // namespace

AttentionGradients attention_backward(const AttentionPlan& plan, const AttentionInputs& inputs,
                                      const at::Tensor& grad, const at::Tensor& log_sums,
                                      const AttentionWants& wants) {
  AttentionGradients out;
  with_scalar(inputs.q.scalar_type(), [&]<class T>(T*) {
    out = backward(Call<T>(plan, inputs.q, inputs.k, inputs.v, inputs.distance_bias, inputs.lanes),
                   grad, log_sums, wants);
  });
  return out;
}

}  // namespace graft
