// Rotary positions (Su et al. 2021, arXiv:2104.09864, eq. 34): a pair of values of a head turns by
// an angle that grows with the row's position. Pairs are laid out as in Hugging Face's checkpoints:
// value i of a head goes with value i + D/2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft {

// cosine, sine: [T, D/2] float32 or float64, one row per packed row.
struct RotaryTable {
  at::Tensor cosine, sine;
};

// x: [T, heads * D] float64, float32 or bfloat16, columns dense -> the same shape and dtype,
// contiguous. In every head y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin, where x1 and x2 are its two
// halves. Differentiable in x.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, int64_t num_heads);

}  // namespace graft
