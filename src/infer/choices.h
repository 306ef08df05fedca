// Rank classification: the option of a row that the model finds most probable after its prompt
// (Sanh et al. 2022, arXiv:2110.08207, sec. 5).
#pragma once

#include <cstdint>
#include <vector>

#include "edit/bound_adapter.h"
#include "feed/dataset.h"
#include "infer/predict.h"

namespace graft {

struct Choices {
  // [row][option]: sum (or mean) over the option's tokens, the end of text included,
  // of log p(token | prompt, tokens before it), in nats.
  std::vector<std::vector<double>> scores;
  std::vector<int64_t> chosen;  // [row]: index of the largest score, the first of equals
  // Mean of -log p over the tokens of the right options; NaN if a row has no right option.
  double loss = 0;
  double seconds = 0;
  int64_t num_tokens = 0;  // of prompts and options
};

// The options of a row share its prompt, which is computed once: its keys and values, or the
// encoder's states. Requires: a data set of a choice, encoded with TargetUse::kLeaveOut; an adapter
// whose edits can decode with a cache.
Choices choose(const Model& model, const BoundAdapter& bound, const Task& task, const Dataset& data,
               const PredictOptions& options = {});

}  // namespace graft
