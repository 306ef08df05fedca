#include "train/step_work.h"

#include <algorithm>
#include <utility>

#include "train/inputs.h"
#include "train/pass_packing.h"

namespace graft {

namespace {

struct SharedPass {
  std::vector<StepWork*> works;
  std::vector<MicroBatch> batches;  // one a work
  int64_t tokens = 0;
};

// Forward and backward.
void run_pass(const SharedPass& pass) {
  std::vector<at::Tensor> values;
  const std::vector<BatchLoss> losses = losses_of(pass.batches);
  for (size_t i = 0; i < losses.size(); ++i) {
    pass.works[i]->add(losses[i], pass.batches[i].tokens());
    values.push_back(losses[i].value);
  }
  torch::autograd::backward(values, {});
}

}  // namespace

StepWork::StepWork(const RunInputs& inputs, const Adapter& adapter, const NamedTensors& tensors,
                   std::vector<Batch> batches, int64_t step)
    : inputs_(inputs),
      batches_(std::move(batches)),
      step_(step),
      bound_(std::make_unique<BoundAdapter>(*inputs.model, adapter, tensors, Experts::kApart)) {
  for (const Batch& batch : batches_) units_ += loss_units(inputs, batch);
}

MicroBatch StepWork::micro_batch(size_t i) const {
  const RandomKey key =
      key_of(inputs_.config, Draws::kSteps).with(static_cast<uint64_t>(step_)).with(i);
  return {inputs_, *bound_, batches_[i], key, units_};
}

void StepWork::add(const BatchLoss& loss, int64_t tokens) {
  sum_.loss += loss.value.item<double>();
  sum_.tokens += tokens;
  for (const auto& [name, experts] : loss.drawn) {
    std::vector<int64_t>& all = drawn_[name];
    all.insert(all.end(), experts.begin(), experts.end());
  }
}

StepLoss StepWork::finish() {
  bound_->add_gradients_to_stored();
  return sum_;
}

void run_passes(const std::vector<StepWork*>& works, int64_t most_tokens) {
  size_t most = 0;
  for (const StepWork* work : works) most = std::max(most, work->num_batches());
  for (size_t i = 0; i < most; ++i) {
    std::vector<SharedPass> passes;
    for (StepWork* work : works) {
      if (i >= work->num_batches()) continue;
      MicroBatch batch = work->micro_batch(i);
      const auto can_share = [&](const SharedPass& other) {
        return batch.can_share_pass(other.batches.front());
      };
      SharedPass& pass = pass_for(passes, batch.pass_tokens(), most_tokens, can_share);
      pass.works.push_back(work);
      pass.batches.push_back(std::move(batch));
    }
    for (const SharedPass& pass : passes) run_pass(pass);
  }
}

StepLoss step_gradients(const RunInputs& inputs, const Adapter& adapter,
                        const NamedTensors& tensors, std::vector<Batch> batches, int64_t step) {
  StepWork work(inputs, adapter, tensors, std::move(batches), step);
  run_passes({&work});
  return work.finish();
}

}  // namespace graft
