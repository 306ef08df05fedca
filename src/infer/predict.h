// Predictions of an adapter over a data set, and their scores.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "data/metrics.h"
#include "edit/lanes.h"
#include "infer/dataset.h"
#include "infer/kept_rows.h"

namespace graft {

// Which experts of a stochastic mixture answer. A route is drawn from the seed, for all rows or by
// example and position, so that a row's answer does not depend on its batch.
enum class Routing {
  kMerged,                 // the mean of the experts: AdaMix's default
  kRandom,                 // one route
  kFixed,                  // the first expert of every bank
  kEnsembleLogits,         // the mean of the logits of several random routes
  kEnsembleProbabilities,  // the mean of their probabilities; its logarithm stands in for the
                           // logits
};

struct RouteOptions {
  Routing routing = Routing::kMerged;
  int64_t routes = 4;  // of an ensemble
  int64_t seed = 0;
  RouteUnit unit = RouteUnit::kPass;  // of every random route
};

inline bool is_ensemble(const RouteOptions& route) {
  return route.routing == Routing::kEnsembleLogits ||
         route.routing == Routing::kEnsembleProbabilities;
}

// What a BoundAdapter must hold for it.
inline Experts experts_of(Routing routing) {
  return routing == Routing::kMerged ? Experts::kMerged : Experts::kApart;
}

struct Predictions {
  at::Tensor logits;     // [rows, outputs] float32, in the order of the data set
  at::Tensor by_route;   // [routes, rows, outputs] of an ensemble, else undefined
  NamedTensors records;  // [rows, K]: gate values, expert shares; where asked for
  double seconds = 0;
  int64_t num_tokens = 0;
};

struct PredictOptions {
  int64_t token_budget = 4096;  // tokens of one forward pass
  RouteOptions route = {};
  bool keep_records = false;
  KeptRows* kept = nullptr;  // of the data set, from pass to pass; null: every pass is whole
  std::function<void(int64_t done, int64_t total)> progress = {};  // rows; may be empty
};

// Sequences of similar length share a forward pass; a row's result does not depend on which.
// Nothing is differentiated. Requires: `bound` made with experts_of(route.routing).
Predictions predict(const Model& model, const BoundAdapter& bound, const Dataset& data,
                    const PredictOptions& options = {});

// Puts `values` [N] or [N, K] of the rows `index` [N] into records[name], [rows, K] float32 and
// zero where no value came yet.
void keep_record(NamedTensors& records, const std::string& name, int64_t rows,
                 const at::Tensor& index, const at::Tensor& values);

// Of each row the class of the largest logit, or the value, at least the task's `least`. logits:
// [rows, outputs].
std::vector<double> answers_of(const Task& task, const at::Tensor& logits);

// The task's metrics. Requires every example to have a label.
std::vector<Score> score_predictions(const Task& task, const Dataset& data,
                                     const at::Tensor& logits);

// Mean loss over the rows: cross entropy in nats, or squared error.
double mean_loss(const Task& task, const Dataset& data, const at::Tensor& logits);

}  // namespace graft
