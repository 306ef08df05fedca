// The two passes of packed attention, below autograd. Internal to src/tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "tensor/attention_plan.h"

namespace graft {

// q, k, v with dense columns; a distance bias or none; one entry per lane of the plan.
struct AttentionInputs {
  at::Tensor q, k, v, distance_bias;
  std::vector<LanePrefix> lanes;
};

// Returns [T, H*D]. log_sums: [H, T] in the accumulator's type, takes the logarithm of every
// softmax denominator for the backward pass; undefined where there will be none.
at::Tensor attention_forward(const AttentionPlan& plan, const AttentionInputs& inputs,
                             const at::Tensor& log_sums);

struct AttentionWants {
  bool q, k, v, distance_bias;
  std::vector<bool> prefix_keys, prefix_values,
      prefix_bias;  // per lane: anything that needs the gradient of K' (V', the logits)
};

// Gradients in the accumulator's type while they are summed. Of a lane: [sequences, P, K, wide]
// twice and [sequences, K].
struct LaneSums {
  at::Tensor keys, values, bias;
};

struct AttentionGradients {
  at::Tensor q, k, v, distance_bias;
  std::vector<LaneSums> lanes;
};

// grad: [T, H*D], contiguous.
AttentionGradients attention_backward(const AttentionPlan& plan, const AttentionInputs& inputs,
                                      const at::Tensor& grad, const at::Tensor& log_sums,
                                      const AttentionWants& wants);

}  // namespace graft
