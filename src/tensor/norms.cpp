// The idea: a row is read, worked on and written once, in chunks of sixteen float32 lanes; bfloat16
// is widened on load and rounded on store. Rows are shared out among the threads in pieces whose
// borders do not depend on the number of threads, so sums over rows (the gradients of a norm's
// weight and bias) add up in one order. float64 takes the same code one value at a time, for
// gradient checks.
#include <ATen/ATen.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dispatch.h"
#include "tensor/fused.h"
#include "tensor/parallel.h"
#include "tensor/plain/plain.h"
#include "tensor/row_mask.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What one pass over the rows of sum = drop * dropped + other makes: the norm of the sum, and what
// else is asked for.
struct NormOutputs {
  at::Tensor y;
  at::Tensor sum;   // in x's dtype; when it is asked for, the norm is that of the rounded sum
  at::Tensor unit;  // the normalised rows before weight and bias, in x's dtype
  at::Tensor mean, inverse_deviation;  // [T] in the accumulator's type; there is no mean in a root
                                       // mean square norm
};

enum class Keeps { kNothing, kUnit, kStatistics };

struct NormCall {
  Norm kind = Norm::kLayer;
  double epsilon = 0;
  RowDropout dropout;
};

// weight and bias are already in the accumulator's type; `other` and bias may be undefined.
NormOutputs norm_forward(const at::Tensor& dropped, const at::Tensor& other,
                         const at::Tensor& weight, const at::Tensor& bias, const NormCall& call,
                         bool wants_sum, Keeps keeps) {
  const int64_t rows = dropped.size(0), columns = dropped.size(1);
  const bool centres = call.kind == Norm::kLayer, keeps_any = keeps != Keeps::kNothing;
  const auto like = [&](bool wanted) { return wanted ? at::empty_like(dropped) : at::Tensor(); };
  const auto per_row = [&](bool wanted) {
    return wanted ? at::empty({rows}, weight.options()) : at::Tensor();
  };
  NormOutputs out{like(true), like(wants_sum), like(keeps == Keeps::kUnit),
                  per_row(keeps == Keeps::kStatistics && centres), per_row(keeps_any)};
  with_scalar(dropped.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    using A = typename C::Accumulator;
    using CA = Chunk<A>;
    const T *in = dropped.const_data_ptr<T>(), *added = const_data<T>(other);
    const A *scale = weight.const_data_ptr<A>(), *shift = const_data<A>(bias);
    T *y = out.y.mutable_data_ptr<T>(), *sum = data<T>(out.sum), *unit = data<T>(out.unit);
    A *means = data<A>(out.mean), *inverse = data<A>(out.inverse_deviation);
    parallel_ranges(rows, kGrainValues / columns, [&](int64_t begin, int64_t end) {
      RowMask<A> mask(call.dropout, columns);
      std::vector<A> sums(static_cast<size_t>(columns));
      for (int64_t t = begin; t < end; ++t) {
        const int64_t row = t * columns;
        const A* factors = mask.active() ? mask.of(t) : nullptr;
        typename C::Value total{}, squares{};
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          typename C::Value s = C::load(in + row + c, n);
          if (factors != nullptr) s *= CA::load(factors + c, n);
          if (added != nullptr) s += C::load(added + row + c, n);
          if (sum != nullptr) {
            C::store(sum + row + c, s, n);
            s = C::load(sum + row + c, n);
          }
          total += s;
          CA::store(sums.data() + c, s, n);
        });
        const A mean = centres ? C::sum(total) / static_cast<A>(columns) : A{0};
        for_chunks<T>(
            columns,
            [&](int64_t c,
                auto n) {  // two passes: the row is in the first cache, and nothing cancels
              if (centres) CA::store(sums.data() + c, CA::load(sums.data() + c, n) - mean, n);
              const typename C::Value d =
                  CA::load(sums.data() + c, n);  // reloaded: lanes past the end are zero
              squares += d * d;
            });
        const A inverse_deviation = A{1} / std::sqrt(C::sum(squares) / static_cast<A>(columns) +
                                                     static_cast<A>(call.epsilon));
        if (means != nullptr) means[t] = mean;
        if (inverse != nullptr) inverse[t] = inverse_deviation;
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          const typename C::Value u = CA::load(sums.data() + c, n) * inverse_deviation;
          if (unit != nullptr) C::store(unit + row + c, u, n);
          typename C::Value v = u * CA::load(scale + c, n);
          if (shift != nullptr) v += CA::load(shift + c, n);
          C::store(y + row + c, v, n);
        });
      }
    });
  });
  return out;
}

