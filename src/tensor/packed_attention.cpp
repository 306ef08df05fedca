// The idea: one task per (sequence, head), or per (keys, key head) in backward, over small dense products. A task widens what it
// needs to the accumulator's type, works in blocks of query rows so that its scratch stays in the second-level cache, and keeps
// per query row only the logarithm of the softmax denominator. Backward recomputes P = exp(logits - that logarithm) and uses
//   dV = Pd^T dO,  dP = mask * (dO V^T),  dS = P * (dP - rowsum(P * dP)),  dQ = scale dS K,  dK = scale dS^T Q,
// with Pd = mask * P. Sequences that share keys, and query heads that share a key head, are summed inside one task, in order:
// no two threads write to one place, and the sums do not depend on the number of threads.
#include "tensor/packed_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "tensor/attention_plan.h"
#include "tensor/attention_rows.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dropout_bits.h"
#include "tensor/parallel.h"
#include "tensor/small_gemm.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kBlockValues = 1 << 16;  // values of a [query rows, keys] block

// ---- one call

// Prefix rows in the accumulator's type, ready to read.
template <class A>
struct PrefixData {
  at::Tensor keys, values, key_scale, value_scale, logit_bias;  // contiguous; the last three may be undefined

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
  DropRate rate;
  std::vector<PrefixData<A>> prefixes;

  Call(const AttentionPlan& the_plan, const at::Tensor& the_q, const at::Tensor& the_k, const at::Tensor& the_v,
       const std::vector<LanePrefix>& lanes)
      : plan(the_plan),
        q(the_q),
        k(the_k),
        v(the_v),
        width(q.size(1) / plan.options.num_heads),
        wide(padded(width)),
        rate(plan.options.dropout) {
    const auto prepared = [&](const at::Tensor& tensor) {
      return tensor.defined() ? tensor.detach().to(accumulator_type(q.scalar_type())).contiguous() : tensor;
    };
    for (const LanePrefix& lane : lanes) {
      prefixes.push_back({prepared(lane.keys), prepared(lane.values), prepared(lane.key_scale), prepared(lane.value_scale),
                          prepared(lane.logit_bias)});
    }
  }

  int64_t key_head(int64_t head) const { return head / (plan.options.num_heads / plan.options.num_key_heads); }

  Rows<const T> rows_of(const at::Tensor& matrix, int64_t row, int64_t head) const {
    return Rows<const T>{matrix.const_data_ptr<T>() + head * width, matrix.stride(0)}.from(row);
  }
};

// A sequence as one head sees it: K' and V' = prefix rows, then keys. Rows of scratch are `wide`, and end in zeros.
template <class T>
struct SequenceKeys {
  using A = typename Chunk<T>::Accumulator;

  int64_t prefix_rows, count;  // P, and P + number of keys
  A bias = 0;
  Rows<const A> keys, values;  // [count, D]
  Scratch<A> transposed_keys;  // [D, count], padded to whole chunks on both sides
  Scratch<A> key_scratch, value_scratch;

  SequenceKeys(const Call<T>& call, int64_t sequence, int64_t head) {
    const Spans::Span& span = call.plan.spans->sequences[static_cast<size_t>(sequence)];
    prefix_rows = call.plan.prefix_rows(sequence);
    count = prefix_rows + span.key_end - span.key_begin;
    if (!borrow(call, span, head)) copy(call, sequence, span, head);
    transposed_keys = Scratch<A>(call.wide, padded(count));
    transpose(keys, count, call.width, transposed_keys.rows());
  }

 private:
  // Reads float32 and float64 rows where they are.
  bool borrow(const Call<T>& call, const Spans::Span& span, int64_t head) {
    if constexpr (std::is_same_v<T, A>) {
      if (prefix_rows > 0 || call.width != call.wide) return false;
      keys = call.rows_of(call.k, span.key_begin, head);
      values = call.rows_of(call.v, span.key_begin, head);
      return true;
    }
    return false;
  }

