// Predictions of several adapters on one model, each over rows of its own, in shared forward
// passes.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "edit/bound_adapter.h"
#include "feed/dataset.h"

namespace graft {

struct AdapterRows {
  const BoundAdapter* bound = nullptr;  // with a head, its experts merged
  const Dataset* data = nullptr;
};

// [rows, outputs] float32 of each, in order: what predict() gives of it alone, up to the rounding
// of products over other numbers of rows. Sequences of similar length share a pass of
// `token_budget` tokens, a lane an adapter. An adapter that replaces the trunk's weights, or whose
// rows bring words for a mask or embeddings, goes alone.
std::vector<at::Tensor> predict_side_by_side(const Model& model,
                                             const std::vector<AdapterRows>& all,
                                             int64_t token_budget = kPassBudget);

}  // namespace graft
