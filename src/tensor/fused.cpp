#include "tensor/fused.h"

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

at::Tensor masked(const at::Tensor& input, const RowDropout& options) {
  const at::Tensor x = input.contiguous();
  at::Tensor y = at::empty_like(x);
  const int64_t columns = x.size(1);
  with_scalar(x.scalar_type(), [&]<class T>(T*) {
    using C = Chunk<T>;
    const T* from = x.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    parallel_ranges(x.size(0), kGrainValues / std::max<int64_t>(columns, 1),
                    [&](int64_t begin, int64_t end) {
                      RowMask<typename C::Accumulator> mask(options, columns);
                      for (int64_t t = begin; t < end; ++t) {
                        const auto* factors = mask.of(t);
                        for_chunks<T>(columns, [&](int64_t c, auto n) {
                          C::store(to + t * columns + c,
                                   C::load(from + t * columns + c, n) *
                                       Chunk<typename C::Accumulator>::load(factors + c, n),
                                   n);
                        });
                      }
                    });
  });
  return y;
}

struct DropoutFunction : torch::autograd::Function<DropoutFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const RowDropout& options) {
    keep(context, options);
    return masked(x, options);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {masked(grads[0], kept<RowDropout>(context)), {}};
  }
};

}  // namespace

at::Tensor dropout(const at::Tensor& x, const RowDropout& options) {
  ensure(x.dim() == 2, "dropout: x must be [T, C]");
  check_mask(options, x.size(0));
  if (!is_active(options.lanes)) return x;
  if (!uses_kernels(x)) return plain::dropout(x, options);
  return needs_graph({x}) ? DropoutFunction::apply(x, options) : masked(x, options);
}

}  // namespace graft
