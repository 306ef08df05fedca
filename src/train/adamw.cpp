#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "train/optimizer.h"

namespace graft {

using at::Tensor;

namespace {

// Of one tensor, in the form of transformers, after m, v and t are those of this step.
void transformers_update(const Tensor& param, const Tensor& m, const Tensor& v, double t,
                         double rate, double decay, const AdamW::Options& options) {
  const double size =
      rate * std::sqrt(1.0 - std::pow(options.beta2, t)) / (1.0 - std::pow(options.beta1, t));
  param.addcdiv_(m, v.sqrt().add_(options.epsilon), -size);
  if (decay > 0) param.sub_(param * (rate * decay));
}

}  // namespace

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
    const double rate = learning_rate * rate_scale, decay = decays ? options_.weight_decay : 0.0;
    for (Tensor& t : group.t) t.add_(1);
    if (options_.form == AdamWForm::kTransformers) {
      for (size_t i = 0; i < group.params.size(); ++i) {
        const Tensor& gradient = group.gradients[i];
        group.m[i].mul_(options_.beta1).add_(gradient, 1.0 - options_.beta1);
        group.v[i].mul_(options_.beta2).addcmul_(gradient, gradient, 1.0 - options_.beta2);
        transformers_update(group.params[i], group.m[i], group.v[i], group.t[i].item<double>(),
                            rate, decay, options_);
      }
      continue;
    }
    at::_fused_adamw_(group.params, group.gradients, group.m, group.v, {}, group.t, rate,
                      options_.beta1, options_.beta2, decay, options_.epsilon, /*amsgrad=*/false,
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
