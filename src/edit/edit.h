// The contract of an edit: a learned change at sites of a frozen trunk.
//
// An edit is options, named tensors and pure functions over them. It never owns the forward pass:
// at each of its sites it is shown x and y and answers with a Change. Combinators (a gate, a
// stochastic mixture, a router) are edits made of edits. doc/extending.md lists what a new method
// touches. Thread-safe: all methods are const and hold no state.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/document.h"
#include "base/random.h"
#include "edit/params.h"
#include "edit/positions.h"
#include "edit/target.h"
#include "edit/traits.h"
#include "model/cache.h"
#include "model/hooks.h"
#include "model/sites.h"
#include "model/weights.h"

namespace graft {

// kTrained: moved by a run. The others stand still: kBuffer is stored with the adapter, kDrawn is
// in no file, since its initial value is a pure function of the adapter's definition (of a seed
// that stands there, and not of the run's) and is made anew when the adapter is loaded.
enum class Role { kTrained, kBuffer, kDrawn };

// What a tensor is for, in counts and in the estimate of memory.
enum class ParamUse { kOther, kExpert, kRouter, kGate, kHead };

// What a tensor does to y where a combinator must know it: a mixture of scales is one of whole
// results, not of changes.
enum class Effect { kAny, kScalesY };

// What a tensor costs at its site, for one row.
struct Cost {
  double flops = 0;          // of the products that it is in, forward
  double kept = 0;           // numbers that stay for the backward pass
  bool keeps_input = false;  // and what the site reads, once for all who read it
};

struct ParamSpec;
// How a tensor starts, float32. `key` is that of its name.
using Initial =
    std::function<at::Tensor(const ParamSpec& param, const Weights& weights, RandomKey key)>;

struct ParamSpec {
  // Within its edit: "enc.3.attn.q.lora_a".
  std::string name = {};
  std::vector<int64_t> shape = {};
  // The site it serves; none when several share it.
  std::optional<Place> site = {};
  // What tables call it where it serves no single site: "mlp.in".
  std::string label = {};
  // The trunk's tensor whose place it takes (`rewrite`).
  std::optional<TensorId> replaces = {};
  // Tensors of one site and bank are drawn together by a stochastic mixture: "down", "up", ... A
  // derived tensor may depend on one bank only.
  std::string bank = {};
  Role role = Role::kTrained;
  // Computes in float32 on a bfloat16 trunk: a scale of 1.003 would be 1 there.
  bool is_wide = false;
  // Under weight decay.
  bool decays = true;
  // Multiplies the learning rate.
  double rate_scale = 1.0;
  // Numbers left in its place by `flattened`; all of them where not given.
  std::optional<int64_t> kept = {};
  ParamUse use = ParamUse::kOther;
  Effect effect = Effect::kAny;
  // By its shape where not given (train/plan.cpp, train/footprint.cpp), as for the matrices of
  // LoRA.
  std::optional<Cost> cost = {};
  // Of a stochastic mixture: the expert that it belongs to.
  std::optional<int64_t> expert = {};
  // None where the edit's own `init` gives the values. Of kDrawn it ignores the key.
  Initial initial = {};

  // `key`: of the edit.
  at::Tensor initial_value(const Weights& weights, RandomKey key) const {
    return initial ? initial(*this, weights, key.with(name)) : at::Tensor();
  }
};

// What `derive` makes of a stochastic mixture: its experts as they are, for a route to choose from,
// or their mean.
enum class Experts { kApart, kMerged };

// Who shares the choice of a stochastic mixture: all rows of a lane, or those of a text, or none.
enum class RouteUnit { kPass, kText, kToken };

struct EditSpec {
  std::vector<ParamSpec> params;
  std::vector<Site> sites;  // where `change` or `prefix` is asked
  Traits traits;
  // Tokens that it takes for itself: no other edit may take them at that site.
  std::vector<TokenClaim> claims = {};
};

// The factor of a change: a number, times a column per output group and row where a gate or router
// gives one.
struct Weight {
  double scale = 1.0;
  at::Tensor rows = {};  // [T, G] float32, or undefined; G divides the output width (1, or heads).
                         // At `prefix`: [N, G]
};

// y' = mul * y + add + code basis^T, on `rows` only where given. Undefined parts are left out.
struct Change {
  at::Tensor mul = {};               // broadcasts to [T, out]
  at::Tensor add = {};               // broadcasts to [T, out]
  at::Tensor code = {}, basis = {};  // [T, R], [out, R]: the low-rank form, added without making a
                                     // [T, out] tensor of its own
  at::Tensor rows = {};              // [P] int64, distinct: the parts above then have P rows
};

// A gate that has another value than its own: those whose record, "0.gate/enc.3.attn.q", begins with
// `name`; "" is every gate.
struct ForcedGate {
  std::string name;
  double value = 0;
};

// The experts that a pass drew, by its route and the name of who drew ("0.stochastic/enc.3.attn.q
// down").
struct DrawnExpert {
  int64_t expert = 0, experts = 0;  // which, and of how many
};
using DrawnExperts = std::map<std::pair<uint64_t, std::string>, DrawnExpert>;

// What an edit may know of the pass it is in, beside its tensors.
struct Context {
  bool is_training = false;
  std::string_view path = {};    // of the edit in its adapter, "0.gate/", or below `outer`: goes
                                 // before the names of losses and records
  RandomKey key = {};            // (seed, step, micro-batch, pass, edit path, site): for dropout
  RandomKey site_free_key = {};  // the same without the site: for what several sites share
  RandomKey route =
      {};  // (seed, step, micro-batch, pass, edit path): for a stochastic choice; not of the site
  std::optional<RandomKey> first_route = {};  // of a second pass: the route of the first, which a
                                              // stochastic choice may have to differ from
  RouteUnit route_unit = RouteUnit::kPass;
  Experts experts = Experts::kMerged;        // as the derived tensors have them
  std::optional<int64_t> fixed_expert = {};  // every stochastic choice gives this expert
  bool draws_shares = false;  // a router takes one expert, drawn by its shares, not their mixture
  Memory* memory = nullptr;  // where a text is written token by token: what edits keep of its
                             // earlier rows; null elsewhere
  std::vector<std::pair<std::string, at::Tensor>>* losses =
      nullptr;  // weighted scalars made inside edits, to be added to the loss; null at evaluation
  std::vector<std::pair<std::string, at::Tensor>>* records =
      nullptr;  // [N] or [N, E] by sequence: gates, expert shares; null unless asked for
  bool records_tokens = false;   // records also hold what gates and routers make of each token
                                 // (record_tokens in edit/sequences.h)
  bool records_changes = false;  // and how large every edit's change is
  DrawnExperts* drawn = nullptr;  // where stochastic choices are noted; null unless asked for
  const std::vector<ForcedGate>* forced_gates = nullptr;
  const Context* outer = nullptr;  // of the combinator around the edit
  int64_t expert = 0;  // of several that are asked one after the other; each remembers for itself

