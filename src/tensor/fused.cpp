// The idea: a row is read, worked on and written once, in chunks of sixteen float32 lanes; bfloat16 is widened on load and
// rounded on store. Rows are shared out among the threads in pieces whose borders do not depend on the number of threads, so
// sums over rows (the gradients of a norm's weight and bias) add up in one order. float64 takes the same code one value at a
// time, for gradient checks.
#include "tensor/fused.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <optional>
#include <vector>

#include "base/error.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dropout_bits.h"
#include "tensor/parallel.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrainValues = 1 << 15;  // values of a piece of work: some ten microseconds
constexpr int64_t kMaxPieces = 64;         // of a backward pass with partial sums

void check_mask(const RowDropout& dropout, int64_t rows) {
  if (!DropRate(dropout.probability).active()) return;
  ensure(dropout.rows != nullptr, "dropout: row ids are missing");
  ensure(
      static_cast<int64_t>(dropout.rows->example.size()) == rows && static_cast<int64_t>(dropout.rows->position.size()) == rows,
      "dropout: there must be one row id per row");
}

// Multiplies rows by their masks; does nothing when the probability is zero.
template <class A>
class RowMask {
 public:
  RowMask(const RowDropout& dropout, int64_t columns)
      : dropout_(dropout),
        rate_(dropout.probability),
        columns_(columns),
        mask_(rate_.active() ? static_cast<size_t>(mask_room(columns)) : 0) {}
  bool active() const { return rate_.active(); }

  // The factors of row t: 0 or 1/(1-p). Valid until the next call.
  const A* of(int64_t t) {
    const auto row = static_cast<size_t>(t);
    fill_mask(dropout_.key, row_name(dropout_.rows->example[row], dropout_.rows->position[row]), rate_, columns_, mask_.data());
    return mask_.data();
  }

 private:
  const RowDropout& dropout_;
  DropRate rate_;
  int64_t columns_;
  std::vector<A> mask_;
};

// ---- dropout

at::Tensor masked(const at::Tensor& input, const RowDropout& options) {
  const at::Tensor x = input.contiguous();
  at::Tensor y = at::empty_like(x);
  const int64_t columns = x.size(1);
  with_scalar(x.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    const T* from = x.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    parallel_ranges(x.size(0), kGrainValues / std::max<int64_t>(columns, 1), [&](int64_t begin, int64_t end) {
      RowMask<typename C::Accumulator> mask(options, columns);
      for (int64_t t = begin; t < end; ++t) {
        const auto* factors = mask.of(t);
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          C::store(to + t * columns + c,
                   C::load(from + t * columns + c, n) * Chunk<typename C::Accumulator>::load(factors + c, n), n);
        });
      }
    });
  });
  return y;
}

struct DropoutFunction : torch::autograd::Function<DropoutFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const RowDropout& options) {
    keep(context, options);
    return masked(x, options);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {masked(grads[0], kept<RowDropout>(context)), {}};
  }
};

// ---- residual add and LayerNorm

struct Normalised {
  at::Tensor y, unit, inverse_deviation;  // unit: the normalised rows before weight and bias, in x's dtype
};

// weight and bias are already in the accumulator's type.
Normalised add_norm_forward(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, const at::Tensor& bias,
                            double epsilon, const RowDropout& dropout, bool keeps_unit) {
  const int64_t rows = x.size(0), columns = x.size(1);
  Normalised out{at::empty_like(x), keeps_unit ? at::empty_like(x) : at::Tensor(),
                 keeps_unit ? at::empty({rows}, weight.options()) : at::Tensor()};
  with_scalar(x.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    using A = typename C::Accumulator;
    using CA = Chunk<A>;
    const T* in = x.const_data_ptr<T>();
    const T* other = residual.defined() ? residual.const_data_ptr<T>() : nullptr;
    const A *scale = weight.const_data_ptr<A>(), *shift = bias.const_data_ptr<A>();
    T *y = out.y.mutable_data_ptr<T>(), *unit = keeps_unit ? out.unit.mutable_data_ptr<T>() : nullptr;
    A* inverse = keeps_unit ? out.inverse_deviation.mutable_data_ptr<A>() : nullptr;
    parallel_ranges(rows, kGrainValues / columns, [&](int64_t begin, int64_t end) {
      RowMask<A> mask(dropout, columns);
      std::vector<A> sums(static_cast<size_t>(columns));
      for (int64_t t = begin; t < end; ++t) {
        const int64_t row = t * columns;
        const A* factors = mask.active() ? mask.of(t) : nullptr;
        typename C::Value total{}, squares{};
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          typename C::Value s = C::load(in + row + c, n);
          if (factors != nullptr) s *= CA::load(factors + c, n);
          if (other != nullptr) s += C::load(other + row + c, n);
          total += s;
          CA::store(sums.data() + c, s, n);
        });
        const A mean = C::sum(total) / static_cast<A>(columns);
        for_chunks<T>(columns, [&](int64_t c, auto n) {  // two passes: the row is in the first cache, and nothing cancels
          CA::store(sums.data() + c, CA::load(sums.data() + c, n) - mean, n);
          const typename C::Value d = CA::load(sums.data() + c, n);  // reloaded: lanes past the end are zero
          squares += d * d;
        });
        const A inverse_deviation = A{1} / std::sqrt(C::sum(squares) / static_cast<A>(columns) + static_cast<A>(epsilon));
        if (inverse != nullptr) inverse[t] = inverse_deviation;
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          const typename C::Value u = CA::load(sums.data() + c, n) * inverse_deviation;
          if (unit != nullptr) C::store(unit + row + c, u, n);
          C::store(y + row + c, u * CA::load(scale + c, n) + CA::load(shift + c, n), n);
        });
      }
    });
  });
  return out;
}

