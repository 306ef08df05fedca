// The loss of one batch of a step: rows to packs, one pass through trunk and edits or two, the
// objective.
#pragma once

#include "edit/lanes.h"
#include "train/batches.h"
#include "train/inputs.h"

namespace graft {

struct BatchLoss {
  at::Tensor loss;     // scalar: this batch's share of the step's mean loss
  int64_t tokens = 0;  // real ones, of the rows: a second pass over them does not count
};

// What the step's mean is over: rows; of texts target tokens, unless the objective averages rows.
double loss_units(const RunInputs& inputs, const Batch& batch);

// `key`: (seed, step, micro-batch). `units`: of the whole step, by which every sum is divided.
// With a consistency loss the rows pass twice, as two lanes of one forward pass that differ in
// route and dropout:
//   loss = CE(first) + consistency * summed_consistency(first, second)
BatchLoss batch_loss(const RunInputs& inputs, const BoundAdapter& bound, const Batch& batch,
                     RandomKey key, double units);

struct StepLoss {
  double loss = 0;  // mean over the step's units
  int64_t tokens = 0;
};

// Forward and backward over the micro-batches of step 0, 1, ...: adds the gradients to those of
// `tensors`.
StepLoss step_gradients(const RunInputs& inputs, const Adapter& adapter, NamedTensors& tensors,
                        const std::vector<Batch>& batches, int64_t step);

}  // namespace graft