  void copy(const Call<T>& call, int64_t sequence, const Spans::Span& span, int64_t head) {
    key_scratch = Scratch<A>(count, call.wide);
    value_scratch = Scratch<A>(count, call.wide);
    keys = key_scratch.rows();
    values = value_scratch.rows();
    const int64_t num_keys = count - prefix_rows;
    copy_padded(call.rows_of(call.k, span.key_begin, head), key_scratch.rows().from(prefix_rows), num_keys, call.width, A{1});
    copy_padded(call.rows_of(call.v, span.key_begin, head), value_scratch.rows().from(prefix_rows), num_keys, call.width, A{1});
    if (prefix_rows == 0) return;
    const auto lane = static_cast<size_t>(call.plan.lane_of[static_cast<size_t>(sequence)]);
    const PrefixData<A>& prefix = call.prefixes[lane];
    const int64_t n = sequence - call.plan.lane_first[lane], stride = call.plan.options.num_key_heads * call.width;
    const auto rows_of = [&](const at::Tensor& rows) {
      return Rows<const A>{rows.const_data_ptr<A>() + head * call.width, stride};
    };
    copy_padded(rows_of(prefix.keys), key_scratch.rows(), prefix_rows, call.width, PrefixData<A>::at(prefix.key_scale, n, 1));
    copy_padded(rows_of(prefix.values), value_scratch.rows(), prefix_rows, call.width,
                PrefixData<A>::at(prefix.value_scale, n, 1));
    bias = PrefixData<A>::at(prefix.logit_bias, n, 0);
  }
};

// The query rows [begin, end) of a sequence, cut so that a block of logits stays small.
struct QueryBlock {
  int64_t begin, end;  // inside the sequence
  int64_t visible;     // columns that the last row sees
};

// Query rows of a block over `count` keys.
inline int64_t block_rows(const Spans::Span& span, int64_t count) {
  return std::min(std::max<int64_t>(12, kBlockValues / padded(count)), span.query_end - span.query_begin);
}

template <class T, class F>
void for_blocks(const Call<T>& call, const Spans::Span& span, int64_t prefix_rows, int64_t count, F f) {
  const int64_t queries = span.query_end - span.query_begin, rows = block_rows(span, count);
  for (int64_t begin = 0; begin < queries; begin += rows) {
    const int64_t end = std::min(queries, begin + rows);
    const int64_t visible = call.plan.options.is_causal ? std::min(count, prefix_rows + span.first_position + end) : count;
    f(QueryBlock{begin, end, visible});
  }
}

// How many columns query row i of a sequence sees.
template <class T>
int64_t visible_columns(const Call<T>& call, const Spans::Span& span, int64_t prefix_rows, int64_t count, int64_t i) {
  return call.plan.options.is_causal ? std::min(count, prefix_rows + span.first_position + i + 1) : count;
}

RowName mask_name(const Spans::Span& span, int64_t head, int64_t i) {
  return row_name(span.example, head, span.first_position + i);
}

// ---- forward

template <class T>
void attend(const Call<T>& call, int64_t sequence, int64_t head, const at::Tensor& out, const at::Tensor& log_sums) {
  using A = typename Chunk<T>::Accumulator;
  const Spans::Span& span = call.plan.spans->sequences[static_cast<size_t>(sequence)];
  const SequenceKeys<T> keys(call, sequence, call.key_head(head));
  const int64_t most_rows = block_rows(span, keys.count), stride = padded(keys.count);
  const Scratch<A> q(most_rows, call.wide), p(most_rows, stride), o(most_rows, call.wide), mask(1, stride);
  A* log_sum = log_sums.defined() ? log_sums.mutable_data_ptr<A>() + head * call.q.size(0) + span.query_begin : nullptr;
  const Rows<T> to{out.mutable_data_ptr<T>() + span.query_begin * out.size(1) + head * call.width, out.size(1)};

  for_blocks(call, span, keys.prefix_rows, keys.count, [&](QueryBlock block) {
    const int64_t rows = block.end - block.begin, columns = padded(block.visible);
    copy_padded(call.rows_of(call.q, span.query_begin + block.begin, head), q.rows(), rows, call.width,
                static_cast<A>(call.plan.options.scale));
    multiply<A>(rows, columns, call.width, q.factor(), keys.transposed_keys.rows(), p.rows());
    for (int64_t i = 0; i < rows; ++i) {
      A* row = p.rows().row(i);
      finish_logits(row, visible_columns(call, span, keys.prefix_rows, keys.count, block.begin + i), columns, keys.prefix_rows,
                    keys.bias);
      const A largest = largest_of(row, columns), sum = exponentiate(row, columns, largest);
      if (log_sum != nullptr) log_sum[block.begin + i] = largest + std::log(sum);
      if (call.rate.active()) {
        fill_mask(call.plan.options.dropout_key, mask_name(span, head, block.begin + i), call.rate, columns, mask.data.get());
        apply_mask(row, mask.data.get(), columns);
      }
      scale_row(row, columns, A{1} / sum);
    }
    multiply<A>(rows, call.wide, block.visible, p.factor(), keys.values, o.rows());
    copy_rows<A>(o.rows(), to.from(block.begin), rows, call.width, A{1});
  });
}

