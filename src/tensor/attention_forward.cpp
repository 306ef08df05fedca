// The idea: one task per sequence and key head, over small dense products. A task widens what it
// needs to the accumulator's type, works in blocks of query rows so that its scratch stays in the
// second-level cache, and keeps per query row only the logarithm of the softmax denominator. A
// sequence with a few queries (decoding over a cache) reads its keys once, in blocks that stay in
// the first-level cache, for all query heads that share them. Both ways add in the same order: a
// row has the same bits in either.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "tensor/attention_call.h"
#include "tensor/attention_kernels.h"
#include "tensor/parallel.h"

namespace graft {

namespace {

constexpr int64_t kFewQueries = 4;
constexpr int64_t kKeyBlock = 64;

// Query heads [first_head, end_head) of a sequence; they share a key head.
struct Task {
  int64_t sequence, first_head, end_head;
};

// Turns the products of query row i with `columns` columns from `first` on into probabilities;
// returns log(sum e^logit).
template <class T, class A>
A soften(const SequenceKeys<T>& keys, int64_t head, int64_t i, int64_t first, int64_t columns,
         A* row, A* mask) {
  const int64_t seen = finish_logits(keys, head, i, first, row);
  const A largest = largest_of(row, seen), sum = exponentiate(row, seen, largest);
  if (keys.rate.active()) {
    fill_mask(keys.dropout_key, mask_name(keys.span, head, i), keys.rate, first, seen, mask);
    apply_mask(row, mask, seen);
  }
  scale_row(row, seen, A{1} / sum);
  std::fill(row + seen, row + columns, A{0});
  return largest + std::log(sum);
}

template <class T>
Rows<T> output_rows(const Call<T>& call, const Spans::Span& span, int64_t head,
                    const at::Tensor& out) {
  return {out.mutable_data_ptr<T>() + span.query_begin * out.size(1) + head * call.width,
          out.size(1)};
}

template <class T>
void attend(const WholeKeys<T>& keys, int64_t head, const at::Tensor& out,
            const at::Tensor& log_sums) {
  using A = typename Chunk<T>::Accumulator;
  const Call<T>& call = keys.call;
  const Spans::Span& span = keys.span;
  const int64_t most_columns = keys.block_columns(),
                most_rows = block_rows(call.plan.options, span, most_columns),
                stride = padded(most_columns);
  const Scratch<A> q(most_rows, call.wide), p(most_rows, stride), o(most_rows, call.wide),
      mask(1, stride);
  A* log_sum = log_sums.defined()
                   ? log_sums.mutable_data_ptr<A>() + head * call.q.size(0) + span.query_begin
                   : nullptr;
  const Rows<T> to = output_rows(call, span, head, out);
  for_blocks(keys, [&](QueryBlock block) {
    const int64_t rows = block.end - block.begin, first = block.first,
                  columns = padded(block.visible - first);
    copy_padded(call.rows_of(call.q, span.query_begin + block.begin, head), q.rows(), rows,
                call.width, static_cast<A>(call.plan.options.scale));
    multiply<A>(rows, columns, call.width, q.factor(), keys.keys_from(first), p.rows());
    if (keys.has_window()) {
      for (int64_t i = 0; i < rows; ++i)
        hide_before_window(keys, block.begin + i, first, p.rows().row(i));
    }
    for (int64_t i = 0; i < rows; ++i) {
      const A sum =
          soften(keys, head, block.begin + i, first, columns, p.rows().row(i), mask.data.get());
      if (log_sum != nullptr) log_sum[block.begin + i] = sum;
    }
    multiply<A>(rows, call.wide, block.visible - first, p.factor(), keys.all_values.from(first),
                o.rows());
    copy_rows<A>(o.rows(), to.from(block.begin), rows, call.width, A{1});
  });
}

// All rows of the task are stacked: row (head - first_head) * queries + i.
template <class T>
void attend_few(const Call<T>& call, const Task& task, const at::Tensor& out) {
  using A = typename Chunk<T>::Accumulator;
  const SequenceKeys<T> keys(call, task.sequence, call.key_head(task.first_head));
  const Spans::Span& span = keys.span;
  const int64_t queries = span.query_end - span.query_begin,
                rows = (task.end_head - task.first_head) * queries;
  const int64_t first = keys.first_column(0), visible = keys.visible(queries - 1),
                columns = padded(visible - first);
  const Scratch<A> q(rows, call.wide), p(rows, columns), o(rows, call.wide),
      room = keys.room(kKeyBlock), block(call.wide, kKeyBlock);
  for (int64_t head = task.first_head; head < task.end_head; ++head) {
    copy_padded(call.rows_of(call.q, span.query_begin, head),
                q.rows().from((head - task.first_head) * queries), queries, call.width,
                static_cast<A>(call.plan.options.scale));
  }
  for (int64_t c = first; c < visible; c += kKeyBlock) {
    const int64_t end = std::min(c + kKeyBlock, visible);
    transpose(keys.keys(c, end, room), end - c, call.width, block.rows());
    multiply<A>(rows, padded(end - c), call.width, q.factor(), block.rows(),
                Rows<A>{p.data.get() + c - first, columns});
  }
  if (keys.has_window()) {
    for (int64_t row = 0; row < rows; ++row)
      hide_before_window(keys, row % queries, first, p.rows().row(row));
  }
  for (int64_t row = 0; row < rows; ++row) {
    soften<T, A>(keys, task.first_head + row / queries, row % queries, first, columns,
                 p.rows().row(row), nullptr);
  }
  for (int64_t c = first; c < visible; c += kKeyBlock) {
    const int64_t end = std::min(c + kKeyBlock, visible);
    multiply<A>(rows, call.wide, end - c, Factor<A>{p.data.get() + c - first, columns, 1},
                keys.values(c, end, room), o.rows(), c > first);
  }
  for (int64_t head = task.first_head; head < task.end_head; ++head) {
    copy_rows<A>(o.rows().from((head - task.first_head) * queries),
                 output_rows(call, span, head, out), queries, call.width, A{1});
  }
}

bool has_few_queries(const AttentionPlan& plan, int64_t sequence) {
  const Spans::Span& span = plan.spans->sequences[static_cast<size_t>(sequence)];
  return span.query_end - span.query_begin <= kFewQueries;
}

// Dearest first. Heads that share keys go together where that leaves tasks enough for all threads.
std::vector<Task> tasks_of(const AttentionPlan& plan, bool streams) {
  const int64_t heads = plan.options.num_heads, shared = heads / plan.options.num_key_heads;
  const auto sequences = static_cast<int64_t>(plan.by_cost.size());
  const int64_t together =
      sequences * plan.options.num_key_heads >= 4 * at::get_num_threads() ? shared : 1;
  std::vector<Task> tasks;
  for (const int64_t sequence : plan.by_cost) {
    const int64_t step = streams && has_few_queries(plan, sequence) ? shared : together;
    for (int64_t head = 0; head < heads; head += step)
      tasks.push_back({sequence, head, head + step});
  }
  return tasks;
}

template <class T>
at::Tensor forward(const Call<T>& call, const at::Tensor& log_sums) {
  const at::Tensor out = call.plan.covers_queries
                             ? at::empty({call.q.size(0), call.q.size(1)}, call.q.options())
                             : at::zeros({call.q.size(0), call.q.size(1)}, call.q.options());
  const bool streams = !log_sums.defined() && !call.drops;
  const std::vector<Task> tasks = tasks_of(call.plan, streams);
  parallel_tasks(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const Task& task = tasks[static_cast<size_t>(i)];
    if (streams && has_few_queries(call.plan, task.sequence)) return attend_few(call, task, out);
    const WholeKeys<T> keys(call, task.sequence, call.key_head(task.first_head));
    for (int64_t head = task.first_head; head < task.end_head; ++head)
      attend(keys, head, out, log_sums);
  });
  return out;
}

}  // namespace

at::Tensor attention_forward(const AttentionPlan& plan, const AttentionInputs& inputs,
                             const at::Tensor& log_sums) {
  at::Tensor out;
  with_scalar(inputs.q.scalar_type(), [&]<class T>(T*) {
    out = forward(Call<T>(plan, inputs.q, inputs.k, inputs.v, inputs.distance_bias, inputs.lanes),
                  log_sums);
  });
  return out;
}

}  // namespace graft
