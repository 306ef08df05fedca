#include "model/checkpointed.h"

#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include "base/error.h"
#include "tensor/autograd_call.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Autograd takes no undefined tensors: it sees the others in their order, and a last one of its
// own.
struct Call {
  Computation compute;
  std::vector<bool> is_defined;

  variable_list inputs(at::TensorList seen) const {
    variable_list all;
    size_t next = 0;
    for (const bool is : is_defined) all.push_back(is ? seen[next++] : at::Tensor());
    return all;
  }
};

struct CheckpointedFunction : torch::autograd::Function<CheckpointedFunction> {
  static variable_list forward(AutogradContext* context, const Call& call, at::TensorList seen) {
    keep(context, call);
    context->set_materialize_grads(false);
    context->save_for_backward(seen.vec());
    return call.compute(call.inputs(seen));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const Call& call = kept<Call>(context);
    variable_list seen = context->get_saved_variables();
    for (size_t i = 0; i < seen.size(); ++i)
      seen[i] = seen[i].detach().requires_grad_(context->needs_input_grad(i));
    variable_list roots, gradients;
    {
      const at::AutoGradMode grad_mode(true);
      const variable_list outputs = call.compute(call.inputs(seen));
      ensure(outputs.size() == grads.size(),
             "a computation that is repeated gives as much as before");
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (!grads[i].defined() || !outputs[i].requires_grad()) continue;
        roots.push_back(outputs[i]);
        gradients.push_back(grads[i]);
      }
    }
    if (!roots.empty()) torch::autograd::backward(roots, gradients);
    variable_list result{{}};  // for the call
    for (const at::Tensor& each : seen) result.push_back(each.grad());
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> checkpointed(Computation compute, const std::vector<at::Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return compute(inputs);
  Call call{std::move(compute), {}};
  variable_list seen;
  for (const at::Tensor& input : inputs) {
    call.is_defined.push_back(input.defined());
    if (input.defined()) seen.push_back(input);
  }
  // Leaves that are read inside are hidden from autograd: a tensor that learns has the call
  // recorded even if no input does.
  seen.push_back(at::zeros({}).requires_grad_(true));
  return CheckpointedFunction::apply(call, at::TensorList(seen));
}

}  // namespace graft
