// Lets a torch::autograd::Function keep a plain C++ value between forward and backward.
#pragma once

#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <initializer_list>
#include <optional>
#include <utility>

namespace graft {

template <class T>
struct Kept : torch::CustomClassHolder {
  explicit Kept(T kept) : value(std::move(kept)) {}
  T value;
};

template <class T>
void keep(torch::autograd::AutogradContext* context, T value) {
  context->saved_data["kept"] =
      c10::IValue::make_capsule(c10::make_intrusive<Kept<T>>(std::move(value)));
}

template <class T>
const T& kept(torch::autograd::AutogradContext* context) {
  // The context owns the capsule for as long as the backward pass runs.
  return static_cast<const Kept<T>*>(context->saved_data.at("kept").toCapsule().get())->value;
}

// A tensor that may be undefined, as torch::autograd::Function takes it.
inline std::optional<at::Tensor> optional_of(const at::Tensor& x) {
  return x.defined() ? std::optional(x) : std::nullopt;
}

// Whether a call with these inputs must be recorded.
inline bool needs_graph(std::initializer_list<at::Tensor> inputs) {
  if (!at::GradMode::is_enabled()) return false;
  for (const at::Tensor& input : inputs) {
    if (input.defined() && input.requires_grad()) return true;
  }
  return false;
}

}  // namespace graft