// What backward reads: the normalised rows, or the sums they are made from again as (sum - mean) *
// inverse deviation.
struct NormSaved {
  at::Tensor unit, sum, mean, inverse_deviation, weight;
};

struct NormGradients {
  at::Tensor dropped, other, weight, bias;
};

struct NormWants {
  bool dropped, other, weight, bias;
};

// With u the normalised row, g = grad * weight and r = 1/deviation: d(sum) = r (g - mean(g) - u
// mean(g u)), without mean(g) in a root mean square norm, plus the gradient that reaches the sum
// from elsewhere, when there is one.
NormGradients norm_backward(const at::Tensor& grad, const at::Tensor& grad_sum,
                            const NormSaved& saved, const NormCall& call, NormWants wants) {
  const int64_t rows = grad.size(0), columns = grad.size(1);
  const bool drops = is_active(call.dropout.lanes), centres = call.kind == Norm::kLayer;
  const bool wants_sum = wants.other || (wants.dropped && !drops),
             wants_dropped = wants.dropped && drops;
  const int64_t grain = std::max(kGrainValues / columns, (rows + kMaxPieces - 1) / kMaxPieces);
  const int64_t pieces = (rows + grain - 1) / grain;
  NormGradients out;
  if (wants_sum) out.other = at::empty_like(grad);
  if (wants_dropped) out.dropped = at::empty_like(grad);
  if (wants.weight) out.weight = at::zeros({pieces, columns}, saved.weight.options());
  if (wants.bias) out.bias = at::zeros({pieces, columns}, saved.weight.options());
  with_scalar(grad.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    using A = typename C::Accumulator;
    using CA = Chunk<A>;
    const T *dy = grad.const_data_ptr<T>(), *d_more = const_data<T>(grad_sum);
    const T* normal = const_data<T>(saved.unit.defined() ? saved.unit : saved.sum);
    const A *scale = saved.weight.const_data_ptr<A>(),
            *inverse = saved.inverse_deviation.const_data_ptr<A>();
    const A* means = const_data<A>(saved.mean);
    T *d_sum = data<T>(out.other), *d_dropped = data<T>(out.dropped);
    A *all_d_weight = data<A>(out.weight), *all_d_bias = data<A>(out.bias);
    parallel_ranges(rows, grain, [&](int64_t begin, int64_t end) {
      RowMask<A> mask(call.dropout, columns);
      A* d_weight = all_d_weight != nullptr ? all_d_weight + begin / grain * columns : nullptr;
      A* d_bias = all_d_bias != nullptr ? all_d_bias + begin / grain * columns : nullptr;
      for (int64_t t = begin; t < end; ++t) {
        const int64_t row = t * columns;
        const A mean = means != nullptr ? means[t] : A{0},
                factor = saved.unit.defined() ? A{1} : inverse[t];
        typename C::Value sum_g{}, sum_gu{};  // lanes past the end: u is not zero there, but g is
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          const typename C::Value d = C::load(dy + row + c, n),
                                  u = (C::load(normal + row + c, n) - mean) * factor;
          const typename C::Value g = d * CA::load(scale + c, n);
          sum_g += g;
          sum_gu += g * u;
          if (d_weight != nullptr) CA::store(d_weight + c, CA::load(d_weight + c, n) + d * u, n);
          if (d_bias != nullptr) CA::store(d_bias + c, CA::load(d_bias + c, n) + d, n);
        });
        if (d_sum == nullptr && d_dropped == nullptr) continue;
        const A mean_g = centres ? C::sum(sum_g) / static_cast<A>(columns) : A{0};
        const A mean_gu = C::sum(sum_gu) / static_cast<A>(columns);
        const A* factors = d_dropped != nullptr ? mask.of(t) : nullptr;
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          const typename C::Value u = (C::load(normal + row + c, n) - mean) * factor;
          const typename C::Value g = C::load(dy + row + c, n) * CA::load(scale + c, n);
          typename C::Value d = (g - mean_g - u * mean_gu) * inverse[t];
          if (d_more != nullptr) d += C::load(d_more + row + c, n);
          if (d_sum != nullptr) C::store(d_sum + row + c, d, n);
          if (d_dropped != nullptr) C::store(d_dropped + row + c, d * CA::load(factors + c, n), n);
        });
      }
    });
  });
  if (wants.weight) out.weight = out.weight.sum(0);
  if (wants.bias) out.bias = out.bias.sum(0);
  if (wants.dropped && !drops) out.dropped = out.other;
  if (!wants.other) out.other = at::Tensor();
  return out;
}

