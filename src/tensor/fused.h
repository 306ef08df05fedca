// Elementwise work of a transformer block, fused so that a row is read and written once: dropout, residual add and LayerNorm,
// and GELU. Statistics are in float32 (float64 for float64 input) whatever the dtype.
#pragma once

#include <ATen/core/Tensor.h>

#include "tensor/rows.h"

namespace graft {

// x: [T, C] -> [T, C]: kept values are scaled by 1/(1-p), with p rounded to a multiple of 1/65536. Returns x itself when p is 0.
at::Tensor dropout(const at::Tensor& x, const RowDropout& options);

// LayerNorm(dropout(x) + residual) * weight + bias, by rows (Ba et al. 2016). x, residual: [T, C]; weight, bias: [C], of x's
// dtype or float32; residual may be undefined. Gradients for x and residual, and for weight and bias when they require one.
at::Tensor add_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, const at::Tensor& bias,
                    double epsilon, const RowDropout& dropout = {});

enum class Activation { kGelu, kGeluTanh, kRelu, kSilu };

// Elementwise, any shape; backward recomputes from x. kGelu is x Phi(x), precise also in its left tail: in float32 to 1e-6
// relative for x > -3.
at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace graft
