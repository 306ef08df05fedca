// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) over named tensors.
//
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr wd p;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
// Decay acts only where the tensor's spec says so. A tensor that never had a gradient has no state and does not move; once it had
// one, a missing gradient counts as zero and it keeps moving.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "edit/edit.h"
#include "train/config.h"

namespace graft {

class AdamW {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01;
  };

  AdamW(const std::vector<ParamSpec>& params, const Options& options);

  // One update of `tensors` from their .grad(), which it clears.
  void step(NamedTensors& tensors, double learning_rate);

  // State by name: "m/<param>", "v/<param>" and "t/<param>" (a scalar count).
  NamedTensors state() const;
  // Throws InputError for state that fits no param.
  void restore(const NamedTensors& state);

 private:
  struct Slot {
    ParamSpec spec;
    at::Tensor m, v, t;      // undefined until the first gradient
  };
  Options options_;
  std::vector<Slot> slots_;
};

// The 2-norm of all gradients together, in float64.
double gradient_norm(const NamedTensors& tensors);

// Scales all gradients so that their norm is at most `limit`: by limit / (norm + 1e-6) where that is below 1.
void clip_gradients(NamedTensors& tensors, double norm, double limit);

}  // namespace graft
