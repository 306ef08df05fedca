// How far several samples of an answer disagree: routes of a mixture, masks of dropout, adapters of
// several seeds.
#pragma once

#include <ATen/core/Tensor.h>

#include "data/task.h"

namespace graft {

// Per row, [rows] float64. Classes, with p_s = softmax of sample s and p their mean (Depeweg et al.
// 2018, arXiv:1710.07283):
//   entropy           H[p] = -sum_c p_c log p_c, in nats: all that is uncertain
//   expected_entropy  mean_s H[p_s]: what the data leave open
//   information       H[p] - mean_s H[p_s], the mutual information of answer and sample: what the
//                     samples do not agree on; 0 .. log(samples), and of two samples at most a
//                     quarter of KL(p_1||p_2) + KL(p_2||p_1)
//   variance          [rows, classes] mean_s (p_s - p)^2
//   disagreement      1 - the largest share of samples that name one class
// Regression: information is the unbiased variance of the samples' values; the others are
// undefined.
struct Uncertainty {
  at::Tensor entropy = {}, expected_entropy = {}, information = {}, variance = {},
             disagreement = {};
};

// by_sample: [samples, rows, outputs], at least two samples.
Uncertainty uncertainty_of(TaskKind kind, const at::Tensor& by_sample);

// The first three of it, of log probabilities [samples, rows, C], any number of samples.
struct Entropies {
  at::Tensor total, expected, information;  // [rows]
};
Entropies entropies_of(const at::Tensor& log_p);

}  // namespace graft
