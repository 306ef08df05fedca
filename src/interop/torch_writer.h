// Writes a dictionary of tensors as torch.save does: a zip archive of one pickle and the bytes of
// each tensor.
#pragma once

#include "base/files.h"
#include "tensor/named_tensors.h"

namespace graft {

// Python's torch.load(path, weights_only=True) gives the dictionary back, in the order of the
// names. float32 and int64 tensors. Throws IoError if the system refuses.
void save_torch_file(const Path& path, const NamedTensors& tensors);

}  // namespace graft
