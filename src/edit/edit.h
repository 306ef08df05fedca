// The contract of an edit: a learned change at sites of a frozen trunk.
//
// An edit consists of options, named tensors and pure functions over them. It never owns the
// forward pass: at each of its sites it is shown x and y, and answers with a Change. Combinators (a
// gate, a stochastic mixture, a router) are edits made of edits. doc/extending.md lists what a new
// method touches. Thread-safe: all methods are const, and an edit holds no state.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
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

// kTrained: a run changes the tensor. The others are constant. kBuffer is stored with the adapter.
// kDrawn is in no file: it is made again when the adapter is loaded, since its value is a pure
// function of the adapter's definition (of a seed given there, not of the run's seed).
enum class Role { kTrained, kBuffer, kDrawn };

// The purpose of a tensor, for counts and for the estimate of memory.
enum class ParamUse { kOther, kExpert, kRouter, kGate, kHead };

// How a tensor acts on y, as far as combinators must know it: a mixture of scales mixes whole
// results, not changes.
enum class Effect { kAny, kScalesY };

// What a tensor costs at its site, for one row.
struct Cost {
  double flops = 0;          // operations of its products in the forward pass
  double kept = 0;           // numbers that are kept for the backward pass
  bool keeps_input = false;  // the site's input is kept as well, once for all tensors that read it
};

struct ParamSpec;
// The initial value of a tensor, float32. `key` is that of its name.
using Initial =
    std::function<at::Tensor(const ParamSpec& param, const Weights& weights, RandomKey key)>;

struct ParamSpec {
  // Within its edit: "enc.3.attn.q.lora_a".
  std::string name = {};
  std::vector<int64_t> shape = {};
  // The site that it serves; none if several sites share it.
  std::optional<Place> site = {};
  // Its name in tables if it serves no single site: "mlp.in".
  std::string label = {};
  // The tensor of the trunk that it replaces (`rewrite`).
  std::optional<TensorId> replaces = {};
  // Tensors of one site and bank are drawn together by a stochastic mixture: "down", "up", ... A
  // derived tensor may depend on one bank only.
  std::string bank = {};
  Role role = Role::kTrained;
  // It computes in float32 even on a bfloat16 trunk, where a scale of 1.003 would be 1.
  bool is_wide = false;
  // Weight decay acts on it.
  bool decays = true;
  // Multiplies the learning rate.
  double rate_scale = 1.0;
  // How many numbers `flattened` leaves of it; all of them if not given.
  std::optional<int64_t> kept = {};
  ParamUse use = ParamUse::kOther;
  Effect effect = Effect::kAny;
  // If not given, it follows from the shape as for the matrices of LoRA (train/plan.cpp,
  // train/footprint.cpp).
  std::optional<Cost> cost = {};
  // In a stochastic mixture: the expert that it belongs to.
  std::optional<int64_t> expert = {};
  // Empty if the edit's own `init` gives the values. For kDrawn it ignores the key.
  Initial initial = {};

  // `key`: that of the edit.
  at::Tensor initial_value(const Weights& weights, RandomKey key) const {
    return initial ? initial(*this, weights, key.with(name)) : at::Tensor();
  }
};

// What `derive` makes of a stochastic mixture: all experts, among which a route chooses, or their
// mean.
enum class Experts { kApart, kMerged };

// Which rows share the choice of a stochastic mixture: all of a lane, all of a text, or none.
enum class RouteUnit { kPass, kText, kToken };

struct EditSpec {
  std::vector<ParamSpec> params;
  std::vector<Site> sites;  // where `change` or `prefix` is called
  Traits traits;
  // Tokens that it claims for itself: no other edit may claim them at the same site.
  std::vector<TokenClaim> claims = {};
};

// The factor of a change: a number, times a weight for each row and group of outputs if a gate or
// router gives one.
struct Weight {
  double scale = 1.0;
  // [T, G] float32, or undefined; G divides the output width (1, or the heads). In `prefix`: [N,
  // G].
  at::Tensor rows = {};
};

// y' = mul * y + add + code basis^T, on `rows` alone if they are given. Undefined parts are left
// out.
struct Change {
  at::Tensor mul = {};  // broadcasts to [T, out]
  at::Tensor add = {};  // broadcasts to [T, out]
  // [T, R], [out, R]: the low-rank form. It is added to y without another tensor of [T, out].
  at::Tensor code = {}, basis = {};
  // [P] int64, distinct. If given, the parts above have P rows.
  at::Tensor rows = {};
  // Losses, already weighted, and records. Their names begin with that of the site. Empty for most
  // methods.
  SideOutputs side = {};
};

// Rows before keys and values.
struct PrefixRows {
  LanePrefix rows;
  SideOutputs side = {};  // as in a change
};

// A value that gates have instead of their own: those whose names in records,
// "0.gate/enc.3.attn.q.gate", begin with `name`; "" is every gate.
struct ForcedGate {
  std::string name;
  double value = 0;
};
using ForcedGates = std::shared_ptr<const std::vector<ForcedGate>>;

// The same as an edit at `path` sees them: their names begin behind it. Null where none is left.
ForcedGates below(const ForcedGates& gates, std::string_view path);

