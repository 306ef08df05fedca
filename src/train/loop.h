// Driving runs: a list of them, usually of one, a step each in turn, until all are done or an
// observer asks to stop.
#pragma once

#include <memory>
#include <vector>

#include "train/run.h"

namespace graft {

// Where the observer of one wants to stop, every unfinished run writes a checkpoint.
RunEnd drive(std::vector<std::unique_ptr<Run>>& runs);

}  // namespace graft
