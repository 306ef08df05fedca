// Settings that have no effect in a run, or cannot be carried out hours later: told before it
// begins.
#pragma once

#include "train/inputs.h"

namespace graft {

// Settings that this run's task, rows or length leave without effect are refused if the user gave
// them, and reset if only the preset did. Where evaluations write texts, the model's own settings
// of generation are joined to the run's, and what cannot be written is refused. `in` is whole but
// for that. Throws InputError.
void check_effects(const RowLayout& layout, RunInputs& in);

}  // namespace graft