// What an edit may know of the pass, beside its tensors.
struct Context {
  bool is_training = false;    // losses are wanted
  bool keeps_records = false;  // records are wanted
  // (seed, step, micro-batch, pass, edit path, site): for dropout.
  RandomKey key = {};
  // The same without the site: for what several sites share.
  RandomKey site_free_key = {};
  // (seed, step, micro-batch, pass, edit path): for a stochastic choice, which is not of the site.
  RandomKey route = {};
  // In a second pass over the same rows: the route of the first pass. A stochastic choice may have
  // to differ from it.
  std::optional<RandomKey> first_route = {};
  RouteUnit route_unit = RouteUnit::kPass;
  Experts experts = Experts::kMerged;  // as in the derived tensors
  // Every stochastic choice takes this expert.
  std::optional<int64_t> fixed_expert = {};
  // A router takes one expert, drawn by its shares, not their mixture.
  bool draws_shares = false;
  // With keeps_records: records also hold what gates and routers make of each token, and how large
  // the change of every edit is.
  bool records_tokens = false, records_changes = false;
  bool keeps_drawn = false;  // the experts that are drawn are wanted
  ForcedGates forced_gates = {};
  // Where a text is written token by token: what edits remember of its earlier rows. Else null.
  Memory* memory = nullptr;
  // Which of several experts is asked, if they are asked one after the other: each has a memory of
  // its own.
  int64_t expert = 0;
};

// The definition of an edit and its stored tensors.
struct Flattened {
  Node definition;
  TensorList tensors;  // in the order of the params of an edit with that definition
};

class Edit {
 public:
  virtual ~Edit() = default;

  // Its tensors, sites and traits. The constructor declares them; they never change afterwards.
  const EditSpec& spec() const { return spec_; }

  // The name of its method (src/edit/registry.h): "lora".
  virtual std::string method() const = 0;
  // The same, and those of the edits inside.
  virtual std::vector<std::string> methods() const { return {method()}; }
  // Its options with every default filled in.
  virtual Node describe_options() const = 0;
  // Its entry in `edits:`, {lora: {rank: 8, ...}}; an edit built from it is equal.
  virtual Node describe() const { return Node::map({{method(), describe_options()}}); }

  // Initial values of all params of `spec`, float32. `key` is that of the edit.
  virtual TensorList init(const Weights& weights, RandomKey key) const;

  // The tensors that `change` reads instead of the stored ones. Computed once a step,
  // differentiable. They have the numbers of the params of `spec`; tensors that only `derive` makes
  // follow them. Default: every stored tensor in the dtype in which it computes.
  virtual TensorList derive(const Params& stored, const Weights& weights, Experts experts) const;
  virtual size_t num_derived() const { return spec_.params.size() + num_made_; }

  // What the edit reads, and a gate or router around it. Default: view.x.
  virtual at::Tensor input(const SiteView& view) const;

  // The factor of its change unless a gate or router gives another: alpha/r for LoRA. Default: 1.
  virtual double scale(const Site& site) const;

  // The change of y at a site. `derived`: what derive() made. Called for the sites of `spec` that
  // are not attention sites.
  virtual Change change(const Params& derived, const SiteView& view, const at::Tensor& input,
                        const Weight& weight, const Context& context) const;

  // The weighted sum of the changes of E experts, which are stacked along dimension 0 of every
  // tensor. weight.rows: [T, G*E], expert fastest. Default: one expert after the other; methods
  // with a fused form override it.
  virtual Change blend(const Params& stacked, int64_t experts, const SiteView& view,
                       const at::Tensor& input, const Weight& weight, const Context& context) const;

  // Whether `blend` gives the weighted sum of whole results, sum_e w_e y_e, and not y with the
  // weighted sum of the changes.
  virtual bool blends_results() const { return false; }

  // Prefix rows at an attention site. Here weight.rows is [N, G], with a row for each sequence of
  // the lane, not for each token: G = 1, or G = 2 for keys and values apart.
  virtual std::optional<PrefixRows> prefix(const Params& derived, const SiteView& view,
                                           const Weight& weight, const Context& context) const;

  // Tensors of the trunk with the edit folded in: what it does to outputs of layers. Called in
  // every step if traits.acts is kReplacesWeights, else only when the adapter is merged.
  virtual TrunkTensors rewrite(const Params& derived, const Weights& weights) const;
  // The same for what it does to activations, folded into the layers that read them.
  virtual TrunkTensors rewrite_readers(const Params& derived, const Weights& weights) const;

  // An edit that computes the same without the parts that serve training alone (the network behind
  // a prefix); nothing if there is no such part. float32, detached or not as `stored` is.
  virtual std::optional<Flattened> flattened(const Params& stored) const;

  // The stored tensors of the edit in which the experts of every stochastic mixture are averaged,
  // in the order of its params.
  virtual TensorList averaged(const Params& stored) const;

  // What the gates in it are called in records, its own first: "enc.3.attn.q.gate". Default: none.
  virtual std::vector<std::string> gates() const { return {}; }

 protected:
  // For constructors. Declares a tensor of one site, "<site>.<tensor>".
  ParamId declare(const Site& site, const std::string& tensor, ParamSpec param);
  // Declares a tensor that several sites share.
  ParamId declare(ParamSpec param);
  // Declares a tensor that `derive` makes and no file holds. Requires: all stored tensors are
  // declared.
  ParamId declare_derived();

  // What `init`, `derive` and `averaged` do by default, for the first `count` params of `spec`.
  TensorList init_first(size_t count, const Weights& weights, RandomKey key) const;
  TensorList derive_first(size_t count, const Params& stored, const Weights& weights) const;
  static TensorList first_of(const Params& stored, size_t count);

  EditSpec spec_;

 private:
  size_t num_made_ = 0;
};

using EditList = std::vector<std::unique_ptr<Edit>>;

// For the table of methods: makes an edit that needs options and target alone.
template <class T>
std::unique_ptr<Edit> make_of(Options& options, const EditTarget& target) {
  return std::make_unique<T>(options, target);
}

// y' for a y of [T, out].
at::Tensor apply_change(const at::Tensor& y, const Change& change);

}  // namespace graft
