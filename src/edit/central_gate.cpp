// The central gate: one softmax per layer shares a weight of one among several edits.
//
// An option of UniPELT's released code (Mao et al. 2022, arXiv:2110.07577) without published results. For a layer whose input has
// rows x_t,
//   c = softmax_k( mean_t relu(x_t W^T + b)_k )                    W = gate.weight [E, C], b = gate.bias [E]; one pair a layer
// and c_k takes the place of the own factor of edit k at all of its sites in that layer. Each edit must read the layer's input.
// In a decoder the mean is over the prompt (edit/gate.cpp, prompt_mean).
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>

#include <map>
#include <set>

#include "base/error.h"
#include "edit/gate.h"
#include "edit/sequences.h"

namespace graft {

namespace {

using at::Tensor;

std::string step_of(size_t child) { return "of." + std::to_string(child); }

class CentralGate final : public Edit {
 public:
  CentralGate(Options& options, const EditTarget& target, std::vector<Child> children)
      : keeps_scale_(options.choice("multiplier", "gate", {"gate", "gate_times_scale"}) == "gate_times_scale"),
        children_(std::move(children)) {
    if (children_.size() < 2) options.fault("", "a central gate shares weights among two edits or more");
    bool all_identities = true;
    for (size_t k = 0; k < children_.size(); ++k) {
      inner_.push_back(children_[k].edit->spec());
      all_identities = all_identities && inner_[k].traits.identity_at_init;
      for (const Site& site : inner_[k].sites) add_site(options, site, k);
    }
    std::vector<Site> sites;
    for (const auto& [index, site] : sites_) sites.push_back(site);
    pooling_ = GatePooling(options, target, sites, {"mean", "mean_all", "prompt_mean"}, GatePooling::Kind::kPromptMean);
    for (const auto& [index, site] : sites_) {
      const std::string place = attention_of(site);
      if (!own_.empty() && own_.back().name == place + ".gate.bias") continue;
      add_gate_params(place, "", static_cast<int64_t>(children_.size()), target.config.width, own_);
    }
    for (ParamSpec& param : own_) param.starts_without_gradient = all_identities;
  }

  EditSpec spec() const override {
    EditSpec spec;
    spec.params = own_;
    spec.traits.identity_at_init = spec.traits.prompt_only = true;
    for (size_t k = 0; k < children_.size(); ++k) {
      for (ParamSpec& param : params_below(step_of(k), inner_[k].params)) spec.params.push_back(std::move(param));
      const Traits& traits = inner_[k].traits;
      spec.traits.identity_at_init = spec.traits.identity_at_init && traits.identity_at_init;
      spec.traits.is_causal = spec.traits.is_causal && traits.is_causal;
      spec.traits.reads_prompt = spec.traits.reads_prompt || traits.reads_prompt;
      spec.traits.is_stochastic = spec.traits.is_stochastic || traits.is_stochastic;
      spec.traits.prompt_only = spec.traits.prompt_only && traits.prompt_only;
    }
    spec.traits.pools_sequence = true;
    spec.traits.is_causal = spec.traits.is_causal && pooling_.is_causal();
    spec.traits.reads_prompt = spec.traits.reads_prompt || pooling_.has(GatePooling::Kind::kPromptMean);
    spec.traits.layout.padded_length = pooling_.padded_length();
    for (const auto& [index, site] : sites_) spec.sites.push_back(site);
    return spec;
  }

  Node describe() const override {
    Node options = Node::map({{"kind", Node::text("central")}});
    pooling_.describe(options);
    options["multiplier"] = Node::text(keeps_scale_ ? "gate_times_scale" : "gate");
    std::vector<Node> of;
    for (const Child& child : children_) of.push_back(child.edit->describe());
    return Node::map({{"gate", std::move(options)}, {"of", Node::list(std::move(of))}});
  }

  NamedTensors init(const Weights& weights, RandomKey key) const override {
    NamedTensors out = initial_gate_tensors(own_, key);
    for (size_t k = 0; k < children_.size(); ++k)
      out.merge(tensors_below(step_of(k), children_[k].edit->init(weights, key.with(step_of(k)))));
    return out;
  }

