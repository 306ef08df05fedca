// Elementwise work of a transformer block, fused so that a row is read and written once: dropout,
// residual add and norm, and activations. Statistics are in float32 (float64 for float64 input)
// whatever the dtype.
#pragma once

#include <ATen/core/Tensor.h>

#include "tensor/rows.h"

namespace graft {

// x: [T, C] -> [T, C]: kept values are scaled by 1/(1-p), with p rounded to a multiple of 1/65536.
// Returns x itself when p is 0.
at::Tensor dropout(const at::Tensor& x, const RowDropout& options);

// LayerNorm(dropout(x) + residual) * weight + bias, by rows (Ba et al. 2016). x, residual: [T, C];
// weight, bias: [C], of x's dtype or float32; residual and bias may be undefined. Gradients for x
// and residual, and for weight and bias when they require one.
at::Tensor norm_of_sum(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                       const at::Tensor& bias, double epsilon, const RowDropout& dropout = {});

enum class Norm { kLayer, kRootMeanSquare };  // the second has no bias and takes no mean off

struct Normed {
  at::Tensor sum, normed;
};

// What a pre-norm block does between two sublayers: sum = x + dropout(y), normed = norm(sum) *
// weight + bias, by rows; LayerNorm (Ba et al. 2016), or x / sqrt(mean x^2 + epsilon) (Zhang and
// Sennrich 2019). bias may be undefined, and is in the second. x, y: [T, C]; without y the sum is x
// itself, and nothing is dropped. weight, bias: [C], of x's dtype or float32. normed is rounded
// once, after weight and bias. Gradients for x, y, weight and bias where they require one, from
// either output or both.
Normed sum_and_norm(const at::Tensor& x, const at::Tensor& y, Norm kind, const at::Tensor& weight,
                    const at::Tensor& bias, double epsilon, const RowDropout& dropout = {});

enum class Activation { kGelu, kGeluTanh, kRelu, kSilu };

// Elementwise, any shape; backward recomputes from x. kGelu is x Phi(x), precise also in its left
// tail: in float32 to 1e-6 relative for x > -3.
at::Tensor activate(const at::Tensor& x, Activation activation);

// activation(gate) * up, of one shape and dtype (Shazeer 2020). Backward recomputes from both.
at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation);

}  // namespace graft
