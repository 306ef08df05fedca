// The flags that say how texts are written, and the model's own settings below them.
#pragma once

#include "session/writing.h"

namespace CLI {
class App;
}

namespace graft {

// --max-new-tokens, --temperature, --beams, ... in a group of their own, kGenerationGroup.
void add_generation(CLI::App& command, GenerationRequest& flags);
constexpr const char* kGenerationGroup = "Writing texts";

// --ignore-generation-config
void add_ignore_generation_config(CLI::App& command, bool& value);

// The flags over what the model's files say, which is told on standard error unless `is_quiet`.
GenerateOptions generation_of(const GenerationRequest& flags, const OpenedModel& opened,
                              bool is_quiet);

}  // namespace graft
