#include "tensor/attention_plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace graft {

namespace {

void check_spans(const Spans& spans, const AttentionPlan& plan, int64_t query_rows,
                 int64_t key_rows) {
  ensure(plan.options.dropout.empty() ||
             plan.options.dropout.back().end >= std::ssize(spans.sequences),
         "attention: every sequence is in a lane of dropout");
  for (size_t n = 0; n < spans.sequences.size(); ++n) {
    const Spans::Span& span = spans.sequences[n];
    ensure(
        0 <= span.query_begin && span.query_begin <= span.query_end && span.query_end <= query_rows,
        "attention: a query range lies outside q");
    ensure(0 <= span.key_begin && span.key_begin <= span.key_end && span.key_end <= key_rows,
           "attention: a key range lies outside k");
    ensure(span.first_position >= 0, "attention: a first position is negative");
    if (span.query_end > span.query_begin) {
      ensure(span.key_end > span.key_begin || plan.prefix_rows(static_cast<int64_t>(n)) > 0,
             "attention: a sequence has neither keys nor prefix rows");
    }
  }
}

void check_prefix(const LanePrefix& prefix, const AttentionOptions& options, int64_t num_sequences,
                  int64_t width) {
  ensure(0 <= prefix.first_sequence && prefix.first_sequence <= prefix.end_sequence &&
             prefix.end_sequence <= num_sequences,
         "attention: a prefix lane names sequences that do not exist");
  ensure(prefix.keys.defined() && prefix.values.defined() && prefix.keys.dim() == 3 &&
             prefix.keys.sizes() == prefix.values.sizes() &&
             prefix.keys.size(1) == options.num_key_heads && prefix.keys.size(2) == width,
         "attention: prefix keys and values must be [P, K, D]");
  for (const at::Tensor& each : {prefix.key_scale, prefix.value_scale, prefix.logit_bias}) {
    ensure(!each.defined() ||
               (each.dim() == 1 && each.size(0) == prefix.end_sequence - prefix.first_sequence),
           "attention: scales and bias of a prefix need one value per sequence of the lane");
  }
}

void check_distance_bias(const AttentionOptions& options, const Spans& spans) {
  const at::Tensor& bias = options.distance_bias;
  if (!bias.defined()) return;
  ensure(bias.dim() == 2 && bias.size(0) == options.num_heads && bias.size(1) % 2 == 1,
         "attention: the distance bias must be [H, 2R - 1]");
  for (const Spans::Span& span : spans.sequences) {
    if (span.query_begin == span.query_end || span.key_begin == span.key_end) continue;
    const int64_t last_query = span.first_position + span.query_end - span.query_begin - 1;
    const int64_t last_key = span.key_end - span.key_begin - 1;
    ensure(std::max(last_query, last_key - span.first_position) <= bias.size(1) / 2,
           "attention: a distance between query and key lies outside the distance bias");
  }
}

void check_window(const AttentionOptions& options, const Spans& spans, const AttentionPlan& plan) {
  if (!options.window) return;
  ensure(*options.window >= 0, "attention: the window is negative");
  for (size_t n = 0; n < spans.sequences.size(); ++n) {
    const Spans::Span& span = spans.sequences[n];
    if (span.query_begin == span.query_end || plan.prefix_rows(static_cast<int64_t>(n)) > 0)
      continue;
    const int64_t last_query = span.first_position + span.query_end - span.query_begin - 1;
    ensure(last_query - *options.window < span.key_end - span.key_begin,
           "attention: no key of a sequence lies in the window of a query");
  }
}

// Columns of K' that a query sees at most, for the order of the work.
int64_t seen_columns(const AttentionOptions& options, const Spans::Span& span,
                     int64_t prefix_rows) {
  const int64_t keys = span.key_end - span.key_begin;
  return prefix_rows + (options.window ? std::min(keys, 2 * *options.window + 1) : keys);
}

std::vector<KeyGroup> key_groups(const Spans& spans, const std::vector<int64_t>& costs) {
  std::vector<int64_t> order(spans.sequences.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return spans.sequences[static_cast<size_t>(a)].key_begin <
           spans.sequences[static_cast<size_t>(b)].key_begin;
  });
  std::vector<KeyGroup> groups, keyless;
  for (const int64_t n : order) {
    const Spans::Span& span = spans.sequences[static_cast<size_t>(n)];
    if (span.query_begin == span.query_end) continue;
    if (span.key_begin == span.key_end) {  // it sees its prefix alone
      keyless.push_back({{n}, span.key_begin, span.key_end, costs[static_cast<size_t>(n)]});
      continue;
    }
    if (groups.empty() || span.key_begin >= groups.back().key_end)
      groups.push_back({{}, span.key_begin, span.key_end, 0});
    KeyGroup& group = groups.back();
    group.sequences.push_back(n);
    group.key_end = std::max(group.key_end, span.key_end);
    group.cost += costs[static_cast<size_t>(n)];
  }
  groups.insert(groups.end(), keyless.begin(), keyless.end());
  std::stable_sort(groups.begin(), groups.end(),
                   [](const KeyGroup& a, const KeyGroup& b) { return a.cost > b.cost; });
  return groups;
}

