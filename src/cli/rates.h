// graft train --find-rate: the learning-rate range test as a table, with a suggestion.
#pragma once

#include "cli/progress.h"
#include "train/rate_test.h"

namespace graft {

// Runs the test and writes to standard output; keeps nothing. Returns the exit code.
int find_rate(RunInputs inputs, Verbosity verbosity);

}  // namespace graft
