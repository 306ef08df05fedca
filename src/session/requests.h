// Internal to src/session.
//
// Texts that a program asks several adapters for, written side by side.
#pragma once

#include <vector>

#include "graft/session.h"
#include "session/state.h"

namespace graft {

struct AdapterPrompt {
  const AdapterState* adapter = nullptr;
  const std::string* text = nullptr;
};

// One a prompt, in order. Adapters whose tasks have one chat format and the same stop texts share
// passes, a lane each; one that replaces the trunk's weights goes alone. Throws InputError where an
// adapter answers by a head or a setting is wrong.
std::vector<GeneratedText> write_side_by_side(const OpenedModel& opened,
                                              const std::vector<AdapterPrompt>& prompts,
                                              const WritingOptions& options);

}  // namespace graft
