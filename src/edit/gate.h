// What the gate of one edit and the central gate over several share: how rows become one number a sequence, and the factor they replace.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edit/registry.h"

namespace graft {

// How the numbers of a sequence's rows become the gate's value.
struct GatePooling {
  enum class Kind { kMean, kMeanAll, kCausalMean };
  Kind kind = Kind::kMean;
  int64_t padded_length = 0;   // of kMeanAll: shorter sequences get pad rows, which count; 0 = none

  bool is_causal() const { return kind == Kind::kCausalMean; }
  // [T, K] of the view's rows -> [N, K]; of a running mean its last value, the mean over all tokens.
  at::Tensor by_sequence(const SiteView& view, const at::Tensor& values) const;
  void describe(Node& options) const;
};

// Options `pool` (one of `kinds`) and, where padding counts, `padded_to`. Faults are noted in `options`.
GatePooling read_gate_pooling(Options& options, const EditTarget& target, const std::vector<std::string>& kinds);

// Weights N(0, 0.02^2) of shape [outputs, width] and zero biases, under "<place>.gate.weight" and "<place>.gate.bias".
void add_gate_params(const std::string& place, const std::string& site, int64_t outputs, int64_t width, std::vector<ParamSpec>& params);
NamedTensors initial_gate_tensors(const std::vector<ParamSpec>& own, RandomKey key);
// The same in float32 (float64 on a float64 trunk), whatever the trunk computes in.
NamedTensors derived_gate_tensors(const std::vector<ParamSpec>& own, const Params& stored, const Weights& weights);
// z w^T + b, [T, outputs], in the dtype of the gate's tensors.
at::Tensor gate_logits(const Params& derived, const std::string& place, const at::Tensor& z);

// "enc.3.attn" for the site enc.3.attn.q.
std::string attention_of(const Site& site);
// What enters the site is the block's input: attn.q, attn.k, attn.v, and the rows before the keys at attn.
bool reads_block_input(const Site& site);

// weight.rows * rows, where there were any.
Weight times_rows(const Weight& weight, const at::Tensor& rows);

void record_gate(Context& context, const std::string& place, const at::Tensor& by_sequence);

// One softmax per layer over several edits (src/edit/central_gate.cpp).
std::unique_ptr<Edit> make_central_gate(Options& options, const EditTarget& target, std::vector<Child> children);

}  // namespace graft
