// The contract of an edit: a learned change at sites of a frozen trunk.
//
// An edit is options, named tensors and pure functions over them. It never owns the forward pass: at each of its sites it is
// shown x and y and answers with a Change. Combinators (a gate, a stochastic mixture, a router) are edits made of edits.
// doc/extending.md lists what a new method touches. Thread-safe: all methods are const and hold no state.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/document.h"
#include "base/random.h"
#include "edit/target.h"
#include "edit/traits.h"
#include "model/hooks.h"
#include "model/sites.h"
#include "model/weights.h"
#include "tensor/named_tensors.h"

namespace graft {

enum class Role { kTrained, kBuffer };

// What a tensor is for, in counts and in the estimate of memory.
enum class ParamUse { kOther, kExpert, kRouter, kGate, kHead };

// What a tensor does to y where a combinator must know it: a mixture of scales is one of whole results, not of changes.
enum class Effect { kAny, kScalesY };

struct ParamSpec {
  // Within its edit: "enc.3.attn.q.lora_a".
  std::string name;
  std::vector<int64_t> shape;
  // The site it serves; none when several share it.
  std::optional<Place> site = {};
  // What tables call it where it serves no single site: "mlp.in".
  std::string label = {};
  // The trunk's tensor whose place it takes (`rewrite`).
  std::optional<TensorId> replaces = {};
  // Tensors of one site and bank are drawn together by a stochastic mixture: "down", "up", ... A derived tensor may depend on one
  // bank only.
  std::string bank = {};
  Role role = Role::kTrained;
  // Under weight decay.
  bool decays = true;
  // Multiplies the learning rate.
  double rate_scale = 1.0;
  // Numbers left in its place by `flattened`; all of them where not given.
  std::optional<int64_t> kept = {};
  ParamUse use = ParamUse::kOther;
  Effect effect = Effect::kAny;
  // Of a stochastic mixture: the expert that it belongs to.
  std::optional<int64_t> expert = {};
};

// What `derive` makes of a stochastic mixture: its experts as they are, for a route to choose from, or their mean.
enum class Experts { kApart, kMerged };

struct EditSpec {
  std::vector<ParamSpec> params;
  std::vector<Site> sites;  // where `change` or `prefix` is asked
  Traits traits;
};

// The tensors of one edit, addressed by ParamSpec::name. A view: the map must outlive it.
class Params {
 public:
  using Place = std::function<std::string(const std::string& name)>;

  Params(const NamedTensors& tensors, std::string path) : tensors_(&tensors), path_(std::move(path)) {}
  const at::Tensor& at(const std::string& name) const;
  bool has(const std::string& name) const { return tensors_->contains(key_of(name)); }
  Params below(const std::string& step) const;    // of a part of a combinator
  bool has_below(const std::string& step) const;  // whether that part has any tensor. Requires: not `through` a place
  // The same tensors under other names: `name` is looked up as place(name). So the members that a route draws from their banks
  // look like the params of one edit.
  Params through(Place place) const;
  const std::string& path() const { return path_; }

 private:
  std::string key_of(const std::string& name) const { return place_ ? path_ + (*place_)(inner_ + name) : path_ + name; }

