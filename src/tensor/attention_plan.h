// What packed attention works out from the spans before it touches a number: which prefix a
// sequence has, which sequences share keys, and in which order to run. Internal to src/tensor.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/packed_attention.h"

namespace graft {

// Sequences whose key ranges overlap, directly or through others: their key gradients are summed by
// one task.
struct KeyGroup {
  std::vector<int64_t> sequences;
  int64_t key_begin = 0, key_end = 0;
  int64_t cost = 0;
};

struct AttentionPlan {
  std::shared_ptr<const Spans> spans;
  AttentionOptions options;         // without the distance bias, which has a graph of its own
  std::vector<int64_t> lane_of;     // per sequence: index of its prefix lane, or -1
  std::vector<int64_t> lane_first;  // per lane: its first sequence
  std::vector<int64_t> lane_end;
  std::vector<int64_t> lane_rows;                    // per lane: P
  std::vector<int64_t> by_cost;                      // sequences with queries, dearest first
  std::vector<KeyGroup> key_groups;                  // dearest first
  bool covers_queries = false, covers_keys = false;  // every row of q, of k, is in a span

  int64_t prefix_rows(int64_t sequence) const {
    const int64_t lane = lane_of[static_cast<size_t>(sequence)];
    return lane < 0 ? 0 : lane_rows[static_cast<size_t>(lane)];
  }
};

// Throws InternalError unless every span and prefix is valid for `query_rows` and `key_rows` rows.
AttentionPlan plan_attention(std::shared_ptr<const Spans> spans, const AttentionOptions& options,
                             const std::vector<LanePrefix>& prefixes, int64_t query_rows,
                             int64_t key_rows, int64_t head_width);

}  // namespace graft
