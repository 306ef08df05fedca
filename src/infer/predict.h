// Predictions of an adapter over a data set, and their scores.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "data/metrics.h"
#include "edit/lanes.h"
#include "infer/dataset.h"

namespace graft {

struct Predictions {
  at::Tensor logits;               // [rows, outputs] float32, in the order of the data set
  double seconds = 0;
  int64_t num_tokens = 0;
};

struct PredictOptions {
  int64_t token_budget = 4096;     // tokens of one forward pass
  std::function<void(int64_t done, int64_t total)> progress;   // rows; may be empty
};

// Sequences of similar length share a forward pass; a row's result does not depend on which. Nothing is differentiated.
Predictions predict(const Model& model, const Bound& bound, const Dataset& data, const PredictOptions& options = {});

// The task's metrics. Requires every example to have a label.
std::vector<Score> score_predictions(const Task& task, const Dataset& data, const at::Tensor& logits);

// Mean loss over the rows: cross entropy in nats, or squared error.
double mean_loss(const Task& task, const Dataset& data, const at::Tensor& logits);

// How packs are made for a model: rows rounded up so that matrix kernels are compiled for few sizes.
PackOptions pack_options(const Model& model);

}  // namespace graft
