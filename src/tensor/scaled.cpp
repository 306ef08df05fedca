#include "tensor/scaled.h"

#include <ATen/ATen.h>

#include <type_traits>

#include "base/error.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dispatch.h"
#include "tensor/parallel.h"
#include "tensor/plain/plain.h"
#include "tensor/row_mask.h"

namespace graft {

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

[[gnu::always_inline]] inline simd::Words columns_from(int64_t first) {
  constexpr simd::Words kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return (kLane + static_cast<uint32_t>(first)) * kDitherOfColumn;
}

// Rounds `x` to one of the two values of bfloat16 around it, by the draw of (y, column). Adding 16
// bits and cutting 16 off rounds the magnitude up with the probability that the bits cut off stand
// for; infinities stay, a NaN stays one.
[[gnu::always_inline]] inline simd::Words dithered(simd::Floats x, simd::Floats y, int64_t column) {
  const simd::Words draw =
      (reinterpret_cast<simd::Words>(y) >> 16) * kDitherOfValue + columns_from(column);
  const simd::Words rounded = (reinterpret_cast<simd::Words>(x) + (draw >> 16)) >> 16;
  return x == x ? rounded : simd::Words{} + 0x7FC0u;
}

[[gnu::always_inline]] inline void store_words(c10::BFloat16* to, simd::Words words) {
#if defined(__AVX512F__)
  const auto half = _mm512_maskz_cvtepi32_epi16(0xFFFF, reinterpret_cast<__m512i>(words));
#else
  const simd::Halves half = __builtin_convertvector(words, simd::Halves);
#endif
  std::memcpy(to, &half, sizeof half);
}

// Stores x, which was made of y at `column`.
template <class T>
[[gnu::always_inline]] inline void put(T* to, typename Chunk<T>::Value x,
                                       typename Chunk<T>::Value y, int64_t column, Full) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) store_words(to, dithered(x, y, column));
  else Chunk<T>::store(to, x);
}

template <class T>
[[gnu::always_inline]] inline void put(T* to, typename Chunk<T>::Value x,
                                       typename Chunk<T>::Value y, int64_t column, int64_t count) {
  T buffer[Chunk<T>::kWidth];
  put(buffer, x, y, column, Full());
  std::memcpy(static_cast<void*>(to), buffer, static_cast<size_t>(count) * sizeof(T));
}

// A factor or shift as the kernels read it: [T or 1, G] in rows.
template <class A>
struct Operand {
  const A* values = nullptr;  // null: there is none
  int64_t groups = 0, row_stride = 0;

  explicit Operand(const Tensor& x) {
    if (!x.defined()) return;
    values = x.const_data_ptr<A>();
    groups = x.size(1);
    row_stride = x.size(0) == 1 ? 0 : groups;
  }
  const A* row(int64_t t) const { return values != nullptr ? values + t * row_stride : nullptr; }
};

// f(g, c, n) over the chunks of a row, each inside one group of columns.
template <class T, class F>
[[gnu::always_inline]] inline void for_groups(int64_t columns, int64_t groups, F f) {
  const int64_t width = columns / groups;
  for (int64_t g = 0; g < groups; ++g)
    for_chunks<T>(width, [&](int64_t c, auto n) { f(g, g * width + c, n); });
}

// S: the type of add, T or the accumulator's.
template <class T, class S>
void scale_rows(const T* in, const Operand<typename Chunk<T>::Accumulator>& mul,
                const Operand<S>& add, T* out, int64_t columns, int64_t begin, int64_t end) {
  using C = Chunk<T>;
  using CA = Chunk<typename C::Accumulator>;
  const bool has_groups = mul.values != nullptr && mul.groups != columns;
  for (int64_t t = begin; t < end; ++t) {
    const T* y = in + t * columns;
    const auto* m = mul.row(t);
    const S* a = add.row(t);
    for_groups<T>(columns, has_groups ? mul.groups : 1, [&](int64_t g, int64_t c, auto n) {
      const typename C::Value before = C::load(y + c, n);
      typename C::Value after = before;
      if (has_groups) after *= m[g];
      else if (m != nullptr) after *= CA::load(m + c, n);
      if (a != nullptr) after += Chunk<S>::load(a + c, n);
      put(out + t * columns + c, after, before, c, n);
    });
  }
}

// mul and add as check() leaves them.
Tensor scaled(const Tensor& y, const Tensor& mul, const Tensor& add) {
  Tensor out = at::empty_like(y);
  with_scalar(y.scalar_type(), [&]<class T>(T*) {
    using A = typename Chunk<T>::Accumulator;
    const Operand<A> factor(mul);
    const auto run = [&](const auto& shift) {
      parallel_ranges(y.size(0),
                      std::max<int64_t>(kGrainValues / std::max<int64_t>(y.size(1), 1), 1),
                      [&](int64_t begin, int64_t end) {
                        scale_rows(y.const_data_ptr<T>(), factor, shift, out.mutable_data_ptr<T>(),
                                   y.size(1), begin, end);
                      });
    };
    if (add.defined() && add.scalar_type() != y.scalar_type()) run(Operand<A>(add));
    else run(Operand<T>(add));
  });
  return out;
}

struct Gradients {
  Tensor y, mul, add;
};

