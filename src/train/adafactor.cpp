#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "base/error.h"
#include "train/optimizer.h"

namespace graft {

using at::Tensor;

namespace {

constexpr double kDecayExponent = 0.8, kSquareFloor = 1e-30, kClipThreshold = 1.0,
                 kScaleFloor = 1e-3;
constexpr const char* kCount = "t/steps";

double root_mean_square(const Tensor& tensor) {
  return std::sqrt(tensor.square().mean(at::kDouble).item<double>());
}

}  // namespace

Adafactor::Adafactor(const std::vector<ParamSpec>& params, const AdafactorConfig& config)
    : config_(config) {
  for (const ParamSpec& param : params) {
    if (param.role == Role::kTrained) slots_.push_back({param, {}});
  }
}

void Adafactor::step(NamedTensors& tensors, double learning_rate) {
  const at::NoGradGuard no_grad;
  const auto t = static_cast<double>(config_.first_step + steps_++);
  const double decay = 1.0 - std::pow(t + 1.0, -kDecayExponent);
  for (Slot& slot : slots_) {
    Tensor& param = tensors.at(slot.spec.name);
    if (!param.grad().defined() && !slot.v.defined()) continue;
    if (!slot.v.defined()) slot.v = at::zeros_like(param);
    const Tensor gradient = param.grad().defined() ? param.grad() : at::zeros_like(param);
    slot.v.mul_(decay).add_(gradient.square().add_(kSquareFloor), 1.0 - decay);
    Tensor update = gradient / slot.v.sqrt();
    update.div_(std::max(1.0, root_mean_square(update) / kClipThreshold));
    const double scale =
        config_.scales_by_parameter ? std::max(root_mean_square(param), kScaleFloor) : 1.0;
    param.detach().sub_(update, learning_rate * slot.spec.rate_scale * scale);
    param.mutable_grad().reset();
  }
}

// The mean of squares is made of the floor alone.
std::vector<std::string> Adafactor::still_tensors() const {
  std::vector<std::string> names;
  for (const Slot& slot : slots_) {
    if (slot.v.defined() && slot.v.max().item<double>() < 2 * kSquareFloor)
      names.push_back(slot.spec.name);
  }
  return names;
}

NamedTensors Adafactor::state() const {
  NamedTensors out{{kCount, at::full({}, steps_, at::kLong)}};
  for (const Slot& slot : slots_) {
    if (slot.v.defined()) out["v/" + slot.spec.name] = slot.v;
  }
  return out;
}

void Adafactor::restore(const NamedTensors& state) {
  size_t used = 0;
  steps_ = saved_state(state, kCount, {}, used).item<int64_t>();
  for (Slot& slot : slots_) {
    if (state.contains("v/" + slot.spec.name))
      slot.v = saved_state(state, "v/" + slot.spec.name, slot.spec.shape, used);
  }
  if (used != state.size())
    throw InputError("checkpoint: optimizer state of tensors that this run does not train");
}

}  // namespace graft
