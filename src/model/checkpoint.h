// The tensors of a model's files under their canonical names.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "base/files.h"
#include "model/config.h"
#include "tensor/named_tensors.h"

namespace graft {

// Of a folder: its safetensors, one file or shards. A tensor that the file holds under a second
// name only (Family::copies) is read there. Names of other heads that the family lists as unused
// are left out. Any other surplus, a missing or misshapen tensor, or a NaN is an InputError that
// calls the tensors by their names in the file. Of a GGUF file: its tensors in `dtype`, the
// trunk's.
//
// Settles config.has_tied_output where it may be untied. `files` receives the mapped files.
NamedTensors load_base(const Path& model, ModelConfig& config, at::ScalarType dtype,
                       std::vector<std::shared_ptr<const MappedFile>>* files = nullptr);

}  // namespace graft
