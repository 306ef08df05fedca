// A frozen model, as a program that uses one knows it. Plain values: safe to copy between threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft {

// How a model is opened.
struct ModelOptions {
  // Of the trunk: "fp32" or "bf16". Trained tensors, heads and losses are float32 whatever it is.
  std::string precision = "fp32";
  // Keys of its config.json that graft does not know and is to pass over.
  std::vector<std::string> ignored_keys = {};
  // Folders of adapters that will be loaded: keys that they were trained without are passed over,
  // too.
  std::vector<std::string> adapters = {};
  // The folder with the tasks/ that come by name (PREFIX/share/graft); empty: none do.
  std::string share = {};
};

struct ModelInfo {
  std::string path;  // as it was opened
  std::string type;  // model_type of its config.json: "bert", "llama"
  int64_t width = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;  // the longest text that it serves, in tokens
  bool writes_texts = false;  // a decoder with a layer over the vocabulary
};

}  // namespace graft
