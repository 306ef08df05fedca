// What a trunk without a table of positions knows of them: rotary angles, and T5's biases by
// distance.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/config.h"
#include "tensor/rotary.h"

namespace graft {

// Angle of a head's pair of columns i at position p: p * f_i with f_i = base^(-2i/D) (Su et al.
// 2021, arXiv:2104.09864, eq. 15), stretched as `scaling` says:
//   linear   f_i / factor
//   dynamic  f_i: the base grows only beyond max_positions, which no text here is
//   llama3   f_i / factor for wavelengths beyond original_positions / low_frequency_factor, f_i
//            below original_positions / high_frequency_factor, and a blend of both in between
// [D/2] float64; `width`: D.
std::vector<double> rotary_frequencies(const Rotary& rotary, int64_t width);

// Cosines and sines of every row, float32, or float64 for a trunk of that dtype. positions: [T]
// int64.
RotaryTable rotary_table(const std::vector<double>& frequencies, const at::Tensor& positions,
                         at::ScalarType dtype);

// Bucket of each distance (key position - query position) from -(range-1) to range-1, [2*range-1]
// int64: exact near zero, then by logarithm up to max_distance (Raffel et al. 2020,
// arXiv:1910.10683, sec. 2.1, as released). A causal stack has no buckets for keys that come later.
// Requires: of the buckets of one side, half is one at least and below max_distance. A side has all
// buckets of a causal stack, else half of them.
at::Tensor distance_buckets(const DistanceBias& bias, bool is_causal, int64_t range);

}  // namespace graft
