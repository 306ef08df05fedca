#include "tensor/rotary.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dispatch.h"
#include "tensor/parallel.h"
#include "tensor/plain/plain.h"
#include "tensor/row_mask.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum class Direction {
  kForward,
  kBack
};  // by the angle, or by its negative: the transpose, so the gradient

struct Rotation {
  at::Tensor cosine, sine;  // contiguous, in the accumulator's type
  int64_t num_heads;
};

at::Tensor rotated(const at::Tensor& x, const Rotation& rotation, Direction direction) {
  const int64_t rows = x.size(0), heads = rotation.num_heads, half = rotation.cosine.size(1);
  at::Tensor out = at::empty({rows, x.size(1)}, x.options());
  if (x.numel() == 0) return out;
  with_scalar(x.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    using A = typename C::Accumulator;
    using CA = Chunk<A>;
    const T* in = x.const_data_ptr<T>();
    const A *cosine = rotation.cosine.const_data_ptr<A>(),
            *sine = rotation.sine.const_data_ptr<A>();
    T* y = out.mutable_data_ptr<T>();
    const A sign = direction == Direction::kForward ? A{1} : A{-1};
    parallel_ranges(rows, kGrainValues / x.size(1), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t head = 0; head < heads; ++head) {
          const T* from = in + t * x.stride(0) + head * 2 * half;
          T* to = y + (t * heads + head) * 2 * half;
          for_chunks<T>(half, [&](int64_t c, auto n) {
            const typename C::Value cos = CA::load(cosine + t * half + c, n),
                                    sin = CA::load(sine + t * half + c, n) * sign;
            const typename C::Value first = C::load(from + c, n),
                                    second = C::load(from + half + c, n);
            C::store(to + c, first * cos - second * sin, n);
            C::store(to + half + c, second * cos + first * sin, n);
          });
        }
      }
    });
  });
  return out;
}

struct RotateFunction : torch::autograd::Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const Rotation& rotation) {
    keep(context, rotation);
    return rotated(x, rotation, Direction::kForward);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {rotated(dense_columns(grads[0]), kept<Rotation>(context), Direction::kBack), {}};
  }
};

}  // namespace

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, int64_t num_heads) {
  ensure(x.dim() == 2 && num_heads > 0 && x.size(1) > 0 && x.size(1) % (2 * num_heads) == 0,
         "rotate: x must be [T, heads * D], D even");
  const int64_t half = x.size(1) / num_heads / 2;
  for (const at::Tensor& each : {table.cosine, table.sine}) {
    ensure(each.dim() == 2 && each.size(0) == x.size(0) && each.size(1) == half,
           "rotate: the tables must be [T, D/2]");
  }
  if (!uses_kernels(x)) return plain::rotate(x, table, num_heads);
  const at::ScalarType type = accumulator_type(x.scalar_type());
  const Rotation rotation{table.cosine.to(type).contiguous(), table.sine.to(type).contiguous(),
                          num_heads};
  const at::Tensor rows = dense_columns(x);
  return needs_graph({x}) ? RotateFunction::apply(rows, rotation)
                          : rotated(rows, rotation, Direction::kForward);
}

}  // namespace graft
