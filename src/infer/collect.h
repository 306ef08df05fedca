// What leaves the sites of a model for the texts of a data set.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/document.h"
#include "edit/adapter_file.h"
#include "edit/bound_adapter.h"
#include "feed/dataset.h"

namespace graft {

// The edits of `under` (null: none), and behind them one of kind collect with `options`; no head.
// Throws InputError listing every fault of the options, which `source` names, and for the pooler,
// which only a head reads.
Adapter collecting_adapter(const Node& options, const std::string& source,
                           const LoadedAdapter* under, const EditTarget& target);

// [rows, K] float32: what the collect edits of `bound` record of each text, site by site in the
// order in which the trunk executes them. The decoder of an encoder-decoder reads its start token.
// Nothing is differentiated; `token_budget`: tokens of one forward pass.
at::Tensor collect_states(const Model& model, const BoundAdapter& bound, const Dataset& data,
                          int64_t token_budget = kPassBudget);

}  // namespace graft