  const NamedTensors* tensors_;
  std::string path_;  // "0.lora/"
  std::shared_ptr<const Place> place_;
  std::string inner_;  // with a place: steps taken since
};

// The factor of a change: a number, times a column per output group and row where a gate or router gives one.
struct Weight {
  double scale = 1.0;
  at::Tensor rows = {};  // [T, G] float32, or undefined; G divides the output width (1, or heads). At `prefix`: [N, G]
};

// y' = mul * y + add + code basis^T, on `rows` only where given. Undefined parts are left out.
struct Change {
  at::Tensor mul = {};               // broadcasts to [T, out]
  at::Tensor add = {};               // broadcasts to [T, out]
  at::Tensor code = {}, basis = {};  // [T, R], [out, R]: the low-rank form, added without making a [T, out] tensor of its own
  at::Tensor rows = {};              // [P] int64, distinct: the parts above then have P rows
};

// What an edit may know of the pass it is in, beside its tensors.
struct Context {
  bool is_training = false;
  std::string path = {};  // of the edit in its adapter, "0.gate/": goes before the names of losses and records
  RandomKey key = {};     // (seed, step, micro-batch, pass, edit path, site): for dropout
  RandomKey route = {};   // (seed, step, micro-batch, pass, edit path): for a stochastic choice; not of the site
  std::optional<int64_t> fixed_expert = {};  // every stochastic choice gives this expert
  NamedTensors* memory =
      nullptr;  // where a text is written token by token: what edits keep of its earlier rows, [N, ...] each; null elsewhere
  std::vector<std::pair<std::string, at::Tensor>>* losses =
      nullptr;  // weighted scalars made inside edits, to be added to the loss; null at evaluation
  std::vector<std::pair<std::string, at::Tensor>>* records =
      nullptr;  // [N] or [N, E] by sequence: gates, expert shares; null unless asked for
};

// An edit by its definition, and its stored tensors.
struct Flattened {
  Node definition;
  NamedTensors tensors;
};

class Edit {
 public:
  virtual ~Edit() = default;

  // Its tensors, sites and traits: declared by the constructor, fixed from then on.
  const EditSpec& spec() const { return spec_; }

  // Options with every default filled in: building from it gives an equal edit. One key, the kind: {lora: {rank: 8, ...}}.
  virtual Node describe() const = 0;

  // Initial values of every param of `spec`, float32.
  virtual NamedTensors init(const Weights& weights, RandomKey key) const = 0;

  // Tensors that `change` wants instead of the stored ones; computed once a step, differentiable. Names as in `spec`, or new
  // ones. Default: every tensor in the trunk's dtype.
  virtual NamedTensors derive(const Params& stored, const Weights& weights, Experts experts) const;

  // What the edit (and a gate or router around it) reads. Default: view.x.
  virtual at::Tensor input(const SiteView& view) const;

  // The factor when nobody else gives one: alpha/r for LoRA. A gate or router replaces it. Default 1.
  virtual double scale(const Site& site) const;

  // `derived`: by the names that derive() gave. Called for sites in spec().sites that are not attention sites.
  virtual Change change(const Params& derived, const SiteView& view, const at::Tensor& input, const Weight& weight,
                        Context& context) const;

  // E experts stacked along dimension 0 of every tensor, weight.rows [T, G*E] (expert fastest). Default: the sum of `change` over
  // the experts, one after the other; methods with a fused form override it.
  virtual Change blend(const Params& stacked, int64_t experts, const SiteView& view, const at::Tensor& input,
                       const Weight& weight, Context& context) const;

  // Prefix rows at an attention site. Here weight.rows is [N, G], a row per sequence of the lane and not per token: G = 1, or 2
  // for keys and values apart.
  virtual std::optional<LanePrefix> prefix(const Params& derived, const SiteView& view, const Weight& weight,
                                           Context& context) const;

  // Tensors of the trunk with the edit folded in. Asked in every step where traits.acts is kReplacesWeights, else at merge.
  virtual TrunkTensors rewrite(const Params& derived, const Weights& weights) const;

  // The edit without what served its training only (the network behind a prefix), computing the same; nothing where there is no
  // such part. float32, detached or not as `stored` is.
  virtual std::optional<Flattened> flattened(const Params& stored) const;

 protected:
  void declare(EditSpec spec) { spec_ = std::move(spec); }

 private:
  EditSpec spec_;
};

// For the table of methods: an edit that is built from options and target alone.
template <class T>
std::unique_ptr<Edit> make_of(Options& options, const EditTarget& target) {
  return std::make_unique<T>(options, target);
}

// y' of `change` for a y of [T, out].
at::Tensor apply_change(const at::Tensor& y, const Change& change);

}  // namespace graft
