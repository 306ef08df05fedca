#include "edit/combinator.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "edit/registry.h"

namespace graft {

namespace {

struct Refusal {
  const char *combinator, *child, *reason;
};

// Every pair that is not here may be nested.
constexpr const char* kOwnWeights = "it changes the trunk's own weights, which all rows share";
constexpr const char* kTwoChoices = "both choose among experts: one mixture with more experts says the same";
constexpr Refusal kRefusals[] = {
    {"gate", "full", kOwnWeights},
    {"gate", "bitfit", kOwnWeights},
    {"gate", "top-layers", kOwnWeights},
    {"gate", "prompt", "its rows are in a sequence or not: no weight takes them out"},
    {"stochastic", "full", kOwnWeights},
    {"stochastic", "bitfit", kOwnWeights},
    {"stochastic", "top-layers", kOwnWeights},
    {"stochastic", "stochastic", kTwoChoices},
    {"stochastic", "router", "the mean of routers is not a router of the mean"},
    {"router", "full", kOwnWeights},
    {"router", "bitfit", kOwnWeights},
    {"router", "top-layers", kOwnWeights},
    {"router", "dora", "its norms are derived of several tensors, which cannot be stacked"},
    {"router", "reft", "it acts on some rows in a subspace of its own: experts have no common basis to be mixed in"},
    {"router", "prefix", "keys and values of a prefix belong to no token that could be routed"},
    {"router", "prompt", "the rows of a prompt belong to no token that could be routed"},
    {"router", "stochastic", kTwoChoices},
    {"router", "router", kTwoChoices},
};

}  // namespace

std::vector<ParamSpec> params_below(const std::string& step, std::vector<ParamSpec> params) {
  for (ParamSpec& param : params) param.name = step + "/" + param.name;
  return params;
}

NamedTensors tensors_below(const std::string& step, const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out[step + "/" + name] = tensor;
  return out;
}

int64_t input_width(const Edit& edit, const Site& site) {
  // The edit is shown no rows of the site's widths.
  const at::Tensor x = at::zeros({0, site.input_width}), y = at::zeros({0, site.output_width});
  const Pack nothing;
  return edit.input({site, nothing, {}, x, y, y, [](const at::Tensor& own, const at::Tensor&) { return own; }}).size(1);
}

Context context_below(const std::string& step, const Context& context) {
  Context inner = context;
  inner.path += step + "/";
  return inner;
}

std::optional<std::string> composition_fault(const std::string& combinator, const std::string& child) {
  for (const Refusal& refusal : kRefusals) {
    if (combinator == refusal.combinator && child == refusal.child) return refusal.reason;
  }
  return std::nullopt;
}

std::string composition_table() {
  const std::vector<std::string> combinators = known_combinators();
  std::string out = "| edit |", rule = "|---|";
  for (const std::string& combinator : combinators) {
    out += " " + combinator + " of it |";
    rule += "---|";
  }
  out += "\n" + rule + "\n";
  for (const std::string& child : known_edits()) {
    out += "| " + child + " |";
    for (const std::string& combinator : combinators) {
      const std::optional<std::string> fault = composition_fault(combinator, child);
      out += fault ? " no: " + *fault + " |" : " yes |";
    }
    out += "\n";
  }
  return out;
}

}  // namespace graft
