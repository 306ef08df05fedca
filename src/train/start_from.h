// The values that a run begins with.
#pragma once

#include "edit/adapter.h"
#include "train/inputs.h"

namespace graft {

// For `own`, the adapter of the run: those of its edits and its head, the latter the model's own
// where inputs.head_start has it, or the tensors of the adapter in config.start_from. Throws
// InputError where that one is of another shape, naming the options and numbers in which they
// differ: "lora.rank 8 there, 16 here".
NamedTensors start_values(const RunInputs& inputs, const Adapter& own);

}  // namespace graft
