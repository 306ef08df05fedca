#include "train/train_state.h"

#include "base/error.h"
#include "train/start_from.h"
#include "train/step_work.h"

namespace graft {

TrainState::TrainState(const RunInputs& inputs)
    : tensors(start_values(inputs, *inputs.adapter)),
      optimizer(make_optimizer(inputs.adapter->params(), inputs.config)),
      clip(inputs.config.clip) {}

void TrainState::apply_gradients(double norm, double learning_rate) {
  clip_gradients(tensors, norm, clip);
  optimizer->step(tensors, learning_rate);
}

void TrainState::restore(const Checkpoint& checkpoint) {
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors) {
    const at::Tensor& saved = tensor_at(checkpoint.tensors, name, "checkpoint");
    if (saved.sizes() != tensor.sizes())
      throw InputError("checkpoint: tensor '" + name + "': expected " + shape_text(tensor.sizes()) +
                       ", found " + shape_text(saved.sizes()));
    tensor.copy_(saved);
  }
  optimizer->restore(checkpoint.optimizer);
}

TrainedStep train_step(const RunInputs& inputs, TrainState& state, std::vector<Batch> batches,
                       int64_t step, double learning_rate) {
  const StepLoss sum =
      step_gradients(inputs, *inputs.adapter, state.tensors, std::move(batches), step);
  const double norm = gradient_norm(state.tensors);
  state.apply_gradients(norm, learning_rate);
  return {sum.loss, norm, sum.tokens};
}

}  // namespace graft
