// Dropout, norms, activations, factors and rotary positions: one row at a time in the kernels, one
// tensor at a time here.
#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "tensor/chunk.h"
#include "tensor/plain/drop_mask.h"
#include "tensor/plain/plain.h"

namespace graft::plain {

namespace {

using at::Tensor;

Tensor wide(const Tensor& x) { return x.to(accumulator_type(x.scalar_type())); }

// x in the accumulator's type, times its mask.
Tensor dropped(const Tensor& x, const RowDropout& options) {
  if (!is_active(options.lanes)) return wide(x);
  const auto names = [&](const std::vector<int64_t>& all) {
    return at::tensor(all, at::kLong).to(x.device());
  };
  return wide(x) * drop_mask(options.lanes,
                             {names(options.rows->example), names(options.rows->position)},
                             x.size(1), accumulator_type(x.scalar_type()));
}

// x: in the accumulator's type.
Tensor normalized(const Tensor& x, Norm kind, const Tensor& weight, const Tensor& bias,
                  double epsilon) {
  const Tensor centred = kind == Norm::kLayer ? x - x.mean(1, /*keepdim=*/true) : x;
  const Tensor unit = centred / (centred.square().mean(1, /*keepdim=*/true) + epsilon).sqrt();
  const Tensor scaled = unit * weight.to(x.scalar_type());
  return bias.defined() ? scaled + bias.to(x.scalar_type()) : scaled;
}

// x: in the accumulator's type. at::gelu has no precision left in the left tail, where 1 + erf
// cancels.
Tensor activated(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kGelu: return 0.5 * x * at::erfc(x * (-1 / std::numbers::sqrt2));
    case Activation::kGeluTanh: return at::gelu(x, "tanh");
    case Activation::kRelu: return at::threshold(x, 0, 0);
    case Activation::kSilu: return at::silu(x);
  }
  return {};
}

// Words of 32 bits are kept in int64.
constexpr int64_t kWord = 0xFFFFFFFF, kOfValue = kDitherOfValue, kOfColumn = kDitherOfColumn;

// The bfloat16 values that scaled.cpp's `dithered` makes of `exact` (float32), which was made of y
// (bfloat16).
Tensor dithered(const Tensor& exact, const Tensor& y) {
  const auto words = [](const Tensor& x) {
    return at::bitwise_and(x.contiguous().view(at::kInt).to(at::kLong), kWord);
  };
  const Tensor column = at::arange(y.size(1), y.options().dtype(at::kLong)) * kOfColumn;
  const Tensor draw = at::bitwise_and(
      at::bitwise_right_shift(words(y.to(at::kFloat)), 16) * kOfValue + column, kWord);
  const Tensor rounded =
      at::bitwise_right_shift(words(exact) + at::bitwise_right_shift(draw, 16), 16);
  constexpr int64_t kNotANumber = 0x7FC0;
  return rounded.masked_fill(exact.ne(exact), kNotANumber).to(at::kShort).view(at::kBFloat16);
}

// [T or 1, G] -> a factor for each of C columns, where G divides C.
Tensor spread(const Tensor& factor, int64_t columns) {
  if (factor.size(1) == columns) return factor;
  return factor.repeat_interleave(columns / factor.size(1), 1);
}

}  // namespace

Tensor dropout(const Tensor& x, const RowDropout& options) {
  return dropped(x, options).to(x.scalar_type());
}

Tensor norm_of_sum(const Tensor& x, const Tensor& residual, const Tensor& weight,
                   const Tensor& bias, double epsilon, const RowDropout& dropout) {
  Tensor sum = dropped(x, dropout);
  if (residual.defined()) sum = sum + wide(residual);
  return normalized(sum, Norm::kLayer, weight, bias, epsilon).to(x.scalar_type());
}

Normed sum_and_norm(const Tensor& x, const Tensor& y, Norm kind, const Tensor& weight,
                    const Tensor& bias, double epsilon, const RowDropout& dropout) {
  const Tensor sum = y.defined() ? (wide(x) + dropped(y, dropout)).to(x.scalar_type()) : x;
  return {sum, normalized(wide(sum), kind, weight, bias, epsilon).to(x.scalar_type())};
}

Tensor activate(const Tensor& x, Activation activation) {
  return activated(wide(x), activation).to(x.scalar_type());
}

Tensor gated(const Tensor& gate, const Tensor& up, Activation activation) {
  return (activated(wide(gate), activation) * wide(up)).to(gate.scalar_type());
}

Tensor scale_and_shift(const Tensor& y, const Tensor& mul, const Tensor& add) {
  const auto operand = [&](const Tensor& x) {
    return (x.dim() == 2 ? x : x.reshape({1, -1})).to(accumulator_type(y.scalar_type()));
  };
  Tensor exact = wide(y);
  if (mul.defined()) exact = exact * spread(operand(mul), y.size(1));
  if (add.defined()) exact = exact + operand(add);
  const Tensor out = exact.to(y.scalar_type());
  // Another rounding of the same numbers: for autograd, which keeps no result of `to`, it is the
  // one to nearest.
  if (y.scalar_type() == at::kBFloat16) out.detach().copy_(dithered(exact.detach(), y.detach()));
  return out;
}

Tensor rotate(const Tensor& x, const RotaryTable& table, int64_t num_heads) {
  const at::ScalarType type = accumulator_type(x.scalar_type());
  const int64_t half = table.cosine.size(1);
  const Tensor halves = x.to(type).reshape({x.size(0), num_heads, 2, half});
  const Tensor cosine = table.cosine.to(type).unsqueeze(1),
               sine = table.sine.to(type).unsqueeze(1);                    // [T, 1, D/2]
  const Tensor first = halves.select(2, 0), second = halves.select(2, 1);  // [T, H, D/2]
  return at::stack({first * cosine - second * sine, second * cosine + first * sine}, 2)
      .reshape(x.sizes())
      .to(x.scalar_type());
}

}  // namespace graft::plain
