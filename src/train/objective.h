// What a run minimises: the mean loss over the target units of a step (rows of all its
// micro-batches), so that accumulation equals a larger batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "data/task.h"

namespace graft {

// Whether the consistency loss pulls each pass towards the other as it is (kDetached, as
// published), or moves both ends.
enum class ConsistencyTargets { kDetached, kAttached };

struct Objective {
  double label_smoothing = 0;  // e: (1-e) (-log p_y) + e (-mean_v log p_v), v over the classes
  double z_loss = 0;           // times log^2 of the softmax's denominator
  double consistency = 0;      // weight of the consistency of two passes; 0 = one pass
  ConsistencyTargets targets = ConsistencyTargets::kDetached;
  bool averages_rows =
      false;  // of texts: every row counts alike, as in T5X, instead of every target token

  bool pulls_values = false;  // of a regression, too (summed_value_consistency)

  // A single output has softmax 1, so two passes of a regression always agree, as published: one
  // is enough, unless its values are pulled together.
  bool needs_two_passes(TaskKind kind) const {
    return consistency > 0 && (kind != TaskKind::kRegression || pulls_values);
  }
};

// Of each row -log softmax(logits)[label], with the objective's smoothing and z-loss.
// logits: [N, V]; truth: [N] int64. Returns [N].
at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& truth,
                      const Objective& objective);

// Sum over the rows of -log softmax(logits)[label] with the objective's smoothing and z-loss, or of
// (logits - label)^2. logits: [N, outputs] float32 or float64; labels: N class indices or values.
// Divide by the step's rows.
at::Tensor summed_loss(TaskKind kind, const at::Tensor& logits, const std::vector<double>& labels,
                       const Objective& objective = {});

// Sum over the rows of 1/2 [KL(sg(q) || p) + KL(sg(p) || q)], p = softmax(a), q = softmax(b); sg
// stops the gradient with detached targets (Wang et al. 2022, arXiv:2205.12410, eq. 4, with the
// sign of the released code). a, b: [N, outputs]; weights: of the rows, [N], or undefined for 1.
at::Tensor summed_consistency(const at::Tensor& a, const at::Tensor& b, ConsistencyTargets targets,
                              const at::Tensor& weights = {});

// Sum over the rows of 1/2 [(a - sg(b))^2 + (b - sg(a))^2], of a regression; sg as above. No paper
// has it: an extension of the divergence to scores. a, b: [N, 1].
at::Tensor summed_value_consistency(const at::Tensor& a, const at::Tensor& b,
                                    ConsistencyTargets targets);

}  // namespace graft
