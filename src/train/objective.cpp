#include "train/objective.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/tensor.h>

namespace graft {

at::Tensor summed_loss(TaskKind kind, const at::Tensor& logits, const std::vector<double>& labels) {
  const at::Tensor truth = at::tensor(labels, at::kDouble);
  if (kind == TaskKind::kRegression) return at::mse_loss(logits.select(1, 0), truth.to(logits.scalar_type()), at::Reduction::Sum);
  return at::cross_entropy_loss(logits, truth.to(at::kLong), {}, at::Reduction::Sum);
}

}  // namespace graft
