// Dropout masks in ATen, with the draws of dropout_bits.h. Internal to src/tensor/plain.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/random.h"
#include "tensor/dropout_bits.h"

namespace graft::plain {

// The RowName of every row, [R] int64 each: names of 64 and 32 bits, the sign bit included.
struct RowNames {
  at::Tensor high, position;
};

// [R, columns] in `type`, on the device of the names: 1/(1-p) where a value is kept, else 0; 1 in a
// lane that drops nothing. The ends of `lanes` count rows of the names.
at::Tensor drop_mask(const LaneDropouts& lanes, const RowNames& names, int64_t columns,
                     at::ScalarType type);

}  // namespace graft::plain
