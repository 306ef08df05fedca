// What training changes from step to step: an adapter's tensors, and the state of their optimizer.
#pragma once

#include <memory>
#include <vector>

#include "train/checkpoint.h"
#include "train/inputs.h"
#include "train/optimizer.h"

namespace graft {

struct TrainState {
  NamedTensors tensors;
  std::unique_ptr<Optimizer> optimizer;
  double clip;  // the largest norm of gradients; 0: any

  // As a run of these inputs begins.
  explicit TrainState(const RunInputs& inputs);

  // Clips the gradients of the tensors, whose norm is given, and moves the tensors by them. Leaves
  // no gradient.
  void apply_gradients(double norm, double learning_rate);
  // Throws InputError for tensors or optimizer state of other names or shapes.
  void restore(const Checkpoint& checkpoint);
};

struct TrainedStep {
  double loss = 0;           // before the update, mean over the step's units
  double gradient_norm = 0;  // before clipping
  int64_t tokens = 0;        // real ones
};

// A whole step: forward and backward over the batches, and the update, whatever loss and gradients
// are. (A run looks at them in between: Run::update.)
TrainedStep train_step(const RunInputs& inputs, TrainState& state, std::vector<Batch> batches,
                       int64_t step, double learning_rate);

}  // namespace graft