template <class T>
at::Tensor forward(const Call<T>& call, const at::Tensor& log_sums) {
  const int64_t heads = call.plan.options.num_heads;
  const at::Tensor out = call.plan.covers_queries ? at::empty({call.q.size(0), call.q.size(1)}, call.q.options())
                                                  : at::zeros({call.q.size(0), call.q.size(1)}, call.q.options());
  parallel_tasks(static_cast<int64_t>(call.plan.by_cost.size()) * heads, [&](int64_t task) {
    attend(call, call.plan.by_cost[static_cast<size_t>(task / heads)], task % heads, out, log_sums);
  });
  return out;
}

// ---- backward

struct Wants {
  bool q, k, v;
  std::vector<bool> prefix_keys, prefix_values, prefix_bias;  // per lane: anything that needs the gradient of K' (V', the logits)
};

// Gradients in the accumulator's type while they are summed. Of a lane: [sequences, P, K, wide] twice and [sequences, K].
struct LaneSums {
  at::Tensor keys, values, bias;
};

struct Gradients {
  at::Tensor q, k, v;
  std::vector<LaneSums> lanes;
};

// Where the prefix gradients of one (sequence, key head) go; null where nobody asks.
template <class A>
struct LaneTarget {
  Rows<A> keys, values;
  A* bias = nullptr;

  template <class T>
  LaneTarget(const Call<T>& call, int64_t sequence, int64_t head, const Wants& wants, const Gradients& out) {
    if (call.plan.prefix_rows(sequence) == 0) return;
    const auto lane = static_cast<size_t>(call.plan.lane_of[static_cast<size_t>(sequence)]);
    const int64_t n = sequence - call.plan.lane_first[lane];
    const auto rows = [&](const at::Tensor& sums) {
      return Rows<A>{sums.mutable_data_ptr<A>() + n * sums.stride(0) + head * sums.stride(2), sums.stride(1)};
    };
    if (wants.prefix_keys[lane]) keys = rows(out.lanes[lane].keys);
    if (wants.prefix_values[lane]) values = rows(out.lanes[lane].values);
    if (wants.prefix_bias[lane])
      bias = out.lanes[lane].bias.template mutable_data_ptr<A>() + n * out.lanes[lane].bias.stride(0) + head;
  }
};