// Rows inside the ranges; throws if `disjoint` and two ranges overlap.
int64_t covered_rows(std::vector<std::pair<int64_t, int64_t>> ranges, bool disjoint) {
  std::sort(ranges.begin(), ranges.end());
  int64_t covered = 0, end = 0;
  for (const auto& [from, to] : ranges) {
    if (from == to) continue;
    ensure(!disjoint || from >= end, "attention: two query ranges overlap");
    covered += std::max<int64_t>(0, to - std::max(from, end));
    end = std::max(end, to);
  }
  return covered;
}

}  // namespace

AttentionPlan plan_attention(std::shared_ptr<const Spans> spans, const AttentionOptions& options,
                             const std::vector<LanePrefix>& prefixes, int64_t query_rows,
                             int64_t key_rows, int64_t head_width) {
  AttentionPlan plan;
  const auto num_sequences = static_cast<int64_t>(spans->sequences.size());
  plan.lane_of.assign(static_cast<size_t>(num_sequences), -1);
  for (const LanePrefix& prefix : prefixes) {
    check_prefix(prefix, options, num_sequences, head_width);
    for (int64_t n = prefix.first_sequence; n < prefix.end_sequence; ++n) {
      ensure(plan.lane_of[static_cast<size_t>(n)] < 0,
             "attention: two prefix lanes share a sequence");
      plan.lane_of[static_cast<size_t>(n)] = static_cast<int64_t>(plan.lane_rows.size());
    }
    plan.lane_first.push_back(prefix.first_sequence);
    plan.lane_end.push_back(prefix.end_sequence);
    plan.lane_rows.push_back(prefix.keys.size(0));
  }
  check_spans(*spans, plan, query_rows, key_rows);
  check_distance_bias(options, *spans);
  check_window(options, *spans, plan);

  std::vector<int64_t> costs;
  std::vector<std::pair<int64_t, int64_t>> queries, keys;
  for (int64_t n = 0; n < num_sequences; ++n) {
    const Spans::Span& span = spans->sequences[static_cast<size_t>(n)];
    costs.push_back((span.query_end - span.query_begin) *
                    seen_columns(options, span, plan.prefix_rows(n)));
    if (span.query_end > span.query_begin) {
      plan.by_cost.push_back(n);
      keys.emplace_back(span.key_begin, span.key_end);
    }
    queries.emplace_back(span.query_begin, span.query_end);
  }
  std::stable_sort(plan.by_cost.begin(), plan.by_cost.end(), [&](int64_t a, int64_t b) {
    return costs[static_cast<size_t>(a)] > costs[static_cast<size_t>(b)];
  });
  plan.key_groups = key_groups(*spans, costs);
  plan.covers_queries = covered_rows(std::move(queries), true) == query_rows;
  plan.covers_keys = covered_rows(std::move(keys), false) == key_rows;
  plan.spans = std::move(spans);
  plan.options = options;
  plan.options.distance_bias = at::Tensor();
  return plan;
}

}  // namespace graft