  std::string full_path() const;  // "0.gate/of/"
};

// An edit by its definition, and its stored tensors.
struct Flattened {
  Node definition;
  TensorList tensors;  // in the order of the params of an edit so defined
};

class Edit {
 public:
  virtual ~Edit() = default;

  // Its tensors, sites and traits: declared by the constructor, fixed from then on.
  const EditSpec& spec() const { return spec_; }

  // Options with every default filled in: building from it gives an equal edit. One key, the kind:
  // {lora: {rank: 8, ...}}.
  virtual Node describe() const = 0;

  // Initial values of every param of `spec`, float32. `key` is the edit's own.
  virtual TensorList init(const Weights& weights, RandomKey key) const;

  // Tensors that `change` wants instead of the stored ones; computed once a step, differentiable.
  // By the same numbers as those of `spec`, with what only `derive` makes behind them. Default:
  // every tensor in the dtype that it computes in.
  virtual TensorList derive(const Params& stored, const Weights& weights, Experts experts) const;
  virtual size_t num_derived() const { return spec_.params.size() + num_made_; }

  // What the edit (and a gate or router around it) reads. Default: view.x.
  virtual at::Tensor input(const SiteView& view) const;

  // The factor when nobody else gives one: alpha/r for LoRA. A gate or router replaces it.
  // Default 1.
  virtual double scale(const Site& site) const;

  // `derived`: by the numbers that derive() gave. Called for sites in spec().sites that are not
  // attention sites.
  virtual Change change(const Params& derived, const SiteView& view, const at::Tensor& input,
                        const Weight& weight, Context& context) const;

  // E experts stacked along dimension 0 of every tensor, weight.rows [T, G*E] (expert fastest).
  // Default: the sum of `change` over the experts, one after the other; methods with a fused form
  // override it.
  virtual Change blend(const Params& stacked, int64_t experts, const SiteView& view,
                       const at::Tensor& input, const Weight& weight, Context& context) const;

  // Prefix rows at an attention site. Here weight.rows is [N, G], a row per sequence of the lane
  // and not per token: G = 1, or 2 for keys and values apart.
  virtual std::optional<LanePrefix> prefix(const Params& derived, const SiteView& view,
                                           const Weight& weight, Context& context) const;

  // Tensors of the trunk with the edit folded in. Asked in every step where traits.acts is
  // kReplacesWeights, else at merge.
  virtual TrunkTensors rewrite(const Params& derived, const Weights& weights) const;

  // The edit without what served its training only (the network behind a prefix), computing the
  // same; nothing where there is no such part. float32, detached or not as `stored` is.
  virtual std::optional<Flattened> flattened(const Params& stored) const;

  // The stored tensors of the edit that is left when the experts of every stochastic mixture are
  // averaged, in the order of the params of an edit so defined.
  virtual TensorList averaged(const Params& stored) const;

 protected:
  // For constructors. A tensor of one site, "<site>.<tensor>".
  ParamId declare(const Site& site, const std::string& tensor, ParamSpec param);
  // One that several sites share.
  ParamId declare(ParamSpec param);
  // One that `derive` makes and no file holds. Requires: those that are stored are declared.
  ParamId declare_derived();

  EditSpec spec_;

 private:
  size_t num_made_ = 0;
};

// For the table of methods: an edit that is built from options and target alone.
template <class T>
std::unique_ptr<Edit> make_of(Options& options, const EditTarget& target) {
  return std::make_unique<T>(options, target);
}

// y' of `change` for a y of [T, out].
at::Tensor apply_change(const at::Tensor& y, const Change& change);

}  // namespace graft
