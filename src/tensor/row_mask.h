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

inline void check_mask(const RowDropout& dropout, int64_t rows) {
  if (!DropRate(dropout.probability).active()) return;
  ensure(dropout.rows != nullptr, "dropout: row ids are missing");
  ensure(static_cast<int64_t>(dropout.rows->example.size()) == rows &&
             static_cast<int64_t>(dropout.rows->position.size()) == rows,
         "dropout: there must be one row id per row");
}

// Multiplies rows by their masks; does nothing when the probability is zero.
template <class A>
class RowMask {
 public:
  RowMask(const RowDropout& dropout, int64_t columns)
      : dropout_(dropout),
        rate_(dropout.probability),
        columns_(columns),
        mask_(rate_.active() ? static_cast<size_t>(mask_room(columns)) : 0) {}
  bool active() const { return rate_.active(); }

  // The factors of row t: 0 or 1/(1-p). Valid until the next call.
  const A* of(int64_t t) {
    const auto row = static_cast<size_t>(t);
    fill_mask(dropout_.key, row_name(dropout_.rows->example[row], dropout_.rows->position[row]),
              rate_, 0, columns_, mask_.data());
    return mask_.data();
  }

 private:
  const RowDropout& dropout_;
  DropRate rate_;
  int64_t columns_;
  std::vector<A> mask_;
};

}  // namespace graft
