#include "infer/uncertainty.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/xlogy.h>

#include "base/error.h"

namespace graft {

using at::Tensor;

Entropies entropies_of(const Tensor& log_p) {
  const auto entropy = [](const Tensor& p) { return -at::xlogy(p, p).sum(-1); };
  const Tensor p = log_p.exp();
  const Tensor total = entropy(p.mean(0)), expected = entropy(p).mean(0);
  return {total, expected, (total - expected).clamp_min(0)};
}

Uncertainty uncertainty_of(TaskKind kind, const Tensor& by_sample) {
  ensure(by_sample.dim() == 3 && by_sample.size(0) > 1, "uncertainty needs two samples");
  const Tensor wide = by_sample.to(at::kDouble);
  if (kind == TaskKind::kRegression)
    return {.information = wide.select(2, 0).var(0, /*unbiased=*/true)};
  const Tensor log_p = wide.log_softmax(2), p = log_p.exp();                 // [samples, rows, C]
  const Tensor votes = at::one_hot(p.argmax(2), p.size(2)).to(at::kDouble);  // the same
  const Entropies entropies = entropies_of(log_p);
  return {.entropy = entropies.total,
          .expected_entropy = entropies.expected,
          .information = entropies.information,
          .variance = p.var(0, /*unbiased=*/false),
          .disagreement = 1.0 - std::get<0>(votes.mean(0).max(1))};
}

}  // namespace graft
