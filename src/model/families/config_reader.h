// What the readers of config.json share: limits, and groups of keys that several families have.
#pragma once

#include <string>
#include <vector>

#include "base/options.h"
#include "model/config.h"

namespace graft {

inline constexpr int64_t kMaxWidth = 1 << 20, kMaxLayers = 1000, kMaxHeads = 4096,
                         kMaxVocabulary = int64_t{1} << 24, kMaxPositions = int64_t{1} << 22;

// "gelu", "gelu_new", "gelu_pytorch_tanh", "relu".
const std::vector<std::string>& plain_activations();
Activation parse_activation(const std::string& name);

// A switch that must have the value under which the trunk computes.
void require_value(Options& options, const char* key, const std::string& value);

int64_t integer_or(Options& options, const char* key, int64_t fallback, int64_t least,
                   int64_t most);
double dropout_rate(Options& options, const char* key, double fallback);

// The id of filler rows, which nothing reads. null and -1 say that a model has none.
void read_pad_id(Options& options, ModelConfig& c, int64_t fallback);
// Of a decoder: none unless it is given, and -1 means none, too.
void read_pad_id(Options& options, ModelConfig& c);
// Of an encoder-decoder. A list of ids, or null, leaves it without one: classifiers read the row of
// a single one.
void read_end_id(Options& options, ModelConfig& c, int64_t fallback);

// Whether transformers 5 or later wrote the file.
bool is_of_transformers_5(Options& options);
// The layer over the vocabulary.
void read_output(Options& options, ModelConfig& c, bool is_tied_by_default);

// The keys of a stack's sizes. Its heads are equally wide and fill C, unless the file says how wide
// they are.
struct StackKeys {
  const char *layers, *heads, *ffn, *width = "hidden_size";
};
StackConfig read_stack(Options& options, const StackKeys& keys);
void split_width(Options& options, const ModelConfig& c, const StackKeys& keys, StackConfig& stack);

// rope_theta and rope_scaling; transformers 5 writes both in one section, rope_parameters. A file
// that has old and new keys must say the same with both, since it depends on the reader's version
// which of them count.
Rotary read_rotary(Options& options, int64_t max_positions);

}  // namespace graft
