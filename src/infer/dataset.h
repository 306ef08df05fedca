// Examples as sequences of token ids: what a data set is once the tokenizer has seen it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/task.h"
#include "infer/model_text.h"
#include "model/config.h"
#include "model/pack.h"

namespace graft {

struct Dataset {
  std::vector<Example> examples;
  std::vector<Sequence> sequences;                              // one per example, in order
  std::vector<std::vector<std::vector<int64_t>>> options = {};  // kChoice: [example][option], its tokens with the end of text
  int64_t num_tokens = 0;                                       // of all sequences
  int64_t num_cut = 0;                                          // texts that were cut to max_length

  int64_t size() const { return static_cast<int64_t>(examples.size()); }
};

// What a data set is encoded for. Training reads the target behind the prompt (of kChoice: the right option), evaluation of texts
// the prompt alone.
enum class TargetUse { kFollow, kLeaveOut };

// Throws InputError when the model cannot do what the task asks: a decoder has no head, an encoder writes no text. Needs no rows,
// so that it can be asked before they are read.
void check_task(const Task& task, const ModelConfig& config);

// Throws InputError where check_task does, when the tokenizer's ids or types do not fit the model, or a special token that it
// needs is missing.
Dataset encode_examples(std::vector<Example> examples, const Task& task, const ModelText& text, const ModelConfig& config,
                        int64_t max_length, TargetUse targets = TargetUse::kFollow);

// Indices of the sequences, the longest first.
std::vector<int64_t> longest_first(const std::vector<Sequence>& sequences);

// The rows that pass together: in that order, as many as have costs of `token_budget` in all, and one at least.
std::vector<std::vector<int64_t>> groups_of_rows(const std::vector<Sequence>& sequences, int64_t token_budget,
                                                 const std::function<int64_t(int64_t row)>& cost);

// max_length if positive, else the model's longest, at most 512, less the positions that `layout` takes for itself. Throws
// InputError when it is beyond what the model serves.
int64_t resolve_max_length(int64_t max_length, const ModelConfig& config, const RowLayout& layout = {});

}  // namespace graft
