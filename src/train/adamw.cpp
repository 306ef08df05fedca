#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros_like.h>

#include <map>

#include "base/error.h"
#include "train/optimizer.h"

namespace graft {

using at::Tensor;

AdamW::AdamW(const std::vector<ParamSpec>& params, const Options& options) : options_(options) {
  for (const ParamSpec& param : params) {
    if (param.role == Role::kTrained) slots_.push_back({param, {}, {}, {}});
  }
}

void AdamW::step(NamedTensors& tensors, double learning_rate) {
  const at::NoGradGuard no_grad;
  struct Group {
    std::vector<Tensor> params, gradients, m, v, t;
  };
  std::map<std::pair<bool, double>, Group> groups;  // by decay and rate
  for (Slot& slot : slots_) {
    Tensor& param = tensors.at(slot.spec.name);
    Tensor gradient = param.grad();
    if (!gradient.defined() &&
        (!slot.m.defined() || options_.missing_gradient == MissingGradient::kSkip))
      continue;
    if (!slot.m.defined()) {
      slot.m = at::zeros_like(param);
      slot.v = at::zeros_like(param);
      slot.t = at::zeros({}, at::kFloat);
    }
    Group& group = groups[{slot.spec.decays, slot.spec.rate_scale}];
    group.params.push_back(param.detach());
    group.gradients.push_back(gradient.defined() ? gradient : at::zeros_like(param));
    group.m.push_back(slot.m);
    group.v.push_back(slot.v);
    group.t.push_back(slot.t);
    param.mutable_grad().reset();
  }
  for (auto& [kind, group] : groups) {
    const auto [decays, rate_scale] = kind;
    for (Tensor& t : group.t) t.add_(1);
    at::_fused_adamw_(group.params, group.gradients, group.m, group.v, {}, group.t,
                      learning_rate * rate_scale, options_.beta1, options_.beta2,
                      decays ? options_.weight_decay : 0.0, options_.epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  }
}

std::vector<std::string> AdamW::still_tensors() const {
  std::vector<std::string> names;
  for (const Slot& slot : slots_) {
    if (slot.v.defined() && slot.v.count_nonzero().item<int64_t>() == 0)
      names.push_back(slot.spec.name);
  }
  return names;
}

NamedTensors AdamW::state() const {
  NamedTensors out;
  for (const Slot& slot : slots_) {
    if (!slot.m.defined()) continue;
    out["m/" + slot.spec.name] = slot.m;
    out["v/" + slot.spec.name] = slot.v;
    out["t/" + slot.spec.name] = slot.t;
  }
  return out;
}

void AdamW::restore(const NamedTensors& state) {
  size_t used = 0;
  for (Slot& slot : slots_) {
    if (!state.contains("m/" + slot.spec.name)) continue;
    slot.m = saved_state(state, "m/" + slot.spec.name, slot.spec.shape, used);
    slot.v = saved_state(state, "v/" + slot.spec.name, slot.spec.shape, used);
    slot.t = saved_state(state, "t/" + slot.spec.name, {}, used);
  }
  if (used != state.size())
    throw InputError("checkpoint: optimizer state of tensors that this run does not train");
}

}  // namespace graft
