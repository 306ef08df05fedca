// What the gate of one edit and the central gate over several share:
// how rows become one number a sequence, and the factor they replace.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edit/combinator.h"
#include "edit/sequences.h"
#include "edit/target.h"

namespace graft {

// How the numbers of a sequence's rows become the gate's value.
class GatePooling {
 public:
  enum class Kind { kMean, kMeanAll, kCausalMean, kPromptMean };

  struct Choice {
    bool is_central = false;        // of a gate that has one value a sequence always
    int64_t longest = 1 << 16;      // rows that the model has positions for
    std::optional<Kind> kind = {};  // unset: auto
    int64_t padded_to = 128;        // of kMeanAll

    void visit(OptionVisitor& v);
  };

  // The defaults of `target`.
  static Choice defaults(const EditTarget& target, bool is_central);

  // By auto a site of a decoder's rows gets `of_decoder`, all others the mean; what would show a
  // token those that it is to predict is refused. Faults are noted in `options`.
  GatePooling(Options& options, const Choice& choice, const EditTarget& target,
              const std::vector<Site>& sites, Kind of_decoder);
  // Of a gate that reads no row.
  GatePooling() = default;

  Kind at(const Site& site) const { return kinds_.at(site.index); }
  bool has(Kind kind) const;
  RowsCounted counted(const Site& site) const;  // not for kCausalMean
  int64_t padded_length() const { return padded_length_; }
  // What the gate's value depends on, in the last stack.
  Reads reads() const { return reads_; }
  // With the kind that all sites have, where they have one.
  Choice described() const;

 private:
  Choice choice_;
  std::map<int64_t, Kind> kinds_;  // by the site's index
  int64_t padded_length_ = 0;  // of kMeanAll: shorter sequences get pad rows, which count; 0 = none
  Reads reads_ = Reads::kRow;
};

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

// The record of a gate's values [N, G], where records are wanted.
SideOutputs gate_record(const Context& context, const Site& site, const at::Tensor& by_sequence);

// The value that the gate at a site is forced to have; of several the last.
std::optional<double> forced_gate(const Context& context, const Site& site);

// One softmax per layer over several edits (src/edit/central_gate.cpp).
std::unique_ptr<Edit> make_central_gate(Options& options, const EditTarget& target,
                                        std::vector<Child> children);

}  // namespace graft
