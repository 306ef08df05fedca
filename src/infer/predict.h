// Predictions of an adapter over a data set, and their scores.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "data/metrics.h"
#include "edit/bound_adapter.h"
#include "feed/dataset.h"
#include "infer/kept_rows.h"
#include "infer/records.h"
#include "infer/samples.h"

namespace graft {

struct Predictions {
  at::Tensor logits;     // [rows, outputs] float32, in the order of the data set
  at::Tensor by_sample;  // [samples, rows, outputs] of several samples, else undefined
  Records records;       // gate values, expert shares; if asked for
  double seconds = 0;
  int64_t num_tokens = 0;
};

struct PredictOptions {
  int64_t token_budget = kPassBudget;  // tokens of one forward pass
  SampleOptions samples = {};
  bool keep_records = false;  // of the first sample
  Recording recording = {};   // with keep_records
  bool keep_tokens = false;   // of texts: what is known of each target, also of one sample
  KeptRows* kept = nullptr;   // of the data set, from pass to pass; null: every pass is whole
  std::function<void(int64_t done, int64_t total)> progress = {};  // rows; may be empty
};

// Sequences of similar length share a forward pass; the result of a row does not depend on the
// others. Nothing is differentiated. Requires: `bound` was made with
// experts_of(samples.route.routing), and nothing is kept where samples have dropout.
Predictions predict(const Model& model, const BoundAdapter& bound, const Dataset& data,
                    const PredictOptions& options = {});

// For each row the class with the largest logit, or the value, which is at least the task's
// `least`. logits: [rows, outputs].
std::vector<double> answers_of(const Task& task, const at::Tensor& logits);

// The task's metrics. Requires every example to have a label.
std::vector<Score> score_predictions(const Task& task, const Dataset& data,
                                     const at::Tensor& logits);

// Mean loss over the rows: cross entropy in nats, or squared error.
double mean_loss(const Task& task, const Dataset& data, const at::Tensor& logits);

}  // namespace graft