// Adds the gradients of one (sequence, head) into d_keys and d_values, whose row 0 is the first key of the sequence.
template <class T>
void attend_backward(const Call<T>& call, int64_t sequence, int64_t head, const SequenceKeys<T>& keys, const at::Tensor& grad,
                     const at::Tensor& log_sums, const Wants& wants, const Gradients& out,
                     Rows<const typename Chunk<T>::Accumulator> transposed_values, Rows<typename Chunk<T>::Accumulator> d_keys,
                     Rows<typename Chunk<T>::Accumulator> d_values) {
  using A = typename Chunk<T>::Accumulator;
  const Spans::Span& span = call.plan.spans->sequences[static_cast<size_t>(sequence)];
  const int64_t width = call.width, wide = call.wide, prefix = keys.prefix_rows;
  const int64_t most_rows = block_rows(span, keys.count), stride = padded(keys.count);
  const Scratch<A> q(most_rows, wide), d_o(most_rows, wide), p(most_rows, stride), d_p(most_rows, stride), mask(1, stride);
  const A* log_sum = log_sums.const_data_ptr<A>() + head * call.q.size(0) + span.query_begin;
  const A scale = static_cast<A>(call.plan.options.scale);
  const Rows<const T> grad_rows{grad.const_data_ptr<T>() + span.query_begin * grad.size(1) + head * width, grad.size(1)};
  const LaneTarget<A> lane(call, sequence, call.key_head(head), wants, out);
  const bool wants_logits = wants.q || wants.k || lane.keys.data != nullptr || lane.bias != nullptr;

  for_blocks(call, span, prefix, keys.count, [&](QueryBlock block) {
    const int64_t rows = block.end - block.begin, columns = padded(block.visible), own = block.visible - prefix;
    copy_padded(call.rows_of(call.q, span.query_begin + block.begin, head), q.rows(), rows, width, scale);
    copy_padded(grad_rows.from(block.begin), d_o.rows(), rows, width, A{1});
    multiply<A>(rows, columns, width, q.factor(), keys.transposed_keys.rows(), p.rows());
    if (wants_logits) multiply<A>(rows, columns, width, d_o.factor(), transposed_values, d_p.rows());
    for (int64_t i = 0; i < rows; ++i) {
      A *p_row = p.rows().row(i), *d_row = d_p.rows().row(i);
      finish_logits(p_row, visible_columns(call, span, prefix, keys.count, block.begin + i), columns, prefix, keys.bias);
      exponentiate(p_row, columns, log_sum[block.begin + i]);
      if (call.rate.active()) {
        fill_mask(call.plan.options.dropout_key, mask_name(span, head, block.begin + i), call.rate, columns, mask.data.get());
        if (wants_logits) apply_mask(d_row, mask.data.get(), columns);
      }
      if (wants_logits) softmax_backward(p_row, d_row, columns);
      if (call.rate.active()) apply_mask(p_row, mask.data.get(), columns);
    }
    // Columns of P and dS are rows of dV' and dK': the prefix first, then the keys.
    const auto add_columns = [&](const Scratch<A>& matrix, int64_t first, int64_t count, const Scratch<A>& by, Rows<A> sum) {
      multiply<A>(count, wide, rows, Factor<A>{matrix.data.get() + first, 1, stride}, by.rows(), sum, true);
    };
    if (wants.v && own > 0) add_columns(p, prefix, own, d_o, d_values);
    if (wants.k && own > 0) add_columns(d_p, prefix, own, q, d_keys);
    if (lane.values.data != nullptr) add_columns(p, 0, prefix, d_o, lane.values);
    if (lane.keys.data != nullptr) add_columns(d_p, 0, prefix, q, lane.keys);
    if (lane.bias != nullptr) {
      for (int64_t i = 0; i < rows; ++i) *lane.bias = std::accumulate(d_p.rows().row(i), d_p.rows().row(i) + prefix, *lane.bias);
    }
    if (wants.q) {
      multiply<A>(rows, wide, block.visible, d_p.factor(), keys.keys, q.rows());  // q is free now
      T* to = out.q.mutable_data_ptr<T>() + (span.query_begin + block.begin) * out.q.size(1) + head * width;
      copy_rows<A>(q.rows(), Rows<T>{to, out.q.size(1)}, rows, width, scale);
    }
  });
}

// All sequences of a group, all query heads of one key head.
template <class T>
void group_backward(const Call<T>& call, const KeyGroup& group, int64_t kv_head, const at::Tensor& grad,
                    const at::Tensor& log_sums, const Wants& wants, const Gradients& out) {
  using A = typename Chunk<T>::Accumulator;
  const int64_t shared = call.plan.options.num_heads / call.plan.options.num_key_heads;
  const int64_t num_keys = group.key_end - group.key_begin;
  const Scratch<A> d_keys(wants.k ? num_keys : 0, call.wide), d_values(wants.v ? num_keys : 0, call.wide);
  if (wants.k) std::fill_n(d_keys.data.get(), num_keys * call.wide, A{0});
  if (wants.v) std::fill_n(d_values.data.get(), num_keys * call.wide, A{0});
  for (const int64_t sequence : group.sequences) {
    const SequenceKeys<T> keys(call, sequence, kv_head);
    const Scratch<A> values(call.wide, padded(keys.count));
    transpose(keys.values, keys.count, call.width, values.rows());
    const int64_t offset = call.plan.spans->sequences[static_cast<size_t>(sequence)].key_begin - group.key_begin;
    for (int64_t head = kv_head * shared; head < (kv_head + 1) * shared; ++head) {
      attend_backward<T>(call, sequence, head, keys, grad, log_sums, wants, out, values.rows(), d_keys.rows().from(offset),
                         d_values.rows().from(offset));
    }
  }
  const auto write = [&](const at::Tensor& to, const Scratch<A>& from) {
    T* start = to.mutable_data_ptr<T>() + group.key_begin * to.size(1) + kv_head * call.width;
    copy_rows<A>(from.rows(), Rows<T>{start, to.size(1)}, num_keys, call.width, A{1});
  };
  if (wants.k) write(out.k, d_keys);
  if (wants.v) write(out.v, d_values);
}

