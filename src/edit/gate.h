// What the gate of one edit and the central gate over several share, beside how rows become one
// number a sequence (edit/gate_pooling.h).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edit/combinator.h"
#include "edit/target.h"

namespace graft {

enum class Multiplier { kGateAlone, kGateTimesScale };
inline constexpr Name<Multiplier> kMultipliers[] = {
    {Multiplier::kGateAlone, "gate"}, {Multiplier::kGateTimesScale, "gate_times_scale"}};

// Shared by both kinds of gate.
void visit_multiplier(OptionVisitor& v, Multiplier& multiplier);

// [N, K]: what `memory` holds under `key`, else values(), which it then holds. For texts that are
// written token by token; `memory` may be null.
at::Tensor cached(Memory* memory, const MemoryKey& key, const std::function<at::Tensor()>& values);

// The tensors of a gate, weight [outputs, width] and bias [outputs], wide.
struct GateParams {
  ParamId weight, bias;
};

// Their declarations, "<place>.gate.weight" and "<place>.gate.bias": weights N(0, 0.02^2), zero
// biases. `site`: the place, or nothing if several sites share the gate.
std::array<ParamSpec, 2> gate_params(const Place& place, std::optional<Place> site, int64_t outputs,
                                     int64_t width);
// z w^T + b, [T, outputs], in the dtype of the gate's tensors.
at::Tensor gate_logits(const Params& derived, const GateParams& gate, const at::Tensor& z);

// enc.3.attn for the site enc.3.attn.q, dec.3.cross for dec.3.cross.q.
Place attention_of(const Site& site);
// Whether the site reads what the queries of its attention are made of. That holds for attn.q,
// attn.k, attn.v and the prefix rows at attn, and for cross.q and the prefix rows at cross.
// (cross.k and cross.v are made of the encoder's rows.)
bool reads_attention_input(const Site& site);

// The weight with weight.rows * rows, or with `rows` if it had none.
Weight times_rows(const Weight& weight, const at::Tensor& rows);

// What a gate is called in records: "enc.3.attn.q.gate".
std::string gate_name(const Site& site);

// Those of a gate at each site that its edit has, then those of gates inside the edit.
std::vector<std::string> gates_before(const EditSpec& own, const std::vector<std::string>& inside);

// The record of a gate's values [N, G], where records are wanted.
SideOutputs gate_record(const Context& context, const Site& site, const at::Tensor& by_sequence);

// The value that the gate at a site is forced to have; of several the last.
std::optional<double> forced_gate(const Context& context, const Site& site);

// One softmax per layer over several edits (src/edit/central_gate.cpp).
std::unique_ptr<Edit> make_central_gate(Options& options, const EditTarget& target,
                                        EditList children);

}  // namespace graft
