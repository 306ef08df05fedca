// How a Weight acts on the parts of a change. A weight is float32 and stays so where it meets a
// trunk of bfloat16: a gate that moves from 0.500 to 0.501 moves the change by as much
// (tensor/scaled.h).
#pragma once

#include "edit/edit.h"

namespace graft {

// code: [T, R] -> weight * code, in code's dtype. weight.rows has G columns, each for R/G columns
// of the code; undefined: the number alone.
at::Tensor weighted_code(const at::Tensor& code, const Weight& weight);

// vector: [out], float32 (float64 beside a float64 trunk) -> weight * vector, [out], or [T, out]
// with weights by row.
at::Tensor weighted_vector(const at::Tensor& vector, const Weight& weight);

// y' - y, [T, out], float32 (float64 for a float64 y). Of small changes the difference of rounded
// values would keep little.
at::Tensor delta_of(const at::Tensor& y, const Change& change);

}  // namespace graft
