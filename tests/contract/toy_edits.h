// Edits that no user has: each takes one door of the contract that the registered edits do not take
// yet.
#pragma once

#include <memory>
#include <vector>

#include "edit/edit.h"

namespace graft::testing {

// Prefix rows at every attention site: keys and values [P, H, D], and a logit bias shared by the
// sequences of the lane.
std::unique_ptr<Edit> make_toy_prefix(const ModelConfig& config, const Sites& sites, int64_t rows);

// `child` behind a gate per example: sigmoid(mean of y over the sequence . w), passed as
// weight.rows [T, 1].
std::unique_ptr<Edit> make_toy_gate(std::unique_ptr<Edit> child);

// E stacked copies of `child`, mixed per row by softmax(x W): weight.rows [T, E], through
// Edit::blend.
std::unique_ptr<Edit> make_toy_router(std::unique_ptr<Edit> child, int64_t experts);

// y' = mul * y + add with one vector each, at any sites that have a y.
std::unique_ptr<Edit> make_toy_affine(std::vector<Site> sites);

// y' = y + v at the first row of every sequence only (Change.rows).
std::unique_ptr<Edit> make_toy_first_rows(std::vector<Site> sites);

}  // namespace graft::testing
