// How long a run is that leaves it to the data (epochs: auto).
#pragma once

#include <cstdint>

#include "train/config.h"

namespace graft {

// AdamW moves a number by about the learning rate a step, so that what a run can learn is bounded
// by its steps, not by its epochs: few rows are seen more often. The cap keeps a handful of rows
// from being learnt by heart for long.
struct LengthRule {
  int64_t least_epochs = 3, most_epochs = 100;
  int64_t least_steps = 300;
};

// A text has many targets a row: a third of the steps.
LengthRule length_rule(bool is_answered_in_words);

// The least whole number of epochs that has rule.least_steps, within least_epochs .. most_epochs.
int64_t auto_epochs(const LengthRule& rule, int64_t steps_per_epoch);

// Puts numbers in the place of every `auto`: epochs by the rule; evaluations and checkpoints every
// epoch, or ten times in a run whose epochs are automatic and more than ten, unless early_stop
// counts evaluations.
void settle_length(const LengthRule& rule, int64_t steps_per_epoch, RunConfig& config);

}  // namespace graft
