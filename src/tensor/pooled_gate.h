// A sigmoid gate averaged over groups of rows, in one pass over them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace graft {

// Which rows of a tensor form a group. Groups are disjoint; rows of none may stand anywhere.
struct RowGroups {
  std::vector<int64_t> begin, end;  // [N] each: group n has the rows begin[n] .. end[n] - 1
  std::vector<uint8_t> counts;      // [T]: whether the row enters the mean of its group
};

struct PooledGate {
  at::Tensor by_group;  // [N, K]
  at::Tensor by_row;    // [T, K]: the value of the row's group, zero for rows of none
};

// g_n = mean over the counted rows t of group n of sigmoid(z_t w^T + b); zero for a group without
// counted rows. z: [T, C], any floating dtype; w: [K, C], b: [K], both float32, or float64 beside a
// float64 z; results in their dtype. Dot products run in their dtype, sigmoids in float64. A
// group's values have the same bits whatever other rows there are and however many threads run, and
// the mean of equal values is that value. Gradients for z, w and b, where they require one.
PooledGate pooled_gate(const at::Tensor& z, const at::Tensor& weight, const at::Tensor& bias,
                       std::shared_ptr<const RowGroups> groups);

}  // namespace graft
