#include "tensor/linear.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "tensor/autograd_call.h"
#include "tensor/dispatch.h"
#include "tensor/plain/plain.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Operators that libtorch offers to its compiler only through the dispatcher.
at::Tensor onednn_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  using Signature = at::Tensor(
      const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
      c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                             .typed<Signature>();
  return op.call(x, weight, optional_of(bias), "none", c10::List<std::optional<at::Scalar>>(), "");
}

at::Tensor onednn_packed(const at::Tensor& weight) {
  using Signature = at::Tensor(const at::Tensor&, std::optional<int64_t>);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                             .typed<Signature>();
  return op.call(weight.contiguous(), std::nullopt);
}

// The dispatch of linear layers: without oneDNN they take the plain form.
bool has_onednn(const at::Tensor& weight) {
  if (!uses_kernels(weight) || !at::globalContext().userEnabledMkldnn()) return false;
  static const bool has_float =
      c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""}).has_value() &&
      c10::Dispatcher::singleton().findSchema({"mkldnn::_reorder_linear_weight", ""}).has_value();
  static const bool has_bfloat16 = has_float && [] {
    const auto schema =
        c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_bf16_supported", ""});
    return schema && schema->typed<bool()>().call();
  }();
  return weight.scalar_type() == at::kFloat ? has_float
                                            : weight.scalar_type() == at::kBFloat16 && has_bfloat16;
}

// y = x W^T + b by oneDNN; `weight` is packed, or a plain matrix or its transpose. One row is
// computed as two: for a single row oneDNN takes a matrix-vector kernel that adds in another order,
// and a row must not depend on how many others there are.
at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor rows = x.contiguous();
  if (rows.size(0) == 1)
    return onednn_linear(rows.expand({2, rows.size(1)}).contiguous(), weight, bias).narrow(0, 0, 1);
  return onednn_linear(rows, weight, bias);
}

void check_shapes(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  ensure(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
         "linear: x must be [T, in] and the weight [out, in]");
  ensure(!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0)),
         "linear: the bias must be [out]");
  ensure(x.scalar_type() == weight.scalar_type(), "linear: x and the weight must have one dtype");
}

bool is_empty(const at::Tensor& x, const at::Tensor& weight) {
  return x.numel() == 0 || weight.numel() == 0;
}

}  // namespace

// Outside the unnamed namespace, since FrozenLinear::State, which others see, derives from it.
struct FrozenTensors {
  at::Tensor weight, bias;
  at::Tensor packed;  // undefined where oneDNN has no kernel for the dtype or device

  // Requires: packed.
  at::Tensor forward(const at::Tensor& x) const {
    return x.numel() > 0 ? product(x, packed, bias) : at::linear(x, weight, bias);
  }

  // oneDNN reads the transpose of a plain matrix as fast as a packed one, so backward needs no copy
  // of its own.
  at::Tensor input_gradient(const at::Tensor& grad) const {
    return packed.defined() && grad.numel() > 0 ? product(grad, weight.t(), {})
                                                : at::mm(grad, weight);
  }
};

namespace {

using SharedTensors = std::shared_ptr<const FrozenTensors>;

struct FrozenFunction : torch::autograd::Function<FrozenFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const SharedTensors& tensors) {
    keep(context, tensors);
    return tensors->forward(x);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {kept<SharedTensors>(context)->input_gradient(grads[0]), {}};
  }
};

struct TrainedFunction : torch::autograd::Function<TrainedFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    // What no gradient will ask for is not kept alive.
    const bool saves_x = weight.requires_grad(), saves_weight = x.requires_grad();
    context->save_for_backward({saves_x ? x : at::Tensor(), saves_weight ? weight : at::Tensor()});
    context->saved_data["bias_type"] =
        bias ? static_cast<int64_t>(bias->scalar_type()) : int64_t{-1};
    return apply_weight(x, weight, bias.value_or(at::Tensor()));
  }

  static at::Tensor apply_weight(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias) {
    return is_empty(x, weight) ? at::linear(x, weight, bias) : product(x, weight, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &grad = grads[0], &x = saved[0], &weight = saved[1];
    variable_list result(3);
    if (context->needs_input_grad(0)) result[0] = LinearGradients::input(grad, weight);
    if (context->needs_input_grad(1)) result[1] = LinearGradients::weight(grad, x);
    const int64_t bias_type = context->saved_data.at("bias_type").toInt();
    if (bias_type >= 0 && context->needs_input_grad(2)) {
      result[2] = LinearGradients::bias(grad).to(static_cast<at::ScalarType>(bias_type));
    }
    return result;
  }
};

// a^T b. oneDNN is twice as fast as MKL in float32; in bfloat16 at::mm calls oneDNN itself. Both
// add in float32.
at::Tensor transposed_product(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() == at::kFloat && has_onednn(a) && a.numel() > 0 && b.numel() > 0) {
    return onednn_linear(a.t().contiguous(), b.contiguous().t(), {});
  }
  return at::mm(a.t(), b);
}