struct NormGradients {
  at::Tensor x, residual, weight, bias;
};

struct NormWants {
  bool x, residual, weight, bias;
};

// With u the normalised row, g = grad * weight and r = 1/deviation: d(sum) = r (g - mean(g) - u mean(g u)).
NormGradients add_norm_backward(const at::Tensor& grad, const at::Tensor& unit, const at::Tensor& inverse_deviation,
                                const at::Tensor& weight, const RowDropout& dropout, NormWants wants) {
  const int64_t rows = grad.size(0), columns = grad.size(1);
  const bool drops = DropRate(dropout.probability).active();
  const bool wants_sum = wants.residual || (wants.x && !drops), wants_x = wants.x && drops;
  const int64_t grain = std::max(kGrainValues / columns, (rows + kMaxPieces - 1) / kMaxPieces);
  const int64_t pieces = (rows + grain - 1) / grain;
  NormGradients out;
  if (wants_sum) out.residual = at::empty_like(grad);
  if (wants_x) out.x = at::empty_like(grad);
  if (wants.weight) out.weight = at::zeros({pieces, columns}, weight.options());
  if (wants.bias) out.bias = at::zeros({pieces, columns}, weight.options());
  with_scalar(grad.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    using A = typename C::Accumulator;
    using CA = Chunk<A>;
    const T *dy = grad.const_data_ptr<T>(), *normal = unit.const_data_ptr<T>();
    const A *scale = weight.const_data_ptr<A>(), *inverse = inverse_deviation.const_data_ptr<A>();
    T* d_sum = wants_sum ? out.residual.mutable_data_ptr<T>() : nullptr;
    T* d_x = wants_x ? out.x.mutable_data_ptr<T>() : nullptr;
    A* all_d_weight = wants.weight ? out.weight.mutable_data_ptr<A>() : nullptr;
    A* all_d_bias = wants.bias ? out.bias.mutable_data_ptr<A>() : nullptr;
    parallel_ranges(rows, grain, [&](int64_t begin, int64_t end) {
      RowMask<A> mask(dropout, columns);
      A* d_weight = all_d_weight != nullptr ? all_d_weight + begin / grain * columns : nullptr;
      A* d_bias = all_d_bias != nullptr ? all_d_bias + begin / grain * columns : nullptr;
      for (int64_t t = begin; t < end; ++t) {
        const int64_t row = t * columns;
        typename C::Value sum_g{}, sum_gu{};
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          const typename C::Value d = C::load(dy + row + c, n), u = C::load(normal + row + c, n), g = d * CA::load(scale + c, n);
          sum_g += g;
          sum_gu += g * u;
          if (d_weight != nullptr) CA::store(d_weight + c, CA::load(d_weight + c, n) + d * u, n);
          if (d_bias != nullptr) CA::store(d_bias + c, CA::load(d_bias + c, n) + d, n);
        });
        if (d_sum == nullptr && d_x == nullptr) continue;
        const A mean_g = C::sum(sum_g) / static_cast<A>(columns), mean_gu = C::sum(sum_gu) / static_cast<A>(columns);
        const A* factors = d_x != nullptr ? mask.of(t) : nullptr;
        for_chunks<T>(columns, [&](int64_t c, auto n) {
          const typename C::Value u = C::load(normal + row + c, n), g = C::load(dy + row + c, n) * CA::load(scale + c, n);
          const typename C::Value d = (g - mean_g - u * mean_gu) * inverse[t];
          if (d_sum != nullptr) C::store(d_sum + row + c, d, n);
          if (d_x != nullptr) C::store(d_x + row + c, d * CA::load(factors + c, n), n);
        });
      }
    });
  });
  if (wants.weight) out.weight = out.weight.sum(0);
  if (wants.bias) out.bias = out.bias.sum(0);
  if (wants.x && !drops) out.x = out.residual;
  if (!wants.residual) out.residual = at::Tensor();
  return out;
}

