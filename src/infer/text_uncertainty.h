// How uncertain samples of a language model are of the tokens of given texts (Malinin and Gales
// 2021, arXiv:2002.07650, token by token under teacher forcing).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "tensor/vocabulary_loss.h"

namespace graft {

// Of a token given those before it, by the distributions p_s over the vocabulary and their mean p;
// in nats (infer/uncertainty.h).
struct TokenUncertainty {
  int64_t token = 0;
  double loss = 0;  // -log p
  double entropy = 0, expected_entropy = 0, information = 0;
};

// Of the targets of each row of a data set.
struct TextUncertainty {
  std::vector<std::vector<TokenUncertainty>> tokens;  // [row][target]
  std::vector<std::vector<double>> log_likelihood;    // [row][sample]: sum of log p_s
};

// Of R rows that predict one token each: states [R, C] and an output layer of every sample.
struct TargetUncertainty {
  at::Tensor loss, entropy, expected_entropy, information;  // [R] float64
  at::Tensor log_p;                                         // [samples, R] float64, of the targets
};
TargetUncertainty target_uncertainty(const std::vector<at::Tensor>& states,
                                     const std::vector<OutputLayer>& layers,
                                     const std::vector<int64_t>& targets);

// Of a row: sums over its tokens, and the spread of its log likelihoods.
struct SequenceUncertainty {
  double loss = 0, entropy = 0, expected_entropy = 0, information = 0;
  double log_likelihood_mean = 0, log_likelihood_variance = 0;  // over samples; unbiased, of one 0
};
SequenceUncertainty sequence_uncertainty(const TextUncertainty& texts, size_t row);

}  // namespace graft
