// Linear layers: y = x W^T + b.
//
// A frozen weight is packed once for the matrix kernels of oneDNN; backward reads the plain weight,
// whose transposed view they take as fast as a packed copy. Autograd keeps nothing but the layer
// itself. A trained weight takes the plain path and gets its gradient. float64, and processors or
// devices without these kernels, take the plain form (plain/plain.h).
//
// In float32 and bfloat16 on the CPU a row's result has the same bits whatever other rows there
// are.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

namespace graft {

class FrozenLinear {
 public:
  // weight: [out, in], bias: [out] or undefined; float64, float32 or bfloat16, no gradient. Holds
  // on to both, and to the packed copy: a weight that lies in a mapped file costs one copy of
  // memory of its own.
  FrozenLinear(at::Tensor weight, at::Tensor bias);

  // x: [T, in] -> [T, out], same dtype. Differentiable in x only. Thread-safe.
  at::Tensor operator()(const at::Tensor& x) const;

  // What backward makes of grad [T, out]: grad W [T, in]. Without a graph.
  at::Tensor input_gradient(const at::Tensor& grad) const;

  const at::Tensor& weight() const;
  const at::Tensor& bias() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Frozen layers that read the same x, as one product over their outputs side by side. A product
// over few rows costs a call and a read of the weights, and the joined matrix is read faster than
// its parts. Forward only: nothing but the packed copy is kept.
class JoinedLinears {
 public:
  // weights: [out_i, in] of one dtype; biases: [out_i], of all layers or none (empty).
  JoinedLinears(const std::vector<at::Tensor>& weights, const std::vector<at::Tensor>& biases);

  // x: [T, in] -> [T, out_i] each, columns of one matrix, with the bits that each layer alone would
  // give. Without a graph. Thread-safe.
  std::vector<at::Tensor> operator()(const at::Tensor& x) const;

 private:
  at::Tensor matrix_, bias_;  // packed where oneDNN has a kernel for the dtype and device
  bool is_packed_ = false;
  std::vector<int64_t> outputs_;
};

// x: [T, in], weight: [out, in], bias: [out] or undefined -> [T, out]. Gradients for whichever of
// the three require one; sums run in float32 also for bfloat16. (Write at::Tensor() for no bias:
// with {} the call is ambiguous with at::linear.)
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// y + code basis^T: a change of low rank. y: [T, out], code: [T, R], basis: [out, R], one dtype ->
// [T, out]. Gradients for whichever of the three require one.
at::Tensor add_low_rank(const at::Tensor& y, const at::Tensor& code, const at::Tensor& basis);

// The three gradients that its backward pass is made of: of x [T, in], of the weight [out, in], of
// the bias [out], the last in the type that sums run in.
struct LinearGradients {
  static at::Tensor input(const at::Tensor& grad, const at::Tensor& weight);
  static at::Tensor weight(const at::Tensor& grad, const at::Tensor& x);
  static at::Tensor bias(const at::Tensor& grad);
};

}  // namespace graft
