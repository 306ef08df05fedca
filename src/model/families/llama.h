// What families with LLaMA's blocks share: a pre-norm decoder with root-mean-square norms, rotary
// positions, a gated FFN, and key heads that several query heads may share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/options.h"
#include "model/families.h"

namespace graft {

// What a config without the key means.
struct LlamaDefaults {
  int64_t positions = 2048;
  int64_t head_width = 0;  // 0: C / H
};

// All keys of the blocks but those of biases, which are left off, and of windows.
void read_llama_blocks(Options& options, ModelConfig& c, const LlamaDefaults& defaults = {});

// Attention to a window of the last tokens is attention to all of them in texts that are no longer:
// those are served.
struct WindowKeys {
  std::optional<bool> switched_on = {};  // by default; nothing: always on, whatever the key says
  std::optional<int64_t> width = {};     // where the key is missing; nothing: no window
};
void read_window(Options& options, ModelConfig& c, const WindowKeys& keys);

CheckpointNames llama_names();
Family llama_family(const std::string& model_type, const std::string& classifier_class);

}  // namespace graft
