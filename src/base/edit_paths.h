// How the options of edits are called in settings: by their way through a definition, as in
// "adapter.0.gate.of.lora.rank".
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/document.h"

namespace graft {

// Every map of options in `edits`, a definition's list, with its path, in their order: "0.lora",
// and inside a combinator "0.gate.of.lora" or "0.gate.of.1.lora". Of what is no list none.
std::vector<std::pair<std::string, Node*>> edit_options(Node& edits);
std::vector<std::pair<std::string, const Node*>> edit_options(const Node& edits);

}  // namespace graft
