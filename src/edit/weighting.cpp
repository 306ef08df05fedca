#include "edit/weighting.h"

#include "base/error.h"
#include "tensor/linear.h"
#include "tensor/scaled.h"

namespace graft {

using at::Tensor;

namespace {

at::ScalarType wide_type(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

Tensor weighted_code(const Tensor& code, const Weight& weight) {
  if (weight.rows.defined()) return scale_and_shift(code, weight.rows * weight.scale, {});
  return weight.scale == 1.0
             ? code
             : scale_and_shift(code, at::full({1}, weight.scale, wide_type(code)), {});
}

Tensor weighted_vector(const Tensor& vector, const Weight& weight) {
  if (!weight.rows.defined()) return vector * weight.scale;
  const Tensor rows = (weight.rows * weight.scale).to(vector.scalar_type());  // [T, G]
  return (rows.unsqueeze(2) * vector.view({1, rows.size(1), -1})).flatten(1);
}

Tensor delta_of(const Tensor& y, const Change& change) {
  ensure(!change.rows.defined(), "delta_of: a change of all rows");
  const at::ScalarType wide = wide_type(y);
  Tensor delta;
  const auto add = [&](const Tensor& part) { delta = delta.defined() ? delta + part : part; };
  if (change.mul.defined()) add(y.to(wide) * (change.mul.to(wide) - 1.0));
  if (change.add.defined()) add(change.add.to(wide).expand_as(y));
  if (change.code.defined())
    add(graft::linear(change.code.to(change.basis.scalar_type()), change.basis, Tensor()).to(wide));
  return delta.defined() ? delta : at::zeros_like(y, wide);
}

}  // namespace graft
