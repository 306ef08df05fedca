// The flags that say how texts are written, and the model's own settings below them.
#pragma once

#include <cstdint>

#include "base/document.h"
#include "base/files.h"
#include "infer/generate.h"

namespace CLI {
class App;
}

namespace graft {

struct GenerationFlags {
  Node given = Node::map();  // by the names of generation_settings.h
  uint64_t seed = 0;
  bool ignores_model = false;
};

// --max-new-tokens, --temperature, --beams, ... in a group of their own, kGenerationGroup.
void add_generation(CLI::App& command, GenerationFlags& flags);
constexpr const char* kGenerationGroup = "Writing texts";

// --ignore-generation-config
void add_ignore_generation_config(CLI::App& command, bool& value);

// The flags over what the model's files say, which is told on standard error unless `is_quiet`.
// Throws InputError as read_model_generation and join_generation do.
GenerateOptions resolve_generation(const GenerationFlags& flags, const Path& model,
                                   const ModelConfig& config, bool is_quiet);

}  // namespace graft
