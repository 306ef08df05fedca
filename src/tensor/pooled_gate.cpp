#include "tensor/pooled_gate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dispatch.h"
#include "tensor/parallel.h"
#include "tensor/plain/plain.h"

namespace graft {

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRows = 32, kColumns = 128;  // a task's share of the work

// Sixteen running sums, so that the order of additions is that of the processor's registers
// whatever their width.
template <class Z, class A>
A dot(const Z* z, const A* w, int64_t count) {
  constexpr int64_t kLanes = 16;
  std::array<A, kLanes> sums{};
  int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane)
      sums[static_cast<size_t>(lane)] += static_cast<A>(z[c + lane]) * w[c + lane];
  }
  for (int64_t lane = 0; c < count; ++c, ++lane)
    sums[static_cast<size_t>(lane)] += static_cast<A>(z[c]) * w[c];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

template <class A>
void open_rows(const Tensor& z, const Tensor& weight, const Tensor& bias, const Tensor& opened) {
  const int64_t width = z.size(1), gates = weight.size(0);
  const A *w = weight.const_data_ptr<A>(), *b = bias.const_data_ptr<A>();
  A* out = opened.mutable_data_ptr<A>();
  with_scalar(z.scalar_type(), [&](auto* type) {
    using Z = std::remove_pointer_t<decltype(type)>;
    const Z* rows = z.const_data_ptr<Z>();
    parallel_ranges(z.size(0), kRows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t k = 0; k < gates; ++k) {
          const A logit = dot(rows + t * width, w + k * width, width) + b[k];
          out[t * gates + k] = static_cast<A>(1.0 / (1.0 + std::exp(-static_cast<double>(logit))));
        }
      }
    });
  });
}

int64_t counted_rows(const RowGroups& groups, size_t n) {
  int64_t count = 0;
  for (int64_t t = groups.begin[n]; t < groups.end[n]; ++t)
    count += groups.counts[static_cast<size_t>(t)];
  return std::max<int64_t>(1, count);
}

template <class A>
void pool(const RowGroups& groups, const Tensor& opened, const Tensor& by_group,
          const Tensor& by_row) {
  const int64_t gates = opened.size(1);
  const A* values = opened.const_data_ptr<A>();
  A *means = by_group.mutable_data_ptr<A>(), *spread = by_row.mutable_data_ptr<A>();
  for (size_t n = 0; n < groups.begin.size(); ++n) {
    const auto count = static_cast<double>(counted_rows(groups, n));
    for (int64_t k = 0; k < gates; ++k) {
      double sum =
          0;  // of float32 values it is exact, so that the mean of equal values is that value
      for (int64_t t = groups.begin[n]; t < groups.end[n]; ++t)
        sum += groups.counts[static_cast<size_t>(t)] != 0
                   ? static_cast<double>(values[t * gates + k])
                   : 0.0;
      const A mean = static_cast<A>(sum / count);
      means[static_cast<int64_t>(n) * gates + k] = mean;
      for (int64_t t = groups.begin[n]; t < groups.end[n]; ++t) spread[t * gates + k] = mean;
    }
  }
}

// The gradients of the logits, [T, K], from those of both results.
template <class A>
Tensor logit_gradients(const RowGroups& groups, const Tensor& opened, const Tensor& by_group,
                       const Tensor& by_row) {
  Tensor out = at::zeros_like(opened);
  const int64_t gates = opened.size(1);
  const A *values = opened.const_data_ptr<A>(), *group = by_group.const_data_ptr<A>(),
          *row = by_row.const_data_ptr<A>();
  A* logits = out.mutable_data_ptr<A>();
  for (size_t n = 0; n < groups.begin.size(); ++n) {
    const auto count = static_cast<double>(counted_rows(groups, n));
    for (int64_t k = 0; k < gates; ++k) {
      double sum = static_cast<double>(group[static_cast<int64_t>(n) * gates + k]);
      for (int64_t t = groups.begin[n]; t < groups.end[n]; ++t)
        sum += static_cast<double>(row[t * gates + k]);
      for (int64_t t = groups.begin[n]; t < groups.end[n]; ++t) {
        const auto value = static_cast<double>(values[t * gates + k]);
        if (groups.counts[static_cast<size_t>(t)] != 0)
          logits[t * gates + k] = static_cast<A>(sum / count * value * (1 - value));
      }
    }
  }
  return out;
}

// d z = d logits w: [T, C] in z's dtype.
template <class A>
Tensor input_gradient(const Tensor& logits, const Tensor& weight, at::ScalarType dtype) {
  const int64_t width = weight.size(1), gates = weight.size(0);
  Tensor out = at::empty({logits.size(0), width}, logits.options().dtype(dtype));
  const A *d = logits.const_data_ptr<A>(), *w = weight.const_data_ptr<A>();
  with_scalar(dtype, [&](auto* type) {
    using Z = std::remove_pointer_t<decltype(type)>;
    Z* rows = out.mutable_data_ptr<Z>();
    parallel_ranges(logits.size(0), kRows, [&](int64_t begin, int64_t end) {
      std::vector<A> sums(static_cast<size_t>(width));
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t k = 0; k < gates; ++k) {
          const A own = d[t * gates + k];
          for (int64_t c = 0; c < width; ++c)
            sums[static_cast<size_t>(c)] =
                (k == 0 ? A{0} : sums[static_cast<size_t>(c)]) + own * w[k * width + c];
        }
        for (int64_t c = 0; c < width; ++c)
          rows[t * width + c] = static_cast<Z>(
              static_cast<std::conditional_t<std::is_same_v<Z, double>, double, float>>(
                  sums[static_cast<size_t>(c)]));
      }
    });
  });
  return out;
}