at::Tensor contiguous(const at::Tensor& x) { return x.defined() ? x.contiguous() : x; }

// weight and bias as the kernels read them.
at::Tensor widened(const at::Tensor& x, const at::Tensor& like) {
  return x.defined() ? x.to(accumulator_type(like.scalar_type())).contiguous() : x;
}

struct AddNormFunction : torch::autograd::Function<AddNormFunction> {
  // bias and residual come last: autograd does not count an absent tensor.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias,
                            const std::optional<at::Tensor>& residual, const NormCall& call) {
    const at::Tensor scale = widened(weight, x);
    const NormOutputs out =
        norm_forward(x.contiguous(), contiguous(residual.value_or(at::Tensor())), scale,
                     widened(bias.value_or(at::Tensor()), x), call, false, Keeps::kUnit);
    keep(context, call);
    context->save_for_backward({out.unit, out.inverse_deviation, scale});
    context->saved_data["weight_type"] = static_cast<int64_t>(weight.scalar_type());
    if (bias) context->saved_data["bias_type"] = static_cast<int64_t>(bias->scalar_type());
    context->saved_data["has_bias"] = bias.has_value();
    context->saved_data["has_residual"] = residual.has_value();
    return out.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const bool has_bias = context->saved_data.at("has_bias").toBool(),
               has_residual = context->saved_data.at("has_residual").toBool();
    const NormWants wants{.dropped = context->needs_input_grad(0),
                          .other = has_residual && context->needs_input_grad(has_bias ? 3 : 2),
                          .weight = context->needs_input_grad(1),
                          .bias = has_bias && context->needs_input_grad(2)};
    NormGradients out = norm_backward(grads[0].contiguous(), {},
                                      {.unit = saved[0],
                                       .sum = {},
                                       .mean = {},
                                       .inverse_deviation = saved[1],
                                       .weight = saved[2]},
                                      kept<NormCall>(context), wants);
    const auto type_of = [&](const char* name) {
      return static_cast<at::ScalarType>(context->saved_data.at(name).toInt());
    };
    if (wants.weight) out.weight = out.weight.to(type_of("weight_type"));
    if (wants.bias) out.bias = out.bias.to(type_of("bias_type"));
    return {out.dropped, out.weight, out.bias, out.other, {}};
  }
};

// The tensors of sum_and_norm that autograd sees, in the order x, weight, then bias and y where
// they are defined.
struct ThenNormCall {
  NormCall norm;
  bool has_bias = false, has_y = false;
};