template <class T>
Gradients backward(const Call<T>& call, const at::Tensor& grad, const at::Tensor& log_sums, const Wants& wants) {
  const AttentionPlan& plan = call.plan;
  const auto gradient_of = [](const at::Tensor& x, bool wanted, bool covered) {
    if (!wanted) return at::Tensor();
    return covered ? at::empty(x.sizes(), x.options()) : at::zeros(x.sizes(), x.options());
  };
  Gradients out{gradient_of(call.q, wants.q, plan.covers_queries),
                gradient_of(call.k, wants.k, plan.covers_keys),
                gradient_of(call.v, wants.v, plan.covers_keys),
                {}};
  const auto options = call.q.options().dtype(accumulator_type(call.q.scalar_type()));
  for (size_t lane = 0; lane < plan.lane_rows.size(); ++lane) {
    const int64_t sequences = plan.lane_end[lane] - plan.lane_first[lane], heads = plan.options.num_key_heads;
    const std::array<int64_t, 4> shape{sequences, plan.lane_rows[lane], heads, call.wide};
    out.lanes.push_back({wants.prefix_keys[lane] ? at::zeros(shape, options) : at::Tensor(),
                         wants.prefix_values[lane] ? at::zeros(shape, options) : at::Tensor(),
                         wants.prefix_bias[lane] ? at::zeros({sequences, heads}, options) : at::Tensor()});
  }
  const int64_t heads = plan.options.num_key_heads;
  parallel_tasks(static_cast<int64_t>(plan.key_groups.size()) * heads, [&](int64_t task) {
    group_backward(call, plan.key_groups[static_cast<size_t>(task / heads)], task % heads, grad, log_sums, wants, out);
  });
  for (LaneSums& lane : out.lanes) {
    if (lane.keys.defined()) lane.keys = lane.keys.narrow(3, 0, call.width);
    if (lane.values.defined()) lane.values = lane.values.narrow(3, 0, call.width);
  }
  return out;
}

// ---- autograd

// Every tensor of a call in one list: q, k, v, then keys, values, key_scale, value_scale, logit_bias of every lane. Autograd
// takes no undefined tensors, so it sees the defined ones, and `place` says where each of the list went (-1: undefined).
constexpr size_t kMatrices = 3, kLaneTensors = 5;

variable_list flattened(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<LanePrefix>& prefixes) {
  variable_list flat{q, k, v};
  for (const LanePrefix& lane : prefixes) {
    for (const at::Tensor& each : {lane.keys, lane.values, lane.key_scale, lane.value_scale, lane.logit_bias})
      flat.push_back(each);
  }
  return flat;
}

struct Recorded {
  std::shared_ptr<const AttentionPlan> plan;
  std::vector<int64_t> place;

  variable_list restored(at::TensorList defined) const {
    variable_list flat;
    for (const int64_t i : place) flat.push_back(i < 0 ? at::Tensor() : defined[static_cast<size_t>(i)]);
    return flat;
  }
};

std::vector<LanePrefix> lanes_of(const AttentionPlan& plan, const variable_list& flat) {
  std::vector<LanePrefix> lanes;
  for (size_t lane = 0; lane < plan.lane_rows.size(); ++lane) {
    const size_t i = kMatrices + lane * kLaneTensors;
    lanes.push_back({plan.lane_first[lane], plan.lane_end[lane], flat[i], flat[i + 1], flat[i + 2], flat[i + 3], flat[i + 4]});
  }
  return lanes;
}

at::Tensor run_forward(const AttentionPlan& plan, const variable_list& flat, const at::Tensor& log_sums) {
  at::Tensor out;
  with_scalar(flat[0].scalar_type(),
              [&]<class T>(T*) { out = forward(Call<T>(plan, flat[0], flat[1], flat[2], lanes_of(plan, flat)), log_sums); });
  return out;
}

// From the gradient of the scaled rows of each sequence [N, P, K, D]: that of the rows themselves, and of the scale.
at::Tensor rows_gradient(const at::Tensor& sums, const at::Tensor& scale, const at::Tensor& rows) {
  const at::Tensor scaled = scale.defined() ? sums * scale.to(sums.scalar_type()).view({-1, 1, 1, 1}) : sums;
  return scaled.sum(0).to(rows.scalar_type());
}

at::Tensor scale_gradient(const at::Tensor& sums, const at::Tensor& scale, const at::Tensor& rows) {
  return (sums * rows.to(sums.scalar_type())).sum({1, 2, 3}).to(scale.scalar_type());
}

struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static at::Tensor forward(AutogradContext* context, const Recorded& call, at::TensorList defined) {
    const at::Tensor& q = defined[0];
    const at::Tensor log_sums =
        at::empty({call.plan->options.num_heads, q.size(0)}, q.options().dtype(accumulator_type(q.scalar_type())));
    const at::Tensor out = run_forward(*call.plan, call.restored(defined), log_sums);
    variable_list saved = defined.vec();
    saved.push_back(log_sums);
    context->save_for_backward(saved);
    keep(context, call);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const Recorded& call = kept<Recorded>(context);
    const variable_list saved = context->get_saved_variables(), flat = call.restored(saved);
    const auto needs = [&](size_t i) {
      return call.place[i] >= 0 && context->needs_input_grad(static_cast<size_t>(call.place[i]));
    };
    Wants wants{needs(0), needs(1), needs(2), {}, {}, {}};
    for (size_t i = kMatrices; i < flat.size(); i += kLaneTensors) {
      wants.prefix_keys.push_back(needs(i) || needs(i + 2));
      wants.prefix_values.push_back(needs(i + 1) || needs(i + 3));
      wants.prefix_bias.push_back(needs(i + 4));
    }
    Gradients out;
    with_scalar(flat[0].scalar_type(), [&]<class T>(T*) {
      out = graft::backward(Call<T>(*call.plan, flat[0], flat[1], flat[2], lanes_of(*call.plan, flat)), grads[0].contiguous(),
                            saved.back(), wants);
    });

    variable_list result(saved.size());  // one for the call, one for each defined tensor
    const auto give = [&](size_t i, const at::Tensor& gradient) { result[static_cast<size_t>(call.place[i]) + 1] = gradient; };
    give(0, out.q);
    give(1, out.k);
    give(2, out.v);
    for (size_t lane = 0; lane < out.lanes.size(); ++lane) {
      const size_t i = kMatrices + lane * kLaneTensors;
      const LaneSums& sums = out.lanes[lane];
      if (needs(i)) give(i, rows_gradient(sums.keys, flat[i + 2], flat[i]));
      if (needs(i + 1)) give(i + 1, rows_gradient(sums.values, flat[i + 3], flat[i + 1]));
      if (needs(i + 2)) give(i + 2, scale_gradient(sums.keys, flat[i + 2], flat[i]));
      if (needs(i + 3)) give(i + 3, scale_gradient(sums.values, flat[i + 3], flat[i + 1]));
      if (needs(i + 4)) give(i + 4, sums.bias.sum(1).to(flat[i + 4].scalar_type()));
    }
    return result;
  }
};

at::Tensor dense_columns(const at::Tensor& x) { return x.stride(1) == 1 || x.size(1) <= 1 ? x : x.contiguous(); }

void check_matrices(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options) {
  ensure(q.dim() == 2 && k.dim() == 2 && k.sizes() == v.sizes(), "attention: q must be [T, H*D], k and v [S, K*D]");
  ensure(options.num_heads > 0 && options.num_key_heads > 0 && options.num_heads % options.num_key_heads == 0,
         "attention: the number of key heads must divide the number of heads");
  ensure(q.size(1) % options.num_heads == 0 && k.size(1) == q.size(1) / options.num_heads * options.num_key_heads,
         "attention: the widths of q, k and v do not fit the number of heads");
  ensure(q.scalar_type() == k.scalar_type() && k.scalar_type() == v.scalar_type(), "attention: q, k and v must have one dtype");
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::shared_ptr<const Spans> spans,
                            const AttentionOptions& options, const std::vector<LanePrefix>& prefixes) {
  check_matrices(q, k, v, options);
  ensure(q.device().is_cpu(), "attention: the packed kernel runs on the CPU");
  const auto plan = std::make_shared<const AttentionPlan>(
      plan_attention(std::move(spans), options, prefixes, q.size(0), k.size(0), q.size(1) / options.num_heads));
  const variable_list flat = flattened(dense_columns(q), dense_columns(k), dense_columns(v), prefixes);
  Recorded call{plan, {}};
  variable_list defined;
  bool needs = false;
  for (const at::Tensor& each : flat) {
    call.place.push_back(each.defined() ? static_cast<int64_t>(defined.size()) : -1);
    if (each.defined()) defined.push_back(each);
    needs = needs || needs_graph({each});
  }
  return needs ? AttentionFunction::apply(call, at::TensorList(defined)) : run_forward(*plan, flat, {});
}

}  // namespace graft
