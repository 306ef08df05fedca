// Steps and epochs: which batches make up step k, and when something that happens "every so often"
// falls due.
#pragma once

#include <cstdint>
#include <vector>

#include "train/batches.h"

namespace graft {

class Epochs {
 public:
  // `accumulate` batches make a step; the last step of an epoch may have fewer. `max_steps` 0: as
  // many as `epochs` gives.
  Epochs(std::vector<int64_t> lengths, BatchOptions options, int64_t accumulate, double epochs,
         int64_t max_steps);

  int64_t total_steps() const { return total_steps_; }
  // The micro-batches of step 0 <= step < total_steps.
  std::vector<Batch> batches_of(int64_t step);
  // Epochs done after `steps` updates, a fraction within an epoch.
  double epochs_done(int64_t steps) const;
  // True when the update that made `steps` crossed a border of `period`.
  bool falls_due(const Period& period, int64_t steps) const;

 private:
  int64_t steps_in(int64_t epoch) const;
  std::pair<int64_t, int64_t> place_of(int64_t step) const;  // epoch, step within it

  std::vector<int64_t> lengths_;
  BatchOptions options_;
  int64_t accumulate_, total_steps_ = 0;
  std::vector<int64_t> first_step_;  // of each epoch; one more entry for the end
  int64_t planned_epoch_ = -1;
  std::vector<Batch> plan_;
};

}  // namespace graft