// The products of its backward pass are those of a linear layer; what addmm records for itself runs
// in MKL, at half the speed.
struct LowRankFunction : torch::autograd::Function<LowRankFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& y, const at::Tensor& code,
                            const at::Tensor& basis) {
    context->save_for_backward(
        {basis.requires_grad() ? code : at::Tensor(), code.requires_grad() ? basis : at::Tensor()});
    return at::addmm(y, code, basis.t());
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& grad = grads[0];
    variable_list result(3);
    if (context->needs_input_grad(0)) result[0] = grad;
    if (context->needs_input_grad(1)) result[1] = LinearGradients::input(grad, saved[1]);
    if (context->needs_input_grad(2)) result[2] = LinearGradients::weight(grad, saved[0]);
    return result;
  }
};

}  // namespace

struct FrozenLinear::State : FrozenTensors {};

FrozenLinear::FrozenLinear(at::Tensor weight, at::Tensor bias) : state_(std::make_shared<State>()) {
  ensure(weight.defined() && weight.dim() == 2, "FrozenLinear: the weight must be [out, in]");
  ensure(!weight.requires_grad() && !(bias.defined() && bias.requires_grad()),
         "FrozenLinear: its tensors must not require a gradient");
  ensure(!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0)),
         "FrozenLinear: the bias must be [out]");
  if (bias.defined()) bias = bias.to(weight.scalar_type());
  state_->weight = std::move(weight);
  state_->bias = std::move(bias);
  if (has_onednn(state_->weight) && state_->weight.numel() > 0)
    state_->packed = onednn_packed(state_->weight);
}

at::Tensor FrozenLinear::operator()(const at::Tensor& x) const {
  check_shapes(x, state_->weight, state_->bias);
  if (!state_->packed.defined()) return plain::linear(x, state_->weight, state_->bias);
  if (!needs_graph({x})) return state_->forward(x);
  return FrozenFunction::apply(x, SharedTensors(state_));
}

at::Tensor FrozenLinear::input_gradient(const at::Tensor& grad) const {
  const at::NoGradGuard no_grad;
  return state_->input_gradient(grad);
}

const at::Tensor& FrozenLinear::weight() const { return state_->weight; }
const at::Tensor& FrozenLinear::bias() const { return state_->bias; }

JoinedLinears::JoinedLinears(const std::vector<at::Tensor>& weights,
                             const std::vector<at::Tensor>& biases) {
  ensure(!weights.empty() && (biases.empty() || biases.size() == weights.size()),
         "JoinedLinears: a bias for every layer, or for none");
  const at::NoGradGuard no_grad;
  for (const at::Tensor& weight : weights) outputs_.push_back(weight.size(0));
  matrix_ = at::cat(weights, 0);
  if (!biases.empty()) bias_ = at::cat(biases, 0).to(matrix_.scalar_type());
  is_packed_ = has_onednn(matrix_) && matrix_.numel() > 0;
  if (is_packed_) matrix_ = onednn_packed(matrix_);
}

std::vector<at::Tensor> JoinedLinears::operator()(const at::Tensor& x) const {
  const at::NoGradGuard no_grad;
  if (!is_packed_) return plain::linear(x, matrix_, bias_).split_with_sizes(outputs_, 1);
  if (x.numel() > 0) return product(x, matrix_, bias_).split_with_sizes(outputs_, 1);
  return at::empty({0, std::accumulate(outputs_.begin(), outputs_.end(), int64_t{0})}, x.options())
      .split_with_sizes(outputs_, 1);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  check_shapes(x, weight, bias);
  if (!has_onednn(weight)) return plain::linear(x, weight, bias);
  if (!needs_graph({x, weight, bias})) return TrainedFunction::apply_weight(x, weight, bias);
  return TrainedFunction::apply(x, weight, optional_of(bias));
}

at::Tensor add_low_rank(const at::Tensor& y, const at::Tensor& code, const at::Tensor& basis) {
  ensure(y.dim() == 2 && code.dim() == 2 && basis.dim() == 2 && code.size(0) == y.size(0) &&
             basis.size(0) == y.size(1) && code.size(1) == basis.size(1),
         "add_low_rank: y must be [T, out], the code [T, R] and the basis [out, R]");
  if (!uses_kernels(y)) return plain::add_low_rank(y, code, basis);
  if (!needs_graph({y, code, basis})) return at::addmm(y, code, basis.t());
  return LowRankFunction::apply(y, code, basis);
}

at::Tensor LinearGradients::input(const at::Tensor& grad, const at::Tensor& weight) {
  return has_onednn(weight) && !is_empty(grad, weight) ? product(grad, weight.t(), {})
                                                       : at::mm(grad, weight);
}

// grad^T x, made as its transpose where x is the narrow one (the B of a low-rank pair): the product
// runs over the rows of its left factor, and a narrow left factor is cheap to lay out.
at::Tensor LinearGradients::weight(const at::Tensor& grad, const at::Tensor& x) {
  constexpr int64_t kNarrow = 256;
  if (x.size(1) < grad.size(1) && x.size(1) < kNarrow)
    return transposed_product(x, grad).t().contiguous();
  return transposed_product(grad, x);
}

at::Tensor LinearGradients::bias(const at::Tensor& grad) {
  return at::sum(grad, {0}, false, grad.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

}  // namespace graft