  NamedTensors derive(const Params& stored, const Weights& weights, Experts experts) const override {
    NamedTensors out = derived_gate_tensors(own_, stored, weights);
    for (size_t k = 0; k < children_.size(); ++k) {
      out.merge(tensors_below(step_of(k), children_[k].edit->derive(stored.below(step_of(k)), weights, experts)));
    }
    return out;
  }

  double scale(const Site& site) const override { return keeps_scale_ ? children_[owner_of(site)].edit->scale(site) : 1.0; }

  Change change(const Params& derived, const SiteView& view, const Tensor& input, const Weight& weight,
                Context& context) const override {
    const size_t k = owner_of(view.site);
    Context inner = inside(context, k);
    const Tensor shares = shares_of(derived, view, k, context);  // [N, 1]
    return children_[k].edit->change(derived.below(step_of(k)), view, input, times_rows(weight, spread_to_rows(view, shares)),
                                     inner);
  }

  std::optional<LanePrefix> prefix(const Params& derived, const SiteView& view, const Weight& weight,
                                   Context& context) const override {
    const size_t k = owner_of(view.site);
    Context inner = inside(context, k);
    return children_[k].edit->prefix(derived.below(step_of(k)), view, times_rows(weight, shares_of(derived, view, k, context)),
                                     inner);
  }

  std::optional<Flattened> flattened(const Params& stored) const override {
    Flattened out{describe(), {}};
    bool is_flat = true;
    for (const ParamSpec& param : own_) out.tensors[param.name] = stored.at(param.name);
    for (size_t k = 0; k < children_.size(); ++k) {
      const Params own = stored.below(step_of(k));
      if (std::optional<Flattened> inner = children_[k].edit->flattened(own)) {
        is_flat = false;
        out.definition["of"].items[k] = std::move(inner->definition);
        out.tensors.merge(tensors_below(step_of(k), inner->tensors));
        continue;
      }
      for (const ParamSpec& param : inner_[k].params) out.tensors[step_of(k) + "/" + param.name] = own.at(param.name);
    }
    return is_flat ? std::nullopt : std::optional(std::move(out));
  }

 private:
  void add_site(Options& options, const Site& site, size_t child) {
    const std::string& kind = children_[child].kind;
    if (!reads_attention_input(site) || (site.kind != SiteKind::kAttention && kind != "lora")) {
      options.fault("", "a central gate goes around lora at attn.q, attn.k and attn.v, and prefix, which read a layer's input; " +
                            kind + " at " + site.name + " does not");
    } else if (!sites_.emplace(site.index, site).second) {
      options.fault("", "two edits of a central gate act at " + site.name + ": put both in one");
    }
    owners_[site.index] = child;
  }

  size_t owner_of(const Site& site) const { return owners_.at(site.index); }

  // c_k of every sequence, [N, 1].
  Tensor shares_of(const Params& derived, const SiteView& view, size_t child, Context& context) const {
    const auto k = static_cast<int64_t>(child);
    const Tensor share = once(context.memory, context.path + view.site.name + ".gate", [&] {
      const Tensor open = at::relu(gate_logits(derived, attention_of(view.site), view.x));  // [T, E]
      return at::softmax(mean_by_sequence(view, open, pooling_.counted(view.site)), 1).slice(1, k, k + 1);
    });
    record_gate(context, view.site.name, share);
    return share;
  }

  static Context inside(const Context& context, size_t child) {
    Context inner = context_below(step_of(child), context);
    inner.key = inner.key.with(step_of(child));
    inner.route = inner.route.with(step_of(child));
    return inner;
  }

  GatePooling pooling_;
  bool keeps_scale_;
  std::vector<Child> children_;
  std::vector<EditSpec> inner_;
  std::map<int64_t, Site> sites_;     // by index, of all children
  std::map<int64_t, size_t> owners_;  // the child that acts there
  std::vector<ParamSpec> own_;
};

}  // namespace

std::unique_ptr<Edit> make_central_gate(Options& options, const EditTarget& target, std::vector<Child> children) {
  return std::make_unique<CentralGate>(options, target, std::move(children));
}

}  // namespace graft
