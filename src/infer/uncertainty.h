// How far the routes of a stochastic mixture disagree about each row.
#pragma once

#include <ATen/core/Tensor.h>

#include "data/task.h"

namespace graft {

// Per row, [rows] float32. Classes, with p_t = softmax of route t and p their mean (Depeweg et al.
// 2018, arXiv:1710.07283):
//   entropy      H[p] = -sum_c p_c log p_c, in nats
//   information  H[p] - mean_t H[p_t]: what the routes do not agree on; 0 .. log(routes)
//   disagreement 1 - the largest share of routes that name one class
// Regression: entropy and disagreement are undefined; information is the unbiased variance of the
// routes' values.
struct Uncertainty {
  at::Tensor entropy, information, disagreement;
};

// by_route: [routes, rows, outputs], at least two routes.
Uncertainty uncertainty_of(TaskKind kind, const at::Tensor& by_route);

}  // namespace graft
