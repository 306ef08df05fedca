// Adapter folders of AdapterHub (`adapters` 1.3): bottlenecks, LoRA, (IA)^3, prefixes, ReFT and
// unions of them, gated or not, with a classifier beside them.
//
// doc/interop.md lists what becomes of every field.
#pragma once

#include <string>

#include "interop/answers.h"
#include "interop/foreign.h"
#include "interop/modules.h"

namespace graft {

inline constexpr const char* kAdapterHubVersion = "adapters.1.3.0";  // whose fields are written

// Reads adapter_config.json with adapter.safetensors or pytorch_adapter.bin, and head_config.json
// with the head's tensors where they are. A field that is not understood and a tensor without a
// place are errors. Throws InputError listing all of them.
ForeignAdapter read_adapterhub(const Path& dir, const Model& model, const ImportAnswers& answers);

// Throws InputError where AdapterHub has no form for a part of the adapter, naming it and the way
// out.
void write_adapterhub(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                      const Model& model);

// The beginnings of its tensors' names, each with a dot at its end. Requires: a family built like
// BERT.
class HubNames {
 public:
  // `prefix`: before the encoder's modules, "bert." or "". `adapter`: the name of the adapter,
  // which is a part of every tensor's.
  HubNames(const Model& model, const std::string& prefix, std::string adapter)
      : modules_(model, prefix, false), prefix_(prefix), adapter_(std::move(adapter)) {}

  std::string of_linear(const Site& site) const {
    return modules_.by_name(site.name).path + ".loras." + adapter_ + ".";
  }
  std::string of_sublayer(const Site& site) const;  // also for the norm behind it
  std::string of_prefix() const {
    return prefix_ + "prefix_tuning.prefix_tunings." + adapter_ + ".self_prefix.";
  }
  std::string of_prefix_copy(int64_t layer) const {
    return attention(layer) + ".prefix_tuning.pool.prefix_tunings." + adapter_ + ".self_prefix.";
  }
  std::string of_prefix_gate(int64_t layer) const {
    return attention(layer) + ".prefix_tuning.prefix_gates." + adapter_ + ".";
  }
  std::string of_reft(int64_t layer, int64_t unit) const {
    return block(layer) + ".reft_layer.refts." + adapter_ + ".units." + std::to_string(unit) + ".";
  }

 private:
  std::string parent(int64_t layer, Part part) const;  // of a linear layer
  std::string attention(int64_t layer) const { return parent(layer, Part::kAttnQ); }
  std::string block(int64_t layer) const;

  Modules modules_;
  std::string prefix_, adapter_;
};

// The name of an activation there, and here in a bottleneck; empty where there is none.
std::string hub_activation_to_ours(const std::string& theirs);
std::string our_activation_to_hub(const std::string& ours);

// Python's int(width // factor), at least one: the units of a bottleneck.
int64_t hub_units(int64_t width, double factor);

}  // namespace graft
