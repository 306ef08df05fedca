// Orthonormal columns that gradient descent can move without leaving them: a chart of the Stiefel
// manifold.
//
// The chart is the one of torch.nn.utils.parametrizations.orthogonal (Householder map with
// trivialization, Lezcano-Casado 2019, arXiv:1909.09501), which pyreft and AdapterHub train: an
// optimizer that walks in X takes the same path.
//   v_j = e_j + the part of column j of X below the diagonal, H_j = I - 2 v_j v_j^T / |v_j|^2
//   Q(X) = B * (the first R columns of -(H_1 H_2 ... H_R)),
//   B [C,C] orthogonal, fixed, its first R columns Q(-I)
// Q is orthonormal for any X, up to rounding: there is nothing to project back or to penalise.
// Departs: B is never made. It is the product of the R reflectors that carry the stored base =
// Q(-I) to the first unit vectors, so a map costs O(C R^2) and a file holds [C,R] instead of [C,C]
// numbers. (There, the last C-R columns of B are random; which ones they are changes the chart, not
// the set of rotations it reaches.)
// Departs: the diagonal of X, which released code casts to an integer that must stay -1, is not
// read. Weight decay of X still pulls towards the base; declare it without.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/random.h"

namespace graft {

// Q [C,R] of chart X [C,R] about base [C,R] (orthonormal columns). Differentiable in the chart; its
// entries on and above the diagonal get zero gradient. float32 or float64, R < C.
at::Tensor rotation_of(const at::Tensor& chart, const at::Tensor& base);

// Q [C,C] = B exp(tril(X) - tril(X)^T) of a square chart about base B (orthogonal): torch's matrix
// exponential with trivialization. Differentiable in the chart, whose diagonal is not read.
at::Tensor full_rotation_of(const at::Tensor& chart, const at::Tensor& base);

// The X with Q(X) = base: -1 on the diagonal. float32 [C,R]. A known Q is put in place as base = Q
// with this chart.
at::Tensor initial_chart(int64_t width, int64_t rank);

// Orthonormal columns [C,R], float32, uniformly distributed.
at::Tensor random_rotation(int64_t width, int64_t rank, RandomKey key);

}  // namespace graft
