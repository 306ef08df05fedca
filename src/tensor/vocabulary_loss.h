// Losses of a vocabulary's output layer that never hold its logits: [R, V] is the largest matrix of
// a language model by far. Rows go through layer and loss in chunks; a chunk's gradients are taken
// at once, in the forward pass, and only those of the hidden states (and of a trained weight and
// bias) are kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tensor/linear.h"

namespace graft {

constexpr int64_t kChunkBytes = int64_t{32} << 20;  // of the logits of a chunk, all passes together

// logits = (scale * hidden) weight^T + bias.
struct OutputLayer {
  at::Tensor weight, bias;  // [V, C] of the hidden states' dtype; [V] or undefined
  double scale = 1.0;
  std::optional<FrozenLinear> frozen;  // the packed layer, which then stands for weight and bias
};

// The logits of few rows, [R, V] float32 (float64 for float64), contiguous: where they are wanted
// themselves. Nothing is differentiated.
at::Tensor whole_logits(const at::Tensor& hidden, const OutputLayer& layer);

struct VocabularyLossOptions {
  double label_smoothing = 0;  // e: (1-e) (-log p_y) + e (-mean_v log p_v), v over the vocabulary
  double z_loss = 0;           // times log^2 of the softmax's denominator
};

struct VocabularyLoss {
  at::Tensor sum;   // scalar: the sum of the rows' losses, differentiable
  at::Tensor rows;  // [R], without a graph
};

// Cross entropy of softmax(logits) with one target a row. hidden: [R, C]; targets: R indices below
// V; losses are float32 (float64 for float64). Gradients for hidden, weight and bias where they
// require one; none is computed when no graph is recorded.
VocabularyLoss vocabulary_loss(const at::Tensor& hidden, const OutputLayer& layer,
                               const std::vector<int64_t>& targets,
                               const VocabularyLossOptions& options = {});

// From the logits [r, V] of the same rows of every pass, first_row the first of them in the whole,
// to a scalar that is differentiable in them. Logits are float32 (float64 for float64).
using ChunkLoss =
    std::function<at::Tensor(const std::vector<at::Tensor>& logits, int64_t first_row)>;

// The sum of `loss` over chunks of rows: any loss that is a sum over rows. hiddens: [R, C] each,
// one or several passes over the same rows. Gradients as above.
at::Tensor chunked_loss(const std::vector<at::Tensor>& hiddens, const OutputLayer& layer,
                        const ChunkLoss& loss);

}  // namespace graft
