// Tokens that a language model writes after prompts: greedily, at random, or by beam search.
// (infer/texts.h makes texts of them.)
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/names.h"
#include "infer/beams.h"
#include "infer/decoding.h"
#include "infer/sampling.h"

namespace graft {

constexpr int64_t kMostNewTokens = 1 << 20, kMostBeams = 1024;

// A value of max_new_tokens, if max_total_tokens is 0: each text has 128 tokens, or fewer where the
// model has not enough positions behind its prompt.
constexpr int64_t kAsFits = 0;

struct GenerateOptions {
  int64_t max_new_tokens = 128;  // or kAsFits
  // Tokens of a text with its prompt or start token. If above 0, it replaces max_new_tokens.
  int64_t max_total_tokens = 0;
  SamplingOptions sampling = {};  // with a temperature beams are drawn
  int64_t beams = 1;              // 1: no beam search
  double length_penalty = 1;      // in beam search
  EarlyStopping early_stopping = EarlyStopping::kNo;
  std::vector<int64_t> further_end_ids = {};  // for write_texts (texts.h): besides sampling.end_ids
};

// What ended a text: an end token; the limit of its length; OnToken or HasStopped.
enum class Finish { kEnd, kLength, kStopped };
inline constexpr Name<Finish> kFinishes[] = {
    {Finish::kEnd, "end"}, {Finish::kLength, "length"}, {Finish::kStopped, "stop"}};

struct Generated {
  std::vector<int64_t> tokens;  // including the end token
  // Of all tokens under the model alone, before options change scores; in nats.
  double log_probability = 0;
  double score = 0;  // of beam search (beams.h); else the log probability
  Finish finish = Finish::kLength;
};

// Called for each token when it is chosen; if it returns false, that text ends. Beam search does
// not call it, since its tokens are known only at the end.
using OnToken = std::function<bool(int64_t prompt, int64_t token)>;

// Throws InputError that names an option which is out of range, or needs another one.
void check_generation(const GenerateOptions& options, const ModelConfig& config);

// How many new tokens may follow a prompt: max_new_tokens, or as many as fit into max_total_tokens
// and the model's positions. Throws InputError if none fit, or with kAsFits fewer than
// min_new_tokens. `about` opens the message; empty: the number of the prompt's example does.
int64_t limit_of(const ModelConfig& config, const RowLayout& layout, const Sequence& prompt,
                 const GenerateOptions& options, const std::string& about = "");

// Throws InputError, which `about` opens, where limit_of does and where more new tokens are asked
// for than the model has positions behind the prompt: what `generate` would find when its turn
// comes.
void check_prompt(const ModelConfig& config, const RowLayout& layout, const Sequence& prompt,
                  const GenerateOptions& options, const std::string& about);

// Returns a list for each prompt, in the order of the lanes and their prompts: one text, or the
// finished beams, best first. All prompts are written at once; a text that has ended leaves the
// batch. A text and its numbers do not depend on the others. `on_token` may end texts,
// `has_stopped` beams; several threads may call the latter at once. Throws InputError as Decoding
// does, and if no token is left to choose.
std::vector<std::vector<Generated>> generate(const Model& model,
                                             const std::vector<PromptLane>& prompts,
                                             const GenerateOptions& options,
                                             const OnToken& on_token = {},
                                             const HasStopped& has_stopped = {});

}  // namespace graft
