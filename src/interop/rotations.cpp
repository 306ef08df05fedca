#include "interop/rotations.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "edit/rotation.h"

namespace graft {

using at::Tensor;

namespace {

constexpr double kMostDeviation = 1e-3;  // a trained rotation in float32 is within 1e-5

}  // namespace

Tensor rotation_of_parametrization(const Tensor& original, const Tensor& base) {
  const Tensor x = original.to(at::kDouble);
  const int64_t width = x.size(0), rank = x.size(1);
  const Tensor v = at::eye(width, rank, x.options()) + at::tril(x, -1);
  Tensor product = at::eye(width, rank, x.options());
  for (int64_t j = rank - 1; j >= 0; --j) {
    const Tensor reflector = v.select(1, j);
    product = product - at::outer(reflector * (2 / at::dot(reflector, reflector).item<double>()),
                                  at::mv(product.t(), reflector));
  }
  return at::mm(base.to(at::kDouble), product * at::trunc(x.diagonal()))
      .to(at::kFloat)
      .contiguous();
}

void put_rotation(ForeignTensors& tensors, const std::string& set, const Tensor& q,
                  const std::string& theirs, NamedTensors& out) {
  const Tensor wide = q.to(at::kDouble);
  const double deviation =
      (at::mm(wide.t(), wide) - at::eye(q.size(1), wide.options())).abs().max().item<double>();
  if (!(deviation <= kMostDeviation)) {
    tensors.fault(theirs + ": the rotation's columns are not orthonormal (off by " +
                  std::to_string(deviation) + "), so it is none that can be trained on");
    return;
  }
  out[set + "base"] = q.contiguous();
  out[set + "chart"] = initial_chart(q.size(0), q.size(1));
}

Tensor completed(const Tensor& q) {
  const auto [reflectors, factors] = at::geqrf(q.to(at::kDouble));
  const int64_t width = q.size(0), rank = q.size(1);
  const Tensor all = at::ormqr(reflectors, factors, at::eye(width, reflectors.options()),
                               /*left=*/true, /*transpose=*/false);
  Tensor out = all.to(at::kFloat).contiguous();
  out.slice(1, 0, rank).copy_(q);  // the same columns but for signs
  return out;
}

}  // namespace graft
