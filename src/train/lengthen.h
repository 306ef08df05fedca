// Longer training of a run that came to its end, or was stopped.
//
// A run can be made longer where its first part is that of the longer run: where the learning rate
// of a step does not depend on how many steps follow. That is the constant schedule; a warm-up that
// was a share of all steps stays as many steps as it was.
#pragma once

#include <string>
#include <vector>

#include "train/inputs.h"

namespace graft {

// Whether the state after the last step is kept (checkpoints/step-N), so that the run can be made
// longer: with schedule: constant, unless checkpoint_every is never.
bool keeps_last_state(const RunConfig& config);

// Gives the run of `inputs` the length of `settings` ("epochs=6", "max_steps=500"). Throws
// InputError for other settings, a length that is no longer, and a schedule that does not allow it,
// saying why and what to do instead.
void lengthen(RunInputs& inputs, const std::vector<std::string>& settings);

// The run as it was before it was made longer, once for each time; last what it is now.
std::vector<RunConfig> stages_of(const RunConfig& config);

}  // namespace graft