// d w = d logits^T z: [K, C]; sums in float64, down the rows.
template <class A>
Tensor weight_gradient(const Tensor& logits, const Tensor& z) {
  const int64_t width = z.size(1), gates = logits.size(1);
  Tensor out = at::empty({gates, width}, logits.options());
  const A* d = logits.const_data_ptr<A>();
  A* result = out.mutable_data_ptr<A>();
  with_scalar(z.scalar_type(), [&](auto* type) {
    using Z = std::remove_pointer_t<decltype(type)>;
    const Z* rows = z.const_data_ptr<Z>();
    parallel_ranges(width, kColumns, [&](int64_t begin, int64_t end) {
      std::vector<double> sums(static_cast<size_t>(end - begin));
      for (int64_t k = 0; k < gates; ++k) {
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int64_t t = 0; t < z.size(0); ++t) {
          const auto own = static_cast<double>(d[t * gates + k]);
          if (own == 0.0) continue;
          for (int64_t c = begin; c < end; ++c)
            sums[static_cast<size_t>(c - begin)] +=
                own * static_cast<double>(static_cast<A>(rows[t * width + c]));
        }
        for (int64_t c = begin; c < end; ++c)
          result[k * width + c] = static_cast<A>(sums[static_cast<size_t>(c - begin)]);
      }
    });
  });
  return out;
}

using SharedGroups = std::shared_ptr<const RowGroups>;

struct PooledGateFunction : torch::autograd::Function<PooledGateFunction> {
  static variable_list forward(AutogradContext* context, const Tensor& z, const Tensor& weight,
                               const Tensor& bias, const SharedGroups& groups) {
    const Tensor rows = z.contiguous(), w = weight.contiguous();
    Tensor opened = at::empty({z.size(0), weight.size(0)}, weight.options());
    Tensor by_group = at::empty({static_cast<int64_t>(groups->begin.size()), weight.size(0)},
                                weight.options()),
           by_row = at::zeros_like(opened);
    with_accumulator(weight, [&](auto* type) {
      using A = std::remove_pointer_t<decltype(type)>;
      open_rows<A>(rows, w, bias, opened);
      pool<A>(*groups, opened, by_group, by_row);
    });
    keep(context, groups);
    context->save_for_backward(
        {weight.requires_grad() ? rows : Tensor(), z.requires_grad() ? w : Tensor(), opened});
    context->saved_data["dtype"] = static_cast<int64_t>(z.scalar_type());
    return {by_group, by_row};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const RowGroups& groups = *kept<SharedGroups>(context);
    const auto dtype = static_cast<at::ScalarType>(context->saved_data.at("dtype").toInt());
    variable_list out(4);
    with_accumulator(saved[2], [&](auto* type) {
      using A = std::remove_pointer_t<decltype(type)>;
      const Tensor logits =
          logit_gradients<A>(groups, saved[2], grads[0].contiguous(), grads[1].contiguous());
      if (context->needs_input_grad(0)) out[0] = input_gradient<A>(logits, saved[1], dtype);
      if (context->needs_input_grad(1)) out[1] = weight_gradient<A>(logits, saved[0]);
      if (context->needs_input_grad(2)) out[2] = at::sum(logits, {0});
    });
    return out;
  }

  template <class F>
  static void with_accumulator(const Tensor& like, F f) {
    if (like.scalar_type() == at::kDouble) f(static_cast<double*>(nullptr));
    else f(static_cast<float*>(nullptr));
  }
};

}  // namespace

PooledGate pooled_gate(const Tensor& z, const Tensor& weight, const Tensor& bias,
                       std::shared_ptr<const RowGroups> groups) {
  ensure(z.dim() == 2 && weight.dim() == 2 && z.size(1) == weight.size(1) && bias.dim() == 1 &&
             bias.size(0) == weight.size(0),
         "pooled_gate: z must be [T, C], the weight [K, C] and the bias [K]");
  ensure(weight.scalar_type() == accumulator_type(z.scalar_type()) &&
             bias.scalar_type() == weight.scalar_type(),
         "pooled_gate: weight and bias are float32, or float64 beside a float64 z");
  ensure(groups->begin.size() == groups->end.size() &&
             groups->counts.size() == static_cast<size_t>(z.size(0)),
         "pooled_gate: one mark a row");
  for (size_t n = 0; n < groups->begin.size(); ++n) {
    ensure(
        groups->begin[n] >= 0 && groups->begin[n] <= groups->end[n] && groups->end[n] <= z.size(0),
        "pooled_gate: groups lie inside z");
  }
  if (!uses_kernels(z)) return plain::pooled_gate(z, weight, bias, std::move(groups));
  const variable_list out =
      PooledGateFunction::apply(z, weight, bias, SharedGroups(std::move(groups)));
  return {out[0], out[1]};
}

}  // namespace graft
