// Texts that a language model writes after prompts: greedily, at random, or by beam search. On
// tokens; texts.h has the words.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "infer/beams.h"
#include "infer/decoding.h"
#include "infer/sampling.h"

namespace graft {

constexpr int64_t kMostNewTokens = 1 << 20, kMostBeams = 1024;

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  int64_t max_total_tokens = 0;  // of a text, its prompt or start token included; above 0 it counts
                                 // instead of max_new_tokens
  SamplingOptions sampling = {};  // a temperature with beams: beams are drawn
  int64_t beams = 1;              // 1: no beam search
  double length_penalty = 1;      // of beam search, like the next
  EarlyStopping early_stopping = EarlyStopping::kNo;
  std::vector<int64_t> further_end_ids = {};  // for write_texts (texts.h): beside sampling.end_ids
};

enum class Finish {
  kEnd,
  kLength,
  kStopped
};  // an end token, max_new_tokens, or the word of
    // OnToken or HasStopped

struct Generated {
  std::vector<int64_t> tokens;  // the end token included
  double log_probability =
      0;  // their sum under the model alone, before anything that changes scores; in nats
  double score = 0;  // of beam search (beams.h); else as log_probability
  Finish finish = Finish::kLength;
};

// Called for each token as it is chosen; false ends that text. Not called by beam search, which
// knows its tokens at the end.
using OnToken = std::function<bool(int64_t prompt, int64_t token)>;

// Throws InputError naming the option that is out of range or goes with another one only.
void check_generation(const GenerateOptions& options, const ModelConfig& config);

// How many new tokens a text may have behind its prompt: max_new_tokens, or as many as
// max_total_tokens and the model's positions leave room for. Throws InputError where those leave
// none.
int64_t limit_of(const ModelConfig& config, const RowLayout& layout, const Sequence& prompt,
                 const GenerateOptions& options);

// `has_stopped` ends beams, on_token other texts; it may be asked by several threads at once.
// A list for each prompt, in the order of the lanes and their prompts: one text, or the finished
// beams, best first. All prompts are written at once; a text that is done leaves the batch. Neither
// a text nor its numbers depend on what is written beside it. Throws InputError as Decoding does,
// and where no token is left to be chosen.
std::vector<std::vector<Generated>> generate(const Model& model,
                                             const std::vector<PromptLane>& prompts,
                                             const GenerateOptions& options,
                                             const OnToken& on_token = {},
                                             const HasStopped& has_stopped = {});

}  // namespace graft
