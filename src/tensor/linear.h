// Linear layers: y = x W^T + b.
//
// A frozen weight is packed once for the matrix kernels of oneDNN (forward and, when a gradient first asks for it, transposed),
// and autograd keeps nothing but the layer itself. A trained weight takes the plain path and gets its gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

namespace graft {

class FrozenLinear {
 public:
  // weight: [out, in], bias: [out] or undefined; float64, float32 or bfloat16, no gradient.
  FrozenLinear(at::Tensor weight, at::Tensor bias);

  // x: [T, in] -> [T, out], same dtype. Differentiable in x only. Thread-safe.
  at::Tensor operator()(const at::Tensor& x) const;

  const at::Tensor& weight() const;
  const at::Tensor& bias() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// x: [T, in], weight: [out, in], bias: [out] or undefined -> [T, out]. Gradients for whichever of the three require one.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace graft
