// The gradients of a step: of one run, or of several that share their passes.
#pragma once

#include <memory>
#include <vector>

#include "train/micro_batch.h"

namespace graft {

struct StepLoss {
  double loss = 0;     // mean over the step's units
  int64_t tokens = 0;  // real ones
};

// One run's step under way: its adapter, bound once, and the rows of its micro-batches.
class StepWork {
 public:
  // All must outlive the work.
  StepWork(const RunInputs& inputs, const Adapter& adapter, const NamedTensors& tensors,
           std::vector<Batch> batches, int64_t step);

  size_t num_batches() const { return batches_.size(); }
  MicroBatch micro_batch(size_t i) const;
  void add(const BatchLoss& loss, int64_t tokens);
  const StepLoss& sum() const { return sum_; }          // so far
  const DrawnExperts& drawn() const { return drawn_; }  // so far, if the run records them
  // Carries the gradients to the stored tensors; once, after the last micro-batch.
  StepLoss finish();

 private:
  const RunInputs& inputs_;
  std::vector<Batch> batches_;
  int64_t step_;
  double units_ = 0;
  std::unique_ptr<BoundAdapter> bound_;
  DrawnExperts drawn_;
  StepLoss sum_;
};

// Forward and backward over all micro-batches of all works: the i-th of each share a pass where
// they can (MicroBatch::can_share_pass), up to `most_tokens` of their rows; more make another pass.
// No gradient is mixed: what a loss reaches is its own adapter alone.
void run_passes(const std::vector<StepWork*>& works, int64_t most_tokens = 0);

// Of one run: adds the gradients to those of `tensors`.
StepLoss step_gradients(const RunInputs& inputs, const Adapter& adapter,
                        const NamedTensors& tensors, std::vector<Batch> batches, int64_t step);

}  // namespace graft
