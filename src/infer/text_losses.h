// How probable a language model finds the targets of a data set.
#pragma once

#include <vector>

#include "edit/lanes.h"
#include "feed/dataset.h"
#include "infer/predict.h"

namespace graft {

// Of the targets of every row of a data set, without a gradient.
struct TextLosses {
  double mean = 0;           // of -log p over all targets, in nats
  std::vector<double> sums;  // [row]
  NamedTensors records;      // [rows, K]: gate values, expert shares; where asked for
  int64_t num_tokens = 0;
  double seconds = 0;
};
// Of `options` token_budget, keep_records and progress.
TextLosses text_losses(const Model& model, const BoundAdapter& bound, const Dataset& data,
                       const PredictOptions& options = {});

}  // namespace graft
