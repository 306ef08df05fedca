// Adapter folders of Hugging Face PEFT (0.21): LoRA, DoRA, (IA)^3, VeRA, prefix, prompt and
// p-tuning, with a classifier beside them.
//
// doc/interop.md lists what becomes of every field.
#pragma once

#include "interop/foreign.h"

namespace graft {

// Reads adapter_config.json with adapter_model.safetensors or .bin. The tensors say what is
// changed; a config that says otherwise, a field that is not understood and a tensor without a
// place are errors. Throws InputError listing all of them.
ForeignAdapter read_peft(const Path& dir, const Model& model);

// Throws InputError where PEFT has no form for a part of the adapter, naming it and the way out.
void write_peft(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                const Model& model);

// What stands before the names of tensors: of wrapped layers, and of models that are fed vectors.
inline constexpr const char* kPeftLayersRoot = "base_model.model.";
inline constexpr const char* kPeftPromptRoot = "base_model.";
inline constexpr const char* kPeftPromptTensor = "prompt_embeddings";
inline constexpr const char* kPeftVeraA = "base_model.vera_A";
inline constexpr const char* kPeftVeraB = "base_model.vera_B";

// The module that a classifier reads and that modules_to_save may name beside the head: "pooler",
// ModernBERT's "head"; empty where there is none.
std::string module_under_head(const ModelConfig& config);

// {sites, layers} of exactly `sites`: parts and layers where these make a rectangle, else one name
// a site.
Node site_options(const std::vector<Site>& chosen, const Sites& all);

}  // namespace graft
