// The choice of a next token from logits: what changes them, the most probable one, or one drawn at
// random.
//
// In this order (that of `transformers`):
//   repetition_penalty p   z_v / p where z_v > 0, z_v * p where z_v < 0, for tokens v that stand in
//                          the text (Keskar et al. 2019, arXiv:1909.05858)
//   no_repeat_ngram n      z_v = -inf where v would close an n-gram that stands in the text, or, as
//                          the released code of LoRA and AdaMix has it, in what is new of it
//   encoder_no_repeat_ngram n   the same of n-grams that stand in what the encoder read
//   bad_words              z_v = -inf where v would close one of these sequences of tokens
//   min_total_tokens, min_new_tokens   z = -inf for the tokens that end a text, until the text, or
//                                      what is new of it, is so long
//   forced_bos             z = 0 for this token and -inf for all others, where the text has one
//                          token
//   forced_eos             the same for these tokens, where the text may have one token more
//   suppress_tokens        z = -inf for these tokens; begin_suppress_tokens: where nothing is
//                          written yet
// and for a random choice
//   temperature t          z / t
//   top_k                  only tokens at least as probable as the k-th
//   top_p                  only the most probable tokens whose probabilities reach p together
//                          (Holtzman et al. 2020, arXiv:1904.09751)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"

namespace graft {

// Whose n-grams no_repeat_ngram looks at: a text's with its prompt or start token, or those of its
// new tokens alone.
enum class NgramsOf { kText, kNew };

struct SamplingOptions {
  double temperature = 0;         // 0: always the most probable token
  int64_t top_k = 0;              // 0: all
  double top_p = 1;               // 1: all
  double repetition_penalty = 1;  // 1: none
  int64_t no_repeat_ngram = 0;    // 0: none
  NgramsOf no_repeat_ngram_in = NgramsOf::kText;
  int64_t encoder_no_repeat_ngram = 0;
  std::vector<std::vector<int64_t>> bad_words =
      {};  // none empty; one that is an end token alone does not count
  int64_t min_new_tokens = 0;
  int64_t min_total_tokens = 0;  // of the text, its prompt or start token included
  int64_t forced_bos = -1;       // -1: none
  std::vector<int64_t> forced_eos = {};
  std::vector<int64_t> suppress_tokens = {},
                       begin_suppress_tokens = {};  // ids beyond the vocabulary say nothing
  std::vector<int64_t> end_ids = {};
  uint64_t seed = 0;

  bool changes_scores() const;
};

// What is known of a text when its next token is chosen.
struct TextSoFar {
  // Prompt and new tokens of a decoder-only model; start token and new ones of a decoder
  // in an encoder-decoder.
  std::span<const int64_t> tokens;
  int64_t new_tokens = 0;                // of those
  int64_t limit = 0;                     // new tokens that it may have
  std::span<const int64_t> source = {};  // the prompt: what an encoder read, where there is one
};

// Throws InputError naming the option that is out of range, or has an id beyond the vocabulary.
void check_sampling(const SamplingOptions& options, int64_t vocabulary);

// The first part of the list above, in place.
void change_scores(std::span<float> scores, const TextSoFar& text, const SamplingOptions& options);

// The token of the largest score, the first of equals.
int64_t largest_score(std::span<const float> scores);

// A token with probability softmax(scores / temperature) among those that top_k and top_p leave.
// uniform: in [0, 1). Requires: a temperature above 0, and a finite score.
int64_t draw_token(std::span<const float> scores, const SamplingOptions& options, double uniform);

// The second part of the list, in place, for beams that are drawn: z / t where top_k and top_p
// leave a token, at least `least` of them, and -inf elsewhere. Requires: a temperature above 0.
void keep_drawable(std::span<float> scores, const SamplingOptions& options, int64_t least);

// The number that draws new token `position` of an example: of nothing else, so that no neighbour
// changes a text.
double token_uniform(uint64_t seed, int64_t example, int64_t position);

// The same for every continuation of an example's beams at once: the number of token v behind beam
// b is uniform_at(key, v, b), in (0, 1).
RandomKey beams_key(uint64_t seed, int64_t example, int64_t position);
double uniform_at(RandomKey key, int64_t token, int64_t beam);

}  // namespace graft
