// Rotations as torch.nn.utils.parametrizations.orthogonal stores them, and as src/edit/rotation.h
// does.
#pragma once

#include "interop/foreign.h"

namespace graft {

// Q [C,R] of a stored parametrization: original X [C,R], base B [C,C]. Q = B (the first R columns
// of H_1 ... H_R) diag(trunc X_jj), the reflectors as in edit/rotation.h. float32, computed in
// float64.
at::Tensor rotation_of_parametrization(const at::Tensor& original, const at::Tensor& base);

// Puts a known rotation q [C,R] as "<set>base" and "<set>chart". What is not orthonormal to 1e-3 is
// a fault of `tensors`, named by `theirs`: no chart reaches it.
void put_rotation(ForeignTensors& tensors, const std::string& set, const at::Tensor& q,
                  const std::string& theirs, NamedTensors& out);

// An orthogonal [C,C] float32 whose first columns are q [C,R].
at::Tensor completed(const at::Tensor& q);

}  // namespace graft
