// Examples as sequences of token ids: what a data set is once the tokenizer has seen it.
#pragma once

#include <cstdint>
#include <vector>

#include "data/task.h"
#include "model/config.h"
#include "model/pack.h"
#include "text/tokenizer.h"

namespace graft {

struct Dataset {
  std::vector<Example> examples;
  std::vector<Sequence> sequences;   // one per example, in order
  int64_t num_tokens = 0;            // of all sequences
  int64_t num_cut = 0;               // texts that were cut to max_length

  int64_t size() const { return static_cast<int64_t>(examples.size()); }
};

// Throws InputError when the tokenizer's ids or types do not fit the model, or a special token that it needs is missing.
Dataset encode_examples(std::vector<Example> examples, const Tokenizer& tokenizer, const ModelConfig& config, int64_t max_length);

// max_length if positive, else the model's longest, at most 512, less the positions that `layout` takes for itself. Throws InputError
// when it is beyond what the model serves.
int64_t resolve_max_length(int64_t max_length, const ModelConfig& config, const RowLayout& layout = {});

}  // namespace graft