struct NormCall {
  double epsilon;
  RowDropout dropout;
};

struct AddNormFunction : torch::autograd::Function<AddNormFunction> {
  // The residual comes last: autograd does not count an absent tensor.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const std::optional<at::Tensor>& residual, const NormCall& call) {
    const at::ScalarType type = accumulator_type(x.scalar_type());
    const at::Tensor scale = weight.to(type).contiguous();
    const Normalised out = add_norm_forward(x.contiguous(), residual ? residual->contiguous() : at::Tensor(), scale,
                                            bias.to(type).contiguous(), call.epsilon, call.dropout, true);
    keep(context, call.dropout);
    context->save_for_backward({out.unit, out.inverse_deviation, scale});
    context->saved_data["weight_type"] = static_cast<int64_t>(weight.scalar_type());
    context->saved_data["bias_type"] = static_cast<int64_t>(bias.scalar_type());
    context->saved_data["has_residual"] = residual.has_value();
    return out.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const bool has_residual = context->saved_data.at("has_residual").toBool();
    const NormWants wants{.x = context->needs_input_grad(0),
                          .residual = has_residual && context->needs_input_grad(3),
                          .weight = context->needs_input_grad(1),
                          .bias = context->needs_input_grad(2)};
    NormGradients out = add_norm_backward(grads[0].contiguous(), saved[0], saved[1], saved[2], kept<RowDropout>(context), wants);
    const auto type_of = [&](const char* name) { return static_cast<at::ScalarType>(context->saved_data.at(name).toInt()); };
    if (wants.weight) out.weight = out.weight.to(type_of("weight_type"));
    if (wants.bias) out.bias = out.bias.to(type_of("bias_type"));
    return {out.x, out.weight, out.bias, out.residual, {}};
  }
};

// ---- activations

constexpr double kTanhScale = 0.7978845608028654;  // sqrt(2/pi)
constexpr double kTanhCube = 0.044715;

// One struct for each activation: its value and its slope at x.
struct Gelu {
  static double value(double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }
  static double slope(double x) {
    return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * std::exp(-0.5 * x * x) * 0.3989422804014327;
  }
  [[gnu::always_inline]] static simd::Floats value(simd::Floats x) { return x * simd::normal(x).distribution; }
  [[gnu::always_inline]] static simd::Floats slope(simd::Floats x) {
    const simd::Normal normal = simd::normal(x);
    return normal.distribution + x * normal.density;
  }
};

// Hendrycks and Gimpel 2016: x (1 + tanh u)/2 = x/(1 + e^-2u) with u = sqrt(2/pi) (x + 0.044715 x^3). In this form no difference
// cancels: the slope of the sigmoid is sigmoid * (e^-2u * sigmoid).
struct GeluTanh {
  template <class V>
  [[gnu::always_inline]] static V power(V x) {
    return simd::exp(constant<V>(-2 * kTanhScale) * (x + constant<V>(kTanhCube) * x * x * x));
  }
  template <class V>
  [[gnu::always_inline]] static V value(V x) {
    return x / (constant<V>(1) + power(x));
  }
  template <class V>
  [[gnu::always_inline]] static V slope(V x) {
    const V e = power(x), sigmoid = constant<V>(1) / (constant<V>(1) + e);
    return sigmoid +
           x * sigmoid * (e * sigmoid) * (constant<V>(2 * kTanhScale) * (constant<V>(1) + constant<V>(3 * kTanhCube) * x * x));
  }
  template <class V>
  [[gnu::always_inline]] static V constant(double x) {
    return V{} + static_cast<std::conditional_t<std::is_same_v<V, double>, double, float>>(x);
  }
};

struct Relu {
  static double value(double x) { return x < 0 ? 0.0 : x; }  // passes NaN on
  static double slope(double x) { return x > 0 ? 1.0 : 0.0; }
  [[gnu::always_inline]] static simd::Floats value(simd::Floats x) { return x < 0.0f ? simd::Floats{} : x; }
  [[gnu::always_inline]] static simd::Floats slope(simd::Floats x) { return x > 0.0f ? simd::splat(1.0f) : simd::Floats{}; }
};

