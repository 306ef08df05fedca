#include "train/optimizer.h"

#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace graft {

using at::Tensor;

std::unique_ptr<Optimizer> make_optimizer(const std::vector<ParamSpec>& params,
                                          const RunConfig& config) {
  if (config.optimizer == OptimizerKind::kAdafactor)
    return std::make_unique<Adafactor>(params, config.adafactor);
  return std::make_unique<AdamW>(
      params, AdamW::Options{config.beta1, config.beta2, config.epsilon, config.weight_decay,
                             config.missing_gradient, config.adamw_form});
}

Tensor saved_state(const NamedTensors& state, const std::string& name,
                   const std::vector<int64_t>& shape, size_t& used) {
  const Tensor& found = tensor_at(state, name, "checkpoint");
  if (found.sizes() != at::IntArrayRef(shape)) {
    throw InputError("checkpoint: tensor '" + name + "': expected " + shape_text(shape) +
                     ", found " + shape_text(found.sizes()));
  }
  ++used;
  return found.clone();
}

namespace {

// Sum of squares in float64, in sixteen running sums: libtorch's norm of float32 numbers in float64
// takes three times as long.
double sum_of_squares(const float* values, int64_t count) {
  constexpr int64_t kLanes = 16;
  std::array<double, kLanes> sums{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<double>(values[i + lane]);
      sums[static_cast<size_t>(lane)] += value * value;
    }
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

double gradient_norm(const NamedTensors& tensors) {
  double sum = 0;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.grad().defined()) continue;
    const Tensor gradient = tensor.grad().to(at::kFloat).contiguous();
    sum += sum_of_squares(gradient.const_data_ptr<float>(), gradient.numel());
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
