#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numeric>

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
  constexpr int64_t kLeastFactored = 128;
  for (const ParamSpec& param : params) {
    if (param.role != Role::kTrained) continue;
    Slot& slot = slots_.emplace_back();
    slot.spec = param;
    if (!config.factored || param.shape.size() < 2) continue;
    std::vector<int64_t> dims(param.shape.size());
    std::iota(dims.begin(), dims.end(), int64_t{0});
    const auto size = [&](int64_t dim) { return param.shape[static_cast<size_t>(dim)]; };
    std::stable_sort(dims.begin(), dims.end(),
                     [&](int64_t i, int64_t j) { return size(i) < size(j); });
    const int64_t next = dims[dims.size() - 2];
    if (size(next) < kLeastFactored) continue;
    slot.row_dim = next;
    slot.column_dim = dims.back();
  }
}

Tensor Adafactor::normalized(Slot& slot, const Tensor& gradient, double decay) {
  const Tensor squares = gradient.square().add_(kSquareFloor);
  const auto update = [&](Tensor& mean, const Tensor& now) {
    if (!mean.defined()) mean = at::zeros_like(now);
    mean.mul_(decay).add_(now, 1.0 - decay);
  };
  if (!slot.is_factored()) {
    update(slot.v, squares);
    return gradient / slot.v.sqrt();
  }
  update(slot.row, squares.mean(slot.column_dim, /*keepdim=*/true));
  update(slot.column, squares.mean(slot.row_dim, /*keepdim=*/true));
  const Tensor share = slot.row / slot.row.mean(slot.row_dim, /*keepdim=*/true);
  return gradient * share.rsqrt() * slot.column.rsqrt();
}

void Adafactor::step(NamedTensors& tensors, double learning_rate) {
  const at::NoGradGuard no_grad;
  const auto t = static_cast<double>(config_.first_step + steps_++);
  const double decay = 1.0 - std::pow(t + 1.0, -kDecayExponent);
  for (Slot& slot : slots_) {
    Tensor& param = tensors.at(slot.spec.name);
    if (!param.grad().defined() && !slot.has_state()) continue;
    const Tensor gradient = param.grad().defined() ? param.grad() : at::zeros_like(param);
    Tensor update = normalized(slot, gradient, decay);
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
    const Tensor& squares = slot.is_factored() ? slot.row : slot.v;
    if (squares.defined() && squares.max().item<double>() < 2 * kSquareFloor)
      names.push_back(slot.spec.name);
  }
  return names;
}

NamedTensors Adafactor::state() const {
  NamedTensors out{{kCount, at::full({}, steps_, at::kLong)}};
  for (const Slot& slot : slots_) {
    for (const auto& [kind, tensor] : {std::pair{"v/", &slot.v}, std::pair{"row/", &slot.row},
                                       std::pair{"column/", &slot.column}}) {
      if (tensor->defined()) out[kind + slot.spec.name] = *tensor;
    }
  }
  return out;
}

void Adafactor::restore(const NamedTensors& state) {
  size_t used = 0;
  steps_ = saved_state(state, kCount, {}, used).item<int64_t>();
  for (Slot& slot : slots_) {
    const auto restore_one = [&](const char* kind, Tensor& tensor, int64_t mean_dim) {
      const std::string name = kind + slot.spec.name;
      std::vector<int64_t> shape = slot.spec.shape;
      if (mean_dim >= 0) shape[static_cast<size_t>(mean_dim)] = 1;
      if (state.contains(name)) tensor = saved_state(state, name, shape, used);
    };
    if (slot.is_factored()) {
      restore_one("row/", slot.row, slot.column_dim);
      restore_one("column/", slot.column, slot.row_dim);
    } else {
      restore_one("v/", slot.v, -1);
    }
  }
  if (used != state.size())
    throw InputError("checkpoint: optimizer state of tensors that this run does not train");
}

}  // namespace graft
