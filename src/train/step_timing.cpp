#include "train/step_timing.h"

#include <algorithm>
#include <numeric>

#include "base/timer.h"
#include "train/step_work.h"
#include "train/train_state.h"

namespace graft {

namespace {

constexpr int64_t kWarmup = 2;

}  // namespace

double seconds_per_pass(const RunInputs& inputs) {
  constexpr int64_t kTimed = 5;
  NamedTensors tensors = inputs.adapter->init(inputs.model->weights, {});
  Batch batch(inputs.train->sequences.size());
  std::iota(batch.begin(), batch.end(), 0);
  std::vector<double> seconds;
  for (int64_t pass = 0; pass < kWarmup + kTimed; ++pass) {
    const Timer timer;
    step_gradients(inputs, *inputs.adapter, tensors, {batch}, pass);
    for (auto& [name, tensor] : tensors) tensor.mutable_grad().reset();
    if (pass >= kWarmup) seconds.push_back(timer.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

double seconds_per_token(const RunInputs& inputs) {
  constexpr int64_t kTimed = 4;
  TrainState state(inputs);
  Epochs epochs = epochs_of(inputs);
  double seconds = 0;
  int64_t tokens = 0;
  for (int64_t step = 0; step < kWarmup + kTimed; ++step) {
    const Timer timer;
    const TrainedStep trained =
        train_step(inputs, state, epochs.batches_of(step % epochs.total_steps()), step, 0);
    if (step < kWarmup) continue;
    seconds += timer.seconds();
    tokens += trained.tokens;
  }
  return seconds / static_cast<double>(std::max<int64_t>(tokens, 1));
}

}  // namespace graft