// x s(x) with the sigmoid s(x) = 1/(1 + e^-x) (Elfwing et al. 2018); 1 - s(x) is written as s(-x), which cancels nothing.
struct Silu {
  template <class V>
  [[gnu::always_inline]] static V sigmoid(V x) {
    return constant<V>(1) / (constant<V>(1) + simd::exp(constant<V>(0) - x));
  }
  template <class V>
  [[gnu::always_inline]] static V value(V x) {
    return x * sigmoid(x);
  }
  template <class V>
  [[gnu::always_inline]] static V slope(V x) {
    return sigmoid(x) * (constant<V>(1) + x * sigmoid(constant<V>(0) - x));
  }
  template <class V>
  [[gnu::always_inline]] static V constant(double x) {
    return V{} + static_cast<std::conditional_t<std::is_same_v<V, double>, double, float>>(x);
  }
};

template <class F>
void with_activation(Activation activation, F f) {
  switch (activation) {
    case Activation::kGelu: return f(Gelu());
    case Activation::kGeluTanh: return f(GeluTanh());
    case Activation::kRelu: return f(Relu());
    case Activation::kSilu: return f(Silu());
  }
}

// to[i] = f(in[i]), or grad[i] * f'(in[i]) when there is a grad.
template <class T, class F>
void activate_range(const T* in, const T* grad, T* to, int64_t count) {
  using C = Chunk<T>;
  if (grad == nullptr) {
    for_chunks<T>(count, [&](int64_t i, auto n) { C::store(to + i, F::value(C::load(in + i, n)), n); });
  } else {
    for_chunks<T>(count, [&](int64_t i, auto n) { C::store(to + i, C::load(grad + i, n) * F::slope(C::load(in + i, n)), n); });
  }
}

at::Tensor activated(const at::Tensor& x, const at::Tensor& grad, Activation activation) {
  at::Tensor out = at::empty_like(x);
  with_scalar(x.scalar_type(), [&]<class T>(T*) {
    const T *in = x.const_data_ptr<T>(), *dy = grad.defined() ? grad.const_data_ptr<T>() : nullptr;
    T* to = out.mutable_data_ptr<T>();
    with_activation(activation, [&]<class F>(F) {
      parallel_ranges(x.numel(), kGrainValues, [&](int64_t begin, int64_t end) {
        activate_range<T, F>(in + begin, dy != nullptr ? dy + begin : nullptr, to + begin, end - begin);
      });
    });
  });
  return out;
}

struct ActivateFunction : torch::autograd::Function<ActivateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Activation activation) {
    context->save_for_backward({x});
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    return activated(x.contiguous(), {}, activation);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::Tensor x = context->get_saved_variables()[0];
    const auto activation = static_cast<Activation>(context->saved_data.at("activation").toInt());
    return {activated(x.contiguous(), grads[0].contiguous(), activation), {}};
  }
};

}  // namespace

at::Tensor dropout(const at::Tensor& x, const RowDropout& options) {
  ensure(x.dim() == 2 && x.device().is_cpu(), "dropout: x must be [T, C] on the CPU");
  check_mask(options, x.size(0));
  if (!DropRate(options.probability).active()) return x;
  return needs_graph({x}) ? DropoutFunction::apply(x, options) : masked(x, options);
}

at::Tensor add_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, const at::Tensor& bias,
                    double epsilon, const RowDropout& dropout) {
  ensure(x.dim() == 2 && x.size(1) > 0 && x.device().is_cpu(), "add_norm: x must be [T, C] on the CPU");
  ensure(!residual.defined() || (residual.sizes() == x.sizes() && residual.scalar_type() == x.scalar_type()),
         "add_norm: the residual must have x's shape and dtype");
  ensure(weight.dim() == 1 && weight.size(0) == x.size(1) && bias.sizes() == weight.sizes(),
         "add_norm: weight and bias must be [C]");
  check_mask(dropout, x.size(0));
  if (needs_graph({x, residual, weight, bias})) {
    return AddNormFunction::apply(x, weight, bias, optional_of(residual), NormCall{epsilon, dropout});
  }
  const at::ScalarType type = accumulator_type(x.scalar_type());
  return add_norm_forward(x.contiguous(), residual.defined() ? residual.contiguous() : residual, weight.to(type).contiguous(),
                          bias.to(type).contiguous(), epsilon, dropout, false)
      .y;
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  ensure(x.device().is_cpu(), "activate: x must be on the CPU");
  return needs_graph({x}) ? ActivateFunction::apply(x, activation) : activated(x.contiguous(), {}, activation);
}

}  // namespace graft
