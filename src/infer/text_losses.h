// How probable a language model finds the targets of a data set.
#pragma once

#include <optional>
#include <vector>

#include "edit/bound_adapter.h"
#include "feed/dataset.h"
#include "infer/predict.h"
#include "infer/text_uncertainty.h"

namespace graft {

// Of the targets of every row of a data set, without a gradient.
struct TextLosses {
  // Of -log p over all targets, in nats; p of several samples is the mean of theirs, token by
  // token.
  double mean = 0;
  std::vector<double> sums;                    // [row]
  std::optional<TextUncertainty> uncertainty;  // of several samples, and if asked for
  Records records;                             // if asked for
  int64_t num_tokens = 0;
  double seconds = 0;
};
// Requires: what predict() does, but for the head.
TextLosses text_losses(const Model& model, const BoundAdapter& bound, const Dataset& data,
                       const PredictOptions& options = {});

}  // namespace graft
