#include "infer/uncertainty.h"

#include <ATen/ops/one_hot.h>
#include <ATen/ops/xlogy.h>

#include "base/error.h"

namespace graft {

using at::Tensor;

Uncertainty uncertainty_of(TaskKind kind, const Tensor& by_route) {
  ensure(by_route.dim() == 3 && by_route.size(0) > 1, "uncertainty needs two routes");
  if (kind == TaskKind::kRegression)
    return {{}, by_route.select(2, 0).var(0, /*unbiased=*/true), {}};
  const auto entropy = [](const Tensor& p) { return -at::xlogy(p, p).sum(-1); };
  const Tensor p = by_route.to(at::kDouble).softmax(2);                      // [routes, rows, C]
  const Tensor total = entropy(p.mean(0)), own = entropy(p).mean(0);         // [rows]
  const Tensor votes = at::one_hot(p.argmax(2), p.size(2)).to(at::kDouble);  // [routes, rows, C]
  const Tensor disagreement = 1.0 - std::get<0>(votes.mean(0).max(1));
  return {total.to(at::kFloat), (total - own).clamp_min(0).to(at::kFloat),
          disagreement.to(at::kFloat)};
}

}  // namespace graft
