// Driving a run: step by step, until it is done or its observer asks to stop.
#pragma once

#include "train/run.h"

namespace graft {

// Where the observer wants to stop before the end, the run writes a checkpoint.
RunEnd drive(Run& run);

}  // namespace graft
