// The plain form of every operation of src/tensor that has a kernel: the same equation in ATen,
// differentiated by autograd, on any device. It serves devices other than the CPU, and it is what
// the tests hold the kernels against. GRAFT_PLAIN=1 runs everything on these forms (dispatch.h).
//
// Equations, shapes and dtypes are those of the operation of the same name in graft::, whose header
// states them; dropout and the dithered rounding draw the same numbers. What a plain form does not
// promise:
//   bits    a row's last bits may depend on the rows beside it and on the number of threads
//   checks  the operation has made them; a wrong call gets ATen's message
//   memory  attention pads all sequences to the longest and holds the probabilities;
//           vocabulary_loss holds the logits
// Inside they compute in float32 (float64 for float64), as the kernels do, and round once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/fused.h"
#include "tensor/linear.h"
#include "tensor/packed_attention.h"
#include "tensor/pooled_gate.h"
#include "tensor/rotary.h"
#include "tensor/rows.h"
#include "tensor/scaled.h"
#include "tensor/vocabulary_loss.h"

namespace graft::plain {

// fused.h
at::Tensor dropout(const at::Tensor& x, const RowDropout& options);
at::Tensor norm_of_sum(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                       const at::Tensor& bias, double epsilon, const RowDropout& dropout = {});
Normed sum_and_norm(const at::Tensor& x, const at::Tensor& y, Norm kind, const at::Tensor& weight,
                    const at::Tensor& bias, double epsilon, const RowDropout& dropout = {});
at::Tensor activate(const at::Tensor& x, Activation activation);
at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation);

// scaled.h
at::Tensor scale_and_shift(const at::Tensor& y, const at::Tensor& mul, const at::Tensor& add);

// rotary.h
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, int64_t num_heads);

// linear.h; also the form of FrozenLinear and JoinedLinears.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
at::Tensor add_low_rank(const at::Tensor& y, const at::Tensor& code, const at::Tensor& basis);

// pooled_gate.h
PooledGate pooled_gate(const at::Tensor& z, const at::Tensor& weight, const at::Tensor& bias,
                       std::shared_ptr<const RowGroups> groups);

// vocabulary_loss.h
VocabularyLoss vocabulary_loss(const at::Tensor& hidden, const OutputLayer& layer,
                               const std::vector<int64_t>& targets,
                               const VocabularyLossOptions& options = {});

// packed_attention.h
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::shared_ptr<const Spans> spans, const AttentionOptions& options,
                            const std::vector<LanePrefix>& prefixes = {});

}  // namespace graft::plain
