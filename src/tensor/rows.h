// Which example and which position every packed row belongs to, and dropout masks keyed by that
// meaning.
//
// A mask value is a pure function of (key, example, position, column), so it does not depend on the
// order of a batch, on batch-mates or on threads, and a backward pass recomputes it instead of
// keeping it.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "base/random.h"

namespace graft {

// One entry per packed row; both vectors have T entries. Filler rows have example -1.
struct RowIds {
  // Names the example in the whole data set, the same in every epoch.
  std::vector<int64_t> example;
  // Index of the row inside its sequence, from 0.
  std::vector<int64_t> position;
};

// Rows [begin, begin + count) of `rows`.
inline std::shared_ptr<const RowIds> slice_rows(const RowIds& rows, int64_t begin, int64_t count) {
  const auto cut = [&](const std::vector<int64_t>& all) {
    return std::vector<int64_t>(all.begin() + begin, all.begin() + begin + count);
  };
  return std::make_shared<const RowIds>(RowIds{cut(rows.example), cut(rows.position)});
}

// What one lane draws its dropout by; probability 0 means none. `key` already holds (seed, step,
// micro-batch, pass, site, use). It serves the rows, in attention the sequences, up to `end`, from
// the end of the lane before.
struct LaneDropout {
  double probability = 0.0;
  RandomKey key = {};
  int64_t end = std::numeric_limits<int64_t>::max();
};

// Lane by lane. None: no dropout.
using LaneDropouts = std::vector<LaneDropout>;

// The lane that serves row (or sequence) i. Requires: i is before the last end.
inline const LaneDropout& dropout_of(const LaneDropouts& lanes, int64_t i) {
  size_t lane = 0;
  while (i >= lanes[lane].end) ++lane;
  return lanes[lane];
}

// Dropout of one use.
struct RowDropout {
  LaneDropouts lanes = {};
  std::shared_ptr<const RowIds> rows = nullptr;
};

}  // namespace graft
