// What a run minimises: the mean loss over the target units of a step (rows of all its micro-batches), so that accumulation
// equals a larger batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "data/task.h"

namespace graft {

// Sum over the rows of -log softmax(logits)[label], or of (logits - label)^2. logits: [N, outputs] float32 or float64; labels: N
// class indices or values. Divide by the step's rows.
at::Tensor summed_loss(TaskKind kind, const at::Tensor& logits, const std::vector<double>& labels);

}  // namespace graft
