#include "train/objective.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/tensor.h>

namespace graft {

using at::Tensor;

Tensor row_losses(const Tensor& logits, const Tensor& truth, const Objective& objective) {
  const Tensor losses = at::cross_entropy_loss(logits, truth, {}, at::Reduction::None, -100,
                                               objective.label_smoothing);
  return objective.z_loss == 0 ? losses
                               : losses + objective.z_loss * at::logsumexp(logits, 1).square();
}

Tensor summed_loss(TaskKind kind, const Tensor& logits, const std::vector<double>& labels,
                   const Objective& objective) {
  const Tensor truth = at::tensor(labels, at::kDouble);
  if (kind == TaskKind::kRegression)
    return at::mse_loss(logits.select(1, 0), truth.to(logits.scalar_type()), at::Reduction::Sum);
  return row_losses(logits, truth.to(at::kLong), objective).sum();
}

Tensor summed_consistency(const Tensor& a, const Tensor& b, ConsistencyTargets targets,
                          const Tensor& weights) {
  const Tensor log_p = at::log_softmax(a, 1), log_q = at::log_softmax(b, 1);  // [N, outputs]
  const auto target = [&](const Tensor& log_target) {
    return targets == ConsistencyTargets::kDetached ? log_target.detach() : log_target;
  };
  const auto divergence = [&](const Tensor& log_target, const Tensor& log_own) {
    const Tensor rows = log_target.exp() * (log_target - log_own);
    return weights.defined() ? (rows.sum(1) * weights).sum() : rows.sum();
  };
  return 0.5 * (divergence(target(log_q), log_p) + divergence(target(log_p), log_q));
}

Tensor summed_value_consistency(const Tensor& a, const Tensor& b, ConsistencyTargets targets) {
  const bool is_detached = targets == ConsistencyTargets::kDetached;
  const Tensor from_a = a - (is_detached ? b.detach() : b),
               from_b = b - (is_detached ? a.detach() : a);
  return 0.5 * (from_a.square().sum() + from_b.square().sum());
}

}  // namespace graft
