// How a Weight acts on the parts of a change. A weight stays float32 even on a bfloat16 trunk: a
// gate that moves from 0.500 to 0.501 changes the result by as much (tensor/scaled.h).
#pragma once

#include "edit/edit.h"

namespace graft {

// code: [T, R] -> weight * code, in code's dtype. weight.rows has G columns, each for R/G columns
// of the code; if undefined, the number acts alone.
at::Tensor weighted_code(const at::Tensor& code, const Weight& weight);

// vector: [out], float32 (float64 beside a float64 trunk) -> weight * vector, [out], or [T, out]
// with weights by row.
at::Tensor weighted_vector(const at::Tensor& vector, const Weight& weight);

// y' - y, [T, out], float32 (float64 for a float64 y), computed from the parts of the change: the
// difference of rounded values would lose most of a small change.
at::Tensor delta_of(const at::Tensor& y, const Change& change);

}  // namespace graft
