// Activation checkpointing (Chen et al. 2016, arXiv:1604.06174):
// what a computation reads is kept, and not what it makes on the way.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace graft {

// Some inputs of a computation may be undefined; its outputs are floating-point, new tensors, and
// as many each time.
using Computation = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs)>;

// compute(inputs). Where a graph is recorded, it runs once without one, and again, with one, in the
// backward pass; gradients reach the inputs, and the leaves that `compute` reads by itself. It must
// give the same both times, and what it reads by itself must be leaves, and live until then.
std::vector<at::Tensor> checkpointed(Computation compute, const std::vector<at::Tensor>& inputs);

}  // namespace graft
