#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

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

constexpr double kTanhScale = 0.7978845608028654;  // sqrt(2/pi)
constexpr double kTanhCube = 0.044715;

// x in a double, or in every lane.
template <class V>
[[gnu::always_inline]] inline V constant(double x) {
  return V{} + static_cast<std::conditional_t<std::is_same_v<V, double>, double, float>>(x);
}

// One struct for each activation: its value and its slope at x.
struct Gelu {
  static double value(double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }
  static double slope(double x) {
    return 0.5 * std::erfc(-x / std::numbers::sqrt2) +
           x * std::exp(-0.5 * x * x) * 0.3989422804014327;
  }
  [[gnu::always_inline]] static simd::Floats value(simd::Floats x) {
    return x * simd::normal(x).distribution;
  }
  [[gnu::always_inline]] static simd::Floats slope(simd::Floats x) {
    const simd::Normal normal = simd::normal(x);
    return normal.distribution + x * normal.density;
  }
};

// Hendrycks and Gimpel 2016: x (1 + tanh u)/2 = x/(1 + e^-2u) with u = sqrt(2/pi) (x + 0.044715
// x^3). In this form no difference cancels: the slope of the sigmoid is sigmoid * (e^-2u *
// sigmoid).
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
    return sigmoid + x * sigmoid * (e * sigmoid) *
                         (constant<V>(2 * kTanhScale) *
                          (constant<V>(1) + constant<V>(3 * kTanhCube) * x * x));
  }
};

struct Relu {
  static double value(double x) { return x < 0 ? 0.0 : x; }  // passes NaN on
  static double slope(double x) { return x > 0 ? 1.0 : 0.0; }
  [[gnu::always_inline]] static simd::Floats value(simd::Floats x) {
    return x < 0.0f ? simd::Floats{} : x;
  }
  [[gnu::always_inline]] static simd::Floats slope(simd::Floats x) {
    return x > 0.0f ? simd::splat(1.0f) : simd::Floats{};
  }
};

// x s(x) with the sigmoid s(x) = 1/(1 + e^-x) (Elfwing et al. 2018); 1 - s(x) is written as e^-x
// s(x), which cancels nothing.
struct Silu {
  template <class V>
  [[gnu::always_inline]] static V value(V x) {
    return x * (constant<V>(1) / (constant<V>(1) + simd::exp(constant<V>(0) - x)));
  }
  template <class V>
  [[gnu::always_inline]] static V slope(V x) {
    const V e = simd::exp(constant<V>(0) - x), sigmoid = constant<V>(1) / (constant<V>(1) + e);
    return sigmoid * (constant<V>(1) + x * (e * sigmoid));
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
    for_chunks<T>(count,
                  [&](int64_t i, auto n) { C::store(to + i, F::value(C::load(in + i, n)), n); });
  } else {
    for_chunks<T>(count, [&](int64_t i, auto n) {
      C::store(to + i, C::load(grad + i, n) * F::slope(C::load(in + i, n)), n);
    });
  }
}

at::Tensor activated(const at::Tensor& x, const at::Tensor& grad, Activation activation) {
  at::Tensor out = at::empty_like(x);
  with_scalar(x.scalar_type(), [&]<class T>(T*) {
    const T *in = x.const_data_ptr<T>(), *dy = grad.defined() ? grad.const_data_ptr<T>() : nullptr;
    T* to = out.mutable_data_ptr<T>();
    with_activation(activation, [&]<class F>(F) {
      parallel_ranges(x.numel(), kGrainValues, [&](int64_t begin, int64_t end) {
        activate_range<T, F>(in + begin, dy != nullptr ? dy + begin : nullptr, to + begin,
                             end - begin);
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

// ---- gates

at::Tensor gated_product(const at::Tensor& gate, const at::Tensor& up, Activation activation) {
  at::Tensor out = at::empty_like(gate);
  with_scalar(gate.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    const T *g = gate.const_data_ptr<T>(), *u = up.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    with_activation(activation, [&]<class F>(F) {
      parallel_ranges(gate.numel(), kGrainValues, [&](int64_t begin, int64_t end) {
        for_chunks<T>(end - begin, [&](int64_t offset, auto n) {
          const int64_t i = begin + offset;
          C::store(to + i, F::value(C::load(g + i, n)) * C::load(u + i, n), n);
        });
      });
    });
  });
  return out;
}

// The gradients of gate and up, where they are defined.
void gated_gradients(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& grad,
                     Activation activation, const at::Tensor& d_gate, const at::Tensor& d_up) {
  with_scalar(gate.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    const T *g = gate.const_data_ptr<T>(), *u = up.const_data_ptr<T>(),
            *d = grad.const_data_ptr<T>();
    T *to_gate = data<T>(d_gate), *to_up = data<T>(d_up);
    with_activation(activation, [&]<class F>(F) {
      parallel_ranges(gate.numel(), kGrainValues, [&](int64_t begin, int64_t end) {
        for_chunks<T>(end - begin, [&](int64_t offset, auto n) {
          const int64_t i = begin + offset;
          const typename C::Value x = C::load(g + i, n), dy = C::load(d + i, n);
          const typename C::Value slope = F::slope(x),
                                  value = F::value(x);  // side by side: they share an exponential
          if (to_gate != nullptr) C::store(to_gate + i, dy * C::load(u + i, n) * slope, n);
          if (to_up != nullptr) C::store(to_up + i, dy * value, n);
        });
      });
    });
  });
}

struct GatedFunction : torch::autograd::Function<GatedFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up,
                            Activation activation) {
    context->save_for_backward({gate, up});
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    return gated_product(gate.contiguous(), up.contiguous(), activation);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gate = saved[0].contiguous(), up = saved[1].contiguous();
    const auto wanted = [&](size_t i) {
      return context->needs_input_grad(i) ? at::empty_like(gate) : at::Tensor();
    };
    const at::Tensor d_gate = wanted(0), d_up = wanted(1);
    gated_gradients(gate, up, grads[0].contiguous(),
                    static_cast<Activation>(context->saved_data.at("activation").toInt()), d_gate,
                    d_up);
    return {d_gate, d_up, {}};
  }
};

}  // namespace

at::Tensor activate(const at::Tensor& x, Activation activation) {
  if (!uses_kernels(x)) return plain::activate(x, activation);
  return needs_graph({x}) ? ActivateFunction::apply(x, activation)
                          : activated(x.contiguous(), {}, activation);
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation) {
  ensure(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(),
         "gated: gate and up must have one shape and dtype");
  if (!uses_kernels(gate)) return plain::gated(gate, up, activation);
  if (needs_graph({gate, up})) return GatedFunction::apply(gate, up, activation);
  return gated_product(gate.contiguous(), up.contiguous(), activation);
}

}  // namespace graft
