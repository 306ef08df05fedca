// The classifier beside an adapter of AdapterHub: of the library's own class ("static"), or of
// AdapterHub's kind ("flex").
#pragma once

#include "interop/foreign.h"

namespace graft {

// Fills the head of `foreign` from head_config.json with model_head.safetensors or
// pytorch_model_head.bin, where the folder has it. Returns the faults found, or "".
std::string read_hub_head(const Path& dir, const Model& model, ForeignAdapter& foreign);

// Whether the head is one of the library's own class; else it is written as AdapterHub's kind.
bool has_static_head(const Adapter& adapter);

// Writes both files. `name`: of the adapter and so of a flex head.
void write_hub_head(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                    const Model& model, const std::string& name);

// The name of the model's class: "BertForSequenceClassification", "BertAdapterModel", "BertModel".
std::string hub_model_class(const Adapter& adapter, const Model& model);

}  // namespace graft
