#include "train/optimizer.h"

#include <ATen/ops/linalg_vector_norm.h>

#include <cmath>

#include "base/error.h"

namespace graft {

using at::Tensor;

std::unique_ptr<Optimizer> make_optimizer(const std::vector<ParamSpec>& params, const RunConfig& config) {
  if (config.optimizer == OptimizerKind::kAdafactor) return std::make_unique<Adafactor>(params, config.adafactor);
  return std::make_unique<AdamW>(params, AdamW::Options{config.beta1, config.beta2, config.epsilon, config.weight_decay, config.undrawn});
}

Tensor saved_state(const NamedTensors& state, const std::string& name, const std::vector<int64_t>& shape, size_t& used) {
  const Tensor& found = tensor_at(state, name, "checkpoint");
  if (found.sizes() != at::IntArrayRef(shape)) {
    throw InputError("checkpoint: tensor '" + name + "': expected " + shape_text(shape) + ", found " + shape_text(found.sizes()));
  }
  ++used;
  return found.clone();
}

double gradient_norm(const NamedTensors& tensors) {
  double sum = 0;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.grad().defined()) continue;
    const double norm = at::linalg_vector_norm(tensor.grad(), 2, std::nullopt, false, at::kDouble).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

void clip_gradients(NamedTensors& tensors, double norm, double limit) {
  const double factor = limit / (norm + 1e-6);
  if (limit <= 0 || factor >= 1) return;
  for (auto& [name, tensor] : tensors) {
    if (tensor.grad().defined()) tensor.mutable_grad().mul_(factor);
  }
}

}  // namespace graft
