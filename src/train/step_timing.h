// How long training takes on this machine, by trial: a few passes warm up, a few are timed, and
// what they train is thrown away.
#pragma once

#include "train/inputs.h"

namespace graft {

// Forward and backward over all rows of the run as one batch, without an update: the median.
double seconds_per_pass(const RunInputs& inputs);

// Of the run's first steps, updates included: their time over the tokens that they train on.
double seconds_per_token(const RunInputs& inputs);

}  // namespace graft