// What the backward pass makes; `wants` says by being defined which of the three, in the shape of
// its operand.
template <class T>
void gradient_rows(const T* grad, const T* in, const Operand<typename Chunk<T>::Accumulator>& mul,
                   int64_t columns, T* d_y, typename Chunk<T>::Accumulator* d_mul, bool adds_up,
                   int64_t mul_groups, int64_t begin, int64_t end) {
  using C = Chunk<T>;
  using CA = Chunk<typename C::Accumulator>;
  const bool has_groups = mul_groups != columns;
  for (int64_t t = begin; t < end; ++t) {
    const auto* m = mul.row(t);
    auto* to = d_mul != nullptr ? d_mul + (adds_up ? 0 : t * mul_groups) : nullptr;
    if (to != nullptr && has_groups && !adds_up) std::fill_n(to, mul_groups, 0);
    for_groups<T>(columns, has_groups ? mul_groups : 1, [&](int64_t g, int64_t c, auto n) {
      const typename C::Value d = C::load(grad + t * columns + c, n);
      if (d_y != nullptr)
        C::store(d_y + t * columns + c, has_groups ? d * m[g] : d * CA::load(m + c, n), n);
      if (to == nullptr) return;
      const typename C::Value product = d * C::load(in + t * columns + c, n);
      if (has_groups) to[g] += C::sum(product);
      else CA::store(to + c, adds_up ? product + CA::load(to + c, n) : product, n);
    });
  }
}

// mul: [T or 1, G], defined; wants_y, wants_mul: which gradients.
Gradients mul_gradients(const Tensor& grad, const Tensor& y, const Tensor& mul, bool wants_y,
                        bool wants_mul) {
  const int64_t rows = grad.size(0), columns = grad.size(1), groups = mul.size(1);
  const bool adds_up = mul.size(0) == 1;  // one row of factors serves all rows
  const int64_t grain = std::max({kGrainValues / std::max<int64_t>(columns, 1),
                                  (rows + kMaxPieces - 1) / kMaxPieces, int64_t{1}});
  Gradients out;
  if (wants_y) out.y = at::empty_like(grad);
  if (wants_mul)
    out.mul = adds_up ? at::zeros({(rows + grain - 1) / grain, groups}, mul.options())
                      : at::empty_like(mul);
  with_scalar(grad.scalar_type(), [&]<class T>(T*) {
    using A = typename Chunk<T>::Accumulator;
    const Operand<A> factor(mul);
    A* const d_mul = data<A>(out.mul);
    parallel_ranges(rows, grain, [&](int64_t begin, int64_t end) {
      A* const own = d_mul != nullptr && adds_up ? d_mul + begin / grain * groups : d_mul;
      gradient_rows(grad.const_data_ptr<T>(), const_data<T>(y), factor, columns, data<T>(out.y),
                    own, adds_up, groups, begin, end);
    });
  });
  if (wants_mul && adds_up) out.mul = out.mul.sum(0, /*keepdim=*/true);
  return out;
}

struct ScaleFunction : torch::autograd::Function<ScaleFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& y, const std::optional<Tensor>& mul,
                        const std::optional<Tensor>& add) {
    const bool saves_y = mul && mul->requires_grad();
    context->save_for_backward({saves_y ? y : Tensor(), mul.value_or(Tensor())});
    context->saved_data["add_rows"] = add ? add->size(0) : int64_t{-1};  // -1: there is none
    context->saved_data["add_type"] = add ? static_cast<int64_t>(add->scalar_type()) : int64_t{0};
    return scaled(y, mul.value_or(Tensor()), add.value_or(Tensor()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const Tensor grad = grads[0].contiguous();
    const bool wants_y = context->needs_input_grad(0), has_mul = saved[1].defined();
    const bool wants_mul = has_mul && context->needs_input_grad(1);
    const size_t add_place = has_mul ? 2 : 1;  // autograd does not count an absent tensor
    const int64_t add_rows = context->saved_data.at("add_rows").toInt();
    variable_list result(3);
    if (has_mul && (wants_y || wants_mul)) {
      Gradients made = mul_gradients(grad, saved[0], saved[1], wants_y, wants_mul);
      result[0] = std::move(made.y);
      result[1] = std::move(made.mul);
    } else if (wants_y) {
      result[0] = grad;
    }
    if (add_rows >= 0 && context->needs_input_grad(add_place)) {
      const auto type = static_cast<at::ScalarType>(context->saved_data.at("add_type").toInt());
      result[2] = (add_rows == 1 && grad.size(0) != 1
                       ? at::sum(grad, {0}, true, accumulator_type(grad.scalar_type()))
                       : grad)
                      .to(type);
    }
    return result;
  }
};

// [T or 1, G], dense, in `type`.
Tensor operand(const Tensor& x, at::ScalarType type) {
  if (!x.defined()) return x;
  return (x.dim() == 2 ? x : x.reshape({1, -1})).to(type).contiguous();
}

void check(const Tensor& y, const Tensor& x, bool may_have_groups) {
  if (!x.defined()) return;
  const int64_t columns = y.size(1), groups = x.size(1);
  ensure(x.size(0) == 1 || x.size(0) == y.size(0),
         "scale_and_shift: a row of factors for all rows, or one for each");
  ensure(groups == columns || (may_have_groups && groups > 0 && columns % groups == 0),
         "scale_and_shift: a number for each column, or for each group of equally many");
}

}  // namespace

Tensor scale_and_shift(const Tensor& y, const Tensor& mul, const Tensor& add) {
  ensure(y.dim() == 2, "scale_and_shift: y must be [T, C]");
  const at::ScalarType wide = accumulator_type(y.scalar_type());
  const Tensor factor = operand(mul, wide);
  const Tensor shift =
      operand(add, add.defined() && add.scalar_type() == y.scalar_type() ? y.scalar_type() : wide);
  check(y, factor, true);
  check(y, shift, false);
  if (!factor.defined() && !shift.defined()) return y;
  if (!uses_kernels(y)) return plain::scale_and_shift(y, factor, shift);
  const Tensor rows = y.contiguous();
  if (!needs_graph({rows, factor, shift})) return scaled(rows, factor, shift);
  return ScaleFunction::apply(rows, optional_of(factor), optional_of(shift));
}

}  // namespace graft
