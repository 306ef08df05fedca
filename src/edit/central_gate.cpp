// The central gate: one softmax per layer shares a weight of one among several edits.
//
// An option of UniPELT's released code (Mao et al. 2022, arXiv:2110.07577) without published
// results. For a layer whose input has rows x_t,
//   c = softmax_k( mean_t relu(x_t W^T + b)_k )    one pair a layer: W = gate.weight [E, C],
//                                                  b = gate.bias [E]
// and c_k takes the place of the own factor of edit k at all of its sites in that layer. Each edit
// must read the layer's input. In a decoder the mean is over the prompt (edit/gate.cpp,
// prompt_mean).
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "edit/gate.h"
#include "edit/gate_pooling.h"
#include "edit/registry.h"
#include "edit/sequences.h"

namespace graft {

namespace {

using at::Tensor;

// Listed as those of a gate (edit/gate.cpp).
struct CentralGateOptions {
  GatePooling::Choice pooling;
  Multiplier multiplier = Multiplier::kGateAlone;

  void visit(OptionVisitor& v) {
    pooling.visit(v);
    visit_multiplier(v, multiplier);
  }
};

class CentralGate final : public Combinator {
 public:
  CentralGate(Options& options, const EditTarget& target, EditList list)
      : Combinator(std::move(list), /*is_list=*/true),
        options_(read_options(options,
                              CentralGateOptions{.pooling = GatePooling::defaults(target, true)})),
        keeps_scale_(options_.multiplier == Multiplier::kGateTimesScale) {
    if (children().size() < 2)
      options.fault("", "a central gate shares weights among two edits or more");
    std::set<int64_t> seen;  // sites, by index
    for (const auto& child : children()) check_sites(options, *child, seen);
    const std::vector<Site> sites = children_sites();
    pooling_ =
        GatePooling(options, options_.pooling, target, sites, GatePooling::Kind::kPromptMean);
    options_.pooling = pooling_.described();
    std::optional<Place> last;
    GateParams gate;
    for (const Site& site : sites) {
      const Place layer = attention_of(site);
      if (layer != last) {
        const auto [weight, bias] = gate_params(
            layer, std::nullopt, static_cast<int64_t>(children().size()), target.config.width);
        gate = {.weight = declare(weight), .bias = declare(bias)};
      }
      gates_[site] = gate;
      last = layer;
    }
    declare_children();
    spec_.traits.gives_records = true;
    spec_.traits.reads = std::max(spec_.traits.reads, pooling_.reads());
    spec_.traits.layout.padded_length =
        std::max(spec_.traits.layout.padded_length, pooling_.padded_length());
  }

  std::string method() const override { return kGate.name; }
  Node describe_options() const override {
    Node options = Node::map({{"kind", Node::text("central")}});
    for (auto& [key, value] : options_node(options_).members) options[key] = std::move(value);
    return options;
  }

  double scale(const Site& site) const override {
    return keeps_scale_ ? child_at(site).scale(site) : 1.0;
  }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    const size_t k = index_at(view.site);
    const Tensor shares = shares_of(derived, view, k, context);  // [N, 1]
    Change out =
        children()[k]->change(derived_of(k, derived), view, input,
                              times_rows(weight, spread_to_rows(view, shares)), inside(context, k));
    out.side = merged_side(gate_record(context, view.site, shares), k, std::move(out.side));
    return out;
  }

  std::optional<PrefixRows> prefix(const Params& derived, const SiteView& view,
                                   const Weight& weight, const Context& context) const override {
    const size_t k = index_at(view.site);
    const Tensor shares = shares_of(derived, view, k, context);
    std::optional<PrefixRows> out = children()[k]->prefix(
        derived_of(k, derived), view, times_rows(weight, shares), inside(context, k));
    if (out)
      out->side = merged_side(gate_record(context, view.site, shares), k, std::move(out->side));
    return out;
  }

  std::vector<std::string> gates() const override {
    return gates_before(spec_, Combinator::gates());
  }

 private:
  static void check_sites(Options& options, const Edit& child, std::set<int64_t>& seen) {
    for (const Site& site : child.spec().sites) {
      if (!reads_attention_input(site) ||
          (site.kind != SiteKind::kAttention && child.method() != kLora.name)) {
        options.fault("",
                      "a central gate goes around lora at attn.q, attn.k and attn.v, and prefix, "
                      "which read a layer's input; " +
                          child.method() + " at " + site.name + " does not");
      } else if (!seen.insert(site.index).second) {
        options.fault("", "two edits of a central gate act at " + site.name + ": put both in one");
      }
    }
  }

  // c_k of every sequence, [N, 1].
  Tensor shares_of(const Params& derived, const SiteView& view, size_t child,
                   const Context& context) const {
    const auto k = static_cast<int64_t>(child);
    if (const std::optional<double> value = forced_gate(context, view.site))
      return at::full({view.lane.num_sequences, 1}, *value, at::kFloat);
    return cached(context.memory, {.edit = this, .expert = context.expert, .site = view.site.index},
                  [&] {
                    const Tensor open =
                        at::relu(gate_logits(derived, gates_.at(view.site), view.x));  // [T, E]
                    return at::softmax(mean_by_sequence(view, open, pooling_.counted(view.site)), 1)
                        .slice(1, k, k + 1);
                  });
  }

  Context inside(const Context& context, size_t child) const {
    Context inner = context_of(child, context);
    inner.key = inner.key.with(step(child));
    inner.site_free_key = inner.site_free_key.with(step(child));
    inner.route = inner.route.with(step(child));
    if (inner.first_route) inner.first_route = inner.first_route->with(step(child));
    return inner;
  }

  CentralGateOptions options_;
  GatePooling pooling_;
  bool keeps_scale_;
  BySite<GateParams> gates_;
};

}  // namespace

std::unique_ptr<Edit> make_central_gate(Options& options, const EditTarget& target,
                                        EditList children) {
  return std::make_unique<CentralGate>(options, target, std::move(children));
}

}  // namespace graft