// Keeps the sum, which lives on as the residual stream, and two numbers a row.
struct AddThenNormFunction : torch::autograd::Function<AddThenNormFunction> {
  static variable_list forward(AutogradContext* context, const ThenNormCall& call,
                               at::TensorList inputs) {
    const at::Tensor &x = inputs[0], &weight = inputs[1];
    const at::Tensor bias = call.has_bias ? inputs[2] : at::Tensor(),
                     y = call.has_y ? inputs.back() : at::Tensor();
    const at::Tensor scale = widened(weight, x);
    NormOutputs out = call.has_y
                          ? norm_forward(y.contiguous(), x.contiguous(), scale, widened(bias, x),
                                         call.norm, true, Keeps::kStatistics)
                          : norm_forward(x.contiguous(), {}, scale, widened(bias, x), call.norm,
                                         false, Keeps::kStatistics);
    keep(context, call);
    context->set_materialize_grads(false);
    context->save_for_backward({call.has_y ? out.sum : x, out.mean, out.inverse_deviation, scale});
    context->saved_data["weight_type"] = static_cast<int64_t>(weight.scalar_type());
    if (call.has_bias) context->saved_data["bias_type"] = static_cast<int64_t>(bias.scalar_type());
    return call.has_y ? variable_list{out.y, out.sum} : variable_list{out.y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const ThenNormCall& call = kept<ThenNormCall>(context);
    const size_t bias_place = 2, y_place = call.has_bias ? 3 : 2;
    const NormWants wants{
        .dropped = call.has_y ? context->needs_input_grad(y_place) : context->needs_input_grad(0),
        .other = call.has_y && context->needs_input_grad(0),
        .weight = context->needs_input_grad(1),
        .bias = call.has_bias && context->needs_input_grad(bias_place)};
    const at::Tensor grad_sum = call.has_y ? contiguous(grads[1]) : at::Tensor();
    NormGradients out;
    if (grads[0].defined()) {
      const variable_list saved = context->get_saved_variables();
      out = norm_backward(grads[0].contiguous(), grad_sum,
                          {.unit = {},
                           .sum = saved[0].contiguous(),
                           .mean = saved[1],
                           .inverse_deviation = saved[2],
                           .weight = saved[3]},
                          call.norm, wants);
    } else if (grad_sum.defined()) {  // nobody used the norm
      if (wants.other) out.other = grad_sum;
      if (wants.dropped) out.dropped = graft::dropout(grad_sum, call.norm.dropout);
    }
    const auto type_of = [&](const char* name) {
      return static_cast<at::ScalarType>(context->saved_data.at(name).toInt());
    };
    if (out.weight.defined()) out.weight = out.weight.to(type_of("weight_type"));
    if (out.bias.defined()) out.bias = out.bias.to(type_of("bias_type"));
    variable_list result{
        {}, call.has_y ? out.other : out.dropped, out.weight};  // the first for the call
    if (call.has_bias) result.push_back(out.bias);
    if (call.has_y) result.push_back(out.dropped);
    return result;
  }
};

void check_norm(const std::string& what, const at::Tensor& x, const at::Tensor& other,
                const at::Tensor& weight, const at::Tensor& bias) {
  ensure(x.dim() == 2 && x.size(1) > 0, what + ": x must be [T, C]");
  ensure(!other.defined() || (other.sizes() == x.sizes() && other.scalar_type() == x.scalar_type()),
         what + ": the residual must have x's shape and dtype");
  ensure(weight.dim() == 1 && weight.size(0) == x.size(1) &&
             (!bias.defined() || bias.sizes() == weight.sizes()),
         what + ": weight and bias must be [C]");
}

}  // namespace

at::Tensor norm_of_sum(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                       const at::Tensor& bias, double epsilon, const RowDropout& dropout) {
  check_norm("norm_of_sum", x, residual, weight, bias);
  check_mask(dropout, x.size(0));
  if (!uses_kernels(x)) return plain::norm_of_sum(x, residual, weight, bias, epsilon, dropout);
  const NormCall call{Norm::kLayer, epsilon, dropout};
  if (needs_graph({x, residual, weight, bias}))
    return AddNormFunction::apply(x, weight, optional_of(bias), optional_of(residual), call);
  return norm_forward(x.contiguous(), contiguous(residual), widened(weight, x), widened(bias, x),
                      call, false, Keeps::kNothing)
      .y;
}

Normed sum_and_norm(const at::Tensor& x, const at::Tensor& y, Norm kind, const at::Tensor& weight,
                    const at::Tensor& bias, double epsilon, const RowDropout& dropout) {
  check_norm("sum_and_norm", x, y, weight, bias);
  ensure(kind == Norm::kLayer || !bias.defined(),
         "sum_and_norm: a root mean square norm has no bias");
  check_mask(dropout, x.size(0));
  if (!uses_kernels(x)) return plain::sum_and_norm(x, y, kind, weight, bias, epsilon, dropout);
  const NormCall call{kind, epsilon, y.defined() ? dropout : RowDropout()};
  if (needs_graph({x, y, weight, bias})) {
    variable_list inputs{x, weight};
    if (bias.defined()) inputs.push_back(bias);
    if (y.defined()) inputs.push_back(y);
    const variable_list out = AddThenNormFunction::apply(
        ThenNormCall{call, bias.defined(), y.defined()}, at::TensorList(inputs));
    return {y.defined() ? out[1] : x, out[0]};
  }
  const NormOutputs out = y.defined()
                              ? norm_forward(y.contiguous(), x.contiguous(), widened(weight, x),
                                             widened(bias, x), call, true, Keeps::kNothing)
                              : norm_forward(x.contiguous(), {}, widened(weight, x),
                                             widened(bias, x), call, false, Keeps::kNothing);
  return {y.defined() ? out.sum : x, out.y};
}

}  // namespace graft
