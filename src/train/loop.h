// Driving runs: a list of them, usually of one, a step each in turn, until all are done or a signal
// asks to stop.
#pragma once

#include <memory>
#include <vector>

#include "train/run.h"

namespace graft {

enum class LoopEnd { kDone, kInterrupted };

// SIGINT or SIGTERM: the step under way is finished, every unfinished run writes a checkpoint, and
// the signal's number is put into `signal`. A second SIGINT ends the process at once.
LoopEnd drive(std::vector<std::unique_ptr<Run>>& runs, int& signal);

}  // namespace graft
