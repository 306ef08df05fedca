// Writing a model as a folder of the Hugging Face format: config.json, model.safetensors, the
// tokenizer's files.
#pragma once

#include "edit/adapter_file.h"

namespace graft {

// `tensors`: the trunk's, canonical names; they and the head of `loaded` are stored in `dtype`
// under the checkpoint's names. The rest of config.json and the tokenizer's files come from
// `base`, a model's folder or GGUF file. Where there is a head, config.json names its class and
// labels.
void write_model_folder(const Path& dir, const Path& base, const ModelConfig& config,
                        const NamedTensors& tensors, const LoadedAdapter& loaded,
                        at::ScalarType dtype);

}  // namespace graft
