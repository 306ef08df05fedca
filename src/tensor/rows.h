// Which example and which position every packed row belongs to, and dropout masks keyed by that
// meaning.
//
// A mask value is a pure function of (key, example, position, column), so it does not depend on the
// order of a batch, on batch-mates or on threads, and a backward pass recomputes it instead of
// keeping it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/random.h"

namespace graft {

// One entry per packed row; both vectors have T entries. Filler rows have example -1.
struct RowIds {
  std::vector<int64_t>
      example;  // id that names the example in the whole data set, the same in every epoch
  std::vector<int64_t> position;  // index of the row inside its sequence, from 0
};

// Rows [begin, begin + count) of `rows`.
inline std::shared_ptr<const RowIds> slice_rows(const RowIds& rows, int64_t begin, int64_t count) {
  const auto cut = [&](const std::vector<int64_t>& all) {
    return std::vector<int64_t>(all.begin() + begin, all.begin() + begin + count);
  };
  return std::make_shared<const RowIds>(RowIds{cut(rows.example), cut(rows.position)});
}

// Dropout of one use: probability 0 means none. `key` already holds (seed, step, pass, site, use).
struct RowDropout {
  double probability = 0.0;
  RandomKey key;
  std::shared_ptr<const RowIds> rows;
};

}  // namespace graft
