// The choice of a next token from logits: what changes them, the most probable one, or one drawn at random.
//
// In this order (that of `transformers`):
//   repetition_penalty p   z_v / p where z_v > 0, z_v * p where z_v < 0, for tokens v that stand in the text (Keskar et al. 2019,
//                          arXiv:1909.05858)
//   no_repeat_ngram n      z_v = -inf where v would close an n-gram that stands in the text
//   min_new_tokens         z = -inf for the tokens that end a text, until there are as many new ones
// and for a random choice
//   temperature t          z / t
//   top_k                  only tokens at least as probable as the k-th
//   top_p                  only the most probable tokens whose probabilities reach p together (Holtzman et al. 2020,
//                          arXiv:1904.09751)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"

namespace graft {

struct SamplingOptions {
  double temperature = 0;         // 0: always the most probable token
  int64_t top_k = 0;              // 0: all
  double top_p = 1;               // 1: all
  double repetition_penalty = 1;  // 1: none
  int64_t no_repeat_ngram = 0;    // 0: none
  int64_t min_new_tokens = 0;
  std::vector<int64_t> end_ids = {};
  uint64_t seed = 0;

  bool changes_scores() const { return repetition_penalty != 1 || no_repeat_ngram > 0 || min_new_tokens > 0; }
};

// Throws InputError naming the option that is out of range, or an end id beyond the vocabulary.
void check_sampling(const SamplingOptions& options, int64_t vocabulary);

// log sum_v exp(z_v). Adds in one order, whatever else runs.
double log_sum_exp(std::span<const float> logits);

// The first three of the list above, in place. `text`: what counts as written: the prompt and the new tokens of a decoder that
// stands alone, start token and new ones of a decoder beside an encoder.
void change_scores(std::span<float> scores, std::span<const int64_t> text, int64_t new_tokens, const SamplingOptions& options);

// The token of the largest score, the first of equals.
int64_t largest_score(std::span<const float> scores);

// A token with probability softmax(scores / temperature) among those that top_k and top_p leave. uniform: in [0, 1).
// Requires: a temperature above 0, and a finite score.
int64_t draw_token(std::span<const float> scores, const SamplingOptions& options, double uniform);

// The number that draws new token `position` of an example: of nothing else, so that no neighbour changes a text.
double token_uniform(uint64_t seed, int64_t example, int64_t position);

}  // namespace graft
