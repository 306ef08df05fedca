// How a frozen model is opened, and what is known of it. Plain values: safe to copy between
// threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft {

struct ModelOptions {
  // The precision of the trunk: "fp32" or "bf16". Trained tensors, heads and losses are float32 in
  // both cases.
  std::string precision = "fp32";
  // Keys of config.json that Graft does not know and shall ignore.
  std::vector<std::string> ignored_keys = {};
  // Folders of adapters that will be loaded. Keys that were ignored in their training are ignored
  // as well.
  std::vector<std::string> adapters = {};
  // The folder that holds tasks/, the tasks that are known by name (PREFIX/share/graft). Empty: no
  // task is known by name.
  std::string share = {};
};

struct ModelInfo {
  std::string path;  // as it was opened
  std::string type;  // model_type of its config.json: "bert", "llama"
  int64_t width = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;  // tokens of the longest text that it can read
  bool writes_texts = false;  // it is a decoder with a layer over the vocabulary
};

}  // namespace graft
