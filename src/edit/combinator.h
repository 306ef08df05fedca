// What gate, stochastic and router share: how a combinator names what it is made of, and which nestings make sense.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edit/edit.h"

namespace graft {

// An edit inside a combinator.
struct Child {
  std::string kind;  // "lora"
  std::unique_ptr<Edit> edit;
};

// The same params under "<step>/"; `step` is "of" for the one edit of a combinator.
std::vector<ParamSpec> params_below(const std::string& step, std::vector<ParamSpec> params);
NamedTensors tensors_below(const std::string& step, const NamedTensors& tensors);
// The context that the edit below `step` sees: its losses and records carry the step in their names.
Context context_below(const std::string& step, const Context& context);

// Width of what the edit reads at one of its sites (Edit::input), known without a forward pass.
int64_t input_width(const Edit& edit, const Site& site);

// Why `combinator` may not be put around `child`; nothing when it may. Both are names of the registry.
std::optional<std::string> composition_fault(const std::string& combinator, const std::string& child);

// A line per edit, a column per combinator (Markdown), for `graft inspect compositions` and doc/methods.md.
std::string composition_table();

}  // namespace graft
