// Dropout masks of whole rows, and the size of a piece of work over rows. Internal to src/tensor.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "tensor/dropout_bits.h"
#include "tensor/rows.h"

namespace graft {

inline constexpr int64_t kGrainValues = 1
                                        << 15;  // values of a piece of work: some ten microseconds
inline constexpr int64_t kMaxPieces = 64;       // of a backward pass with partial sums

inline void check_mask(const RowDropout& dropout, int64_t rows) {
  if (!is_active(dropout.lanes)) return;
  ensure(dropout.rows != nullptr, "dropout: row ids are missing");
  ensure(static_cast<int64_t>(dropout.rows->example.size()) == rows &&
             static_cast<int64_t>(dropout.rows->position.size()) == rows,
         "dropout: there must be one row id per row");
  ensure(dropout.lanes.back().end >= rows, "dropout: every row is in a lane");
}

// Multiplies rows by their masks; does nothing when no lane drops out.
template <class A>
class RowMask {
 public:
  RowMask(const RowDropout& dropout, int64_t columns)
      : dropout_(dropout),
        is_active_(is_active(dropout.lanes)),
        columns_(columns),
        mask_(is_active_ ? static_cast<size_t>(mask_room(columns)) : 0) {}
  bool active() const { return is_active_; }

  // The factors of row t: 0 or 1/(1-p), and 1 in a lane that drops nothing: a product with it has
  // the bits of no product. Valid until the next call.
  const A* of(int64_t t) {
    const auto row = static_cast<size_t>(t);
    const LaneDropout& lane = dropout_of(dropout_.lanes, t);
    const DropRate rate(lane.probability);
    if (rate.active()) {
      fill_mask(lane.key, row_name(dropout_.rows->example[row], dropout_.rows->position[row]), rate,
                0, columns_, mask_.data());
    } else {
      std::fill(mask_.begin(), mask_.end(), A{1});
    }
    return mask_.data();
  }

 private:
  const RowDropout& dropout_;
  bool is_active_;
  int64_t columns_;
  std::vector<A> mask_;
};

}  // namespace graft
