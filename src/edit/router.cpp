// A router: E experts of one edit, mixed for every token by a softmax.
//
// Zadouri et al. 2023, "Pushing Mixture of Experts to the Limit" (arXiv:2309.05444): mixtures of
// (IA)^3 vectors (MoV) and of LoRA pairs (MoLoRA), as in the released code. At a site whose router
// reads u [T, W] (what the edit itself reads), with R [W, E]:
//   p = softmax(u R)  [T, E], in float32;      y' = y + sum_e p_e change_e(y)
// Keys and values are routed per head: u is a head's slice [T, H, D], R [D, E] serves all heads, p
// is [T, H, E]. top_k: q = p * (1 at the k largest, else 0) instead of p, ties to the lower index;
// not renormalised unless asked for. A mixture of scales is one of whole results, y' = sum_e q_e
// y_e, so that without renormalising it begins near k/E of y, as in released code. balance: lambda
// * mean over sites of E * mean over sequences of sum_e F_e P_e, where P and F are means of p and
// of the mask over the tokens (and heads) of a sequence: k for uniform routing, E for k = 1 and one
// expert. Departs: released code takes the mean of attention sites over heads within a token.
// Where shares are drawn (Context::draws_shares) one expert answers a row, expert e with
// probability q_e / sum q and with the share sum q, so that the mean over draws is the mixture. The
// row takes the first e with u sum q < q_0 + .. + q_e, u uniform in [0, 1) by route, site and head,
// and, as the route's unit is, by text or by token.
#include <ATen/ops/scatter.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "base/error.h"
#include "edit/combinator.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/sequences.h"
#include "tensor/linear.h"

namespace graft {

namespace {

using at::Tensor;

bool is_per_head_site(const Site& site) {
  return is_keys_or_values(site.part) || is_queries(site.part);
}

enum class RouterInput { kSite, kBlockInput, kProduct };
constexpr Name<RouterInput> kRouterInputs[] = {{RouterInput::kSite, "site"},
                                               {RouterInput::kBlockInput, "block_input"},
                                               {RouterInput::kProduct, "product"}};

enum class PerHead { kAuto, kYes, kNo };
constexpr Name<PerHead> kPerHeads[] = {
    {PerHead::kAuto, "auto"}, {PerHead::kYes, "true"}, {PerHead::kNo, "false"}};

struct RouterOptions {
  int64_t experts = 10;
  RouterInput input = RouterInput::kSite;
  PerHead per_head = PerHead::kAuto;
  int64_t top_k = 0;
  bool renormalizes = false;
  double balance = 0;
  int64_t embedding = 0;

  void visit(OptionVisitor& v) {
    v.integer("experts", experts, {1, 1024}, "number E of experts");
    v.choice("input", input, kRouterInputs,
             "what the router reads: what the edit reads, what enters the layer, or what enters "
             "ffn.down");
    v.choice("per_head", per_head, kPerHeads,
             "whether each head is routed on its own slice; auto: scales of keys and values");
    v.integer("top_k", top_k, {0, 1024}, "only the k largest shares count; 0: all");
    v.boolean("renormalize", renormalizes, "whether the shares that top_k leaves sum to one again");
    v.number("balance", balance, {0, 1e6},
             "weight of the loss that balances the experts beside top_k");
    v.integer("embedding", embedding, {0, 1 << 20},
              "width of a column of the data that is routed on instead; 0: none");
  }
};

class Router final : public Combinator {
 public:
  Router(Options& options, const EditTarget& target, EditList children)
      : Combinator(std::move(children)),
        options_(read_options(options, RouterOptions{})),
        config_(target.config),
        inner_(child().spec()),
        blends_results_(child().blends_results()) {
    check(options);
    declare_experts();
  }

  std::string method() const override { return kRouter.name; }
  Node describe_options() const override { return options_node(options_); }

  // Every expert drawn anew. What is not trained is one tensor for all of them.
  TensorList init(const Weights& weights, RandomKey key) const override {
    TensorList out = init_own(weights, key);
    std::vector<TensorList> experts;
    for (int64_t expert = 0; expert < options_.experts; ++expert)
      experts.push_back(child().init(weights, key.with(static_cast<uint64_t>(expert))));
    for (size_t i = 0; i < inner_.params.size(); ++i) {
      std::vector<Tensor> each;
      for (const TensorList& own : experts) each.push_back(own[param_at(i)]);
      out.append(is_shared(inner_.params[i]) ? each.front() : at::stack(each));
    }
    return out;
  }

  // What all experts share appears once for each of them, as a view.
  TensorList derive(const Params& stored, const Weights& weights, Experts experts) const override {
    TensorList out = Combinator::derive(stored, weights, experts);
    for (size_t i = 0; i < inner_.params.size(); ++i) {
      Tensor& own = out[param_at(num_own() + i)];
      if (!is_shared(inner_.params[i])) continue;
      std::vector<int64_t> shape = own.sizes().vec();
      shape.insert(shape.begin(), options_.experts);
      own = own.unsqueeze(0).expand(shape);
    }
    return out;
  }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    const Tensor p = probabilities(derived[routers_.at(view.site)], view, input);  // [T, G, E]
    Tensor shares = p, mask;
    if (options_.top_k > 0) {
      mask = largest(p);
      shares = p * mask;
      if (options_.renormalizes) shares = shares / shares.sum(2, true);
    }
    SideOutputs own = reported(view, p, mask, context);
    if (context.draws_shares) shares = drawn(shares, view, context);
    // A weight from outside has one column or one per head, as the shares have.
    const Tensor outer =
        weight.rows.defined() ? weight.rows.to(p.scalar_type()) : Tensor();  // [T, G']
    if (outer.defined()) {
      ensure(outer.size(1) == 1 || p.size(1) == 1 || outer.size(1) == p.size(1),
             "a weight per row, or per row and head");
      shares = shares * outer.unsqueeze(2);
    }
    Context inner = context_of(0, context);
    inner.keeps_records = false;  // those of the experts would all have one name
    Change out = child().blend(derived_of(0, derived), options_.experts, view, input,
                               {weight.scale, shares.flatten(1)}, inner);
    // A mixture of scales is one of whole results, sum_e q_e y_e; a weight g around it stands for y
    // + g (sum_e q_e y_e - y).
    if (blends_results_ && outer.defined())
      out.mul = out.mul + (1.0 - by_column(outer * weight.scale, view.site));
    if (blends_results_ && !outer.defined() && weight.scale != 1.0)
      out.mul = out.mul + (1.0 - weight.scale);
    out.side = merged_side(std::move(own), 0, std::move(out.side));
    return out;
  }

  std::optional<Flattened> flattened(const Params&) const override { return std::nullopt; }

 protected:
  // Routers as [E, W].
  TensorList derive_own(const Params& stored, const Weights& weights) const override {
    ensure(num_derived() == spec().params.size(),
           "an edit that derives what it stores, so that it can be stacked");
    TensorList out;
    for (const Site& site : inner_.sites)
      out.append(stored[routers_.at(site)].to(weights.wide_dtype()).t().contiguous());
    return out;
  }

 private:
  // R ~ N(0, 0.02^2), one a site, before the child's tensors with the experts in front of every
  // shape.
  void declare_experts() {
    for (const Site& site : inner_.sites) {
      routers_[site] = declare(site, "router",
                               {.shape = {width_of(site), options_.experts},
                                .is_wide = true,
                                .use = ParamUse::kRouter,
                                .initial = normal(0.02)});
    }
    declare_children();
    for (size_t i = num_own(); i < spec_.params.size(); ++i) {
      ParamSpec& param = spec_.params[i];
      if (is_shared(param)) continue;
      if (param.cost) {
        param.cost->flops *= static_cast<double>(options_.experts);
        param.cost->kept *= static_cast<double>(options_.experts);
      }
      param.shape.insert(param.shape.begin(), options_.experts);
      if (param.use == ParamUse::kOther) param.use = ParamUse::kExpert;
    }
    spec_.traits.mixes_by_shares = spec_.traits.gives_records = true;
    spec_.traits.embedding = std::max(spec_.traits.embedding, options_.embedding);
    // Shares of equal scales add up to one but for rounding.
    spec_.traits.identity_at_init = inner_.traits.identity_at_init && !blends_results_;
    // The balance of a sequence is over all of its tokens.
    if (options_.balance > 0)
      spec_.traits.reads = std::max(spec_.traits.reads, Reads::kEarlierRows);
  }

  void check(Options& options) {
    if (options_.top_k > options_.experts)
      options.fault("top_k", "expected at most the " + std::to_string(options_.experts) +
                                 " experts, found " + std::to_string(options_.top_k));
    if (options_.renormalizes && options_.top_k == 0)
      options.fault("renormalize", "without top_k the shares of the experts sum to one already");
    if (options_.balance > 0 && options_.top_k == 0)
      options.fault("balance", "the balancing loss is constant unless top_k leaves experts out");
    if (options_.embedding > 0 && options_.input != RouterInput::kSite)
      options.fault("embedding",
                    "a router that reads an embedding reads no other input; found input: " +
                        std::string(word_of(kRouterInputs, options_.input)));
    for (const Site& site : inner_.sites) {
      if (options_.input == RouterInput::kBlockInput && site.kind != SiteKind::kLinear &&
          site.kind != SiteKind::kActivation) {
        options.fault("input", "block_input is what enters a linear or activation site; " +
                                   site.name + " is a " + kind_name(site.kind) + " site");
      }
      const bool is_product =  // what enters ffn.down
          site.part == Part::kFfnMid ||
          (site.part == Part::kFfnAct && !config_.stack(site.stack).has_gated_ffn);
      if (options_.input == RouterInput::kProduct &&
          (!is_product || child().method() != kAffine.name))
        options.fault("input",
                      "product is for an affine edit at " +
                          std::string(config_.last().has_gated_ffn ? "ffn.mid" : "ffn.act") +
                          ", where it reads what enters ffn.down; found " + child().method() +
                          " at " + site.name);
      if (options_.per_head != PerHead::kYes) continue;
      if (options_.input != RouterInput::kSite || options_.embedding > 0)
        options.fault("per_head",
                      "a head routes on its own slice: expected input: site and no embedding");
      if (child().method() != kAffine.name || !is_per_head_site(site))
        options.fault(
            "per_head",
            "heads are routed apart for an affine edit at attn.q, attn.k and attn.v; found " +
                child().method() + " at " + site.name);
    }
  }

  static bool is_shared(const ParamSpec& param) { return param.role != Role::kTrained; }

  int64_t groups_of(const Site& site) const {
    if (options_.per_head == PerHead::kNo || options_.input != RouterInput::kSite ||
        options_.embedding > 0)
      return 1;
    if (options_.per_head != PerHead::kYes &&
        !(child().method() == kAffine.name && is_keys_or_values(site.part)))
      return 1;
    const StackConfig& stack =
        site.stack == StackId::kNone ? config_.last() : config_.stack(site.stack);
    return is_keys_or_values(site.part) ? stack.key_heads : stack.heads;
  }

  int64_t width_of(const Site& site) const {
    if (options_.embedding > 0) return options_.embedding;
    return options_.input == RouterInput::kBlockInput
               ? site.input_width
               : input_width(child(), site) / groups_of(site);
  }

  // router: [E, W] -> [T, G, E]
  Tensor probabilities(const Tensor& router, const SiteView& view, const Tensor& input) const {
    if (options_.embedding > 0) {
      if (!view.pack.embedding.defined())
        throw InputError("a router reads an embedding of " + std::to_string(options_.embedding) +
                         " numbers per example; the data has none: name their column in the task "
                         "(embedding: COLUMN)");
      if (view.pack.embedding.size(1) != options_.embedding) {
        throw InputError("a router reads an embedding of " + std::to_string(options_.embedding) +
                         " numbers per example; the data's have " +
                         std::to_string(view.pack.embedding.size(1)));
      }
      const Tensor own =
          view.pack.embedding.slice(0, view.lane.first_sequence,
                                    view.lane.first_sequence + view.lane.num_sequences);  // [N, S]
      return at::softmax(spread_to_rows(
                             view, graft::linear(own.to(router.scalar_type()), router, Tensor())),
                         1)
          .unsqueeze(1);
    }
    const int64_t groups = groups_of(view.site);
    const Tensor& read = options_.input == RouterInput::kBlockInput ? view.x : input;
    const Tensor u =
        read.to(router.scalar_type()).reshape({read.size(0) * groups, -1});  // [T*G, W]
    return at::softmax(graft::linear(u, router, Tensor()), 1)
        .view({read.size(0), groups, options_.experts});
  }

  // 1 at the k largest of the last dimension, ties to the lower index.
  Tensor largest(const Tensor& p) const {
    const Tensor plain = p.detach();
    const Tensor order =
        std::get<1>(at::sort(plain, /*stable=*/true, /*dim=*/-1, /*descending=*/true));
    return at::zeros_like(plain).scatter(-1, order.slice(-1, 0, options_.top_k), 1.0);
  }

  // shares: [T, G, E] -> the sum of each row's at the expert that it draws, else 0.
  Tensor drawn(const Tensor& shares, const SiteView& view, const Context& context) const {
    const RandomKey site = context.route.with(view.site.name);
    const RowIds& ids = *view.pack.rows;
    std::vector<double> uniform;  // [T*G]
    for (int64_t row = 0; row < shares.size(0); ++row) {
      const auto at = static_cast<size_t>(view.lane.first_row + row);
      RandomKey own = site;
      if (context.route_unit != RouteUnit::kPass)
        own = own.with(static_cast<uint64_t>(ids.example[at]));
      if (context.route_unit == RouteUnit::kToken)
        own = own.with(static_cast<uint64_t>(ids.position[at]));
      for (int64_t group = 0; group < shares.size(1); ++group)
        uniform.push_back(Random(own.with(static_cast<uint64_t>(group))).uniform());
    }
    const Tensor total = shares.sum(2, true);
    const Tensor reached = shares.cumsum(2).slice(2, 0, options_.experts - 1) >
                           at::tensor(uniform, shares.options().dtype(at::kDouble))
                                   .to(shares.scalar_type())
                                   .view({shares.size(0), shares.size(1), 1}) *
                               total;
    const Tensor expert = (options_.experts - 1) - reached.sum(2, true);  // the first reached
    return at::zeros_like(shares).scatter(2, expert, total);
  }

  // values: [T, G] -> [T, out], each over its group of columns.
  static Tensor by_column(const Tensor& values, const Site& site) {
    return values.unsqueeze(2).expand({-1, -1, site.output_width / values.size(1)}).flatten(1);
  }

  SideOutputs reported(const SiteView& view, const Tensor& p, const Tensor& mask,
                       const Context& context) const {
    const auto by_sequence = [&](const Tensor& values) {
      return mean_by_sequence(view, values.mean(1));
    };  // [T, G, K] -> [N, K]
    SideOutputs out;
    if (context.keeps_records) {
      const Tensor plain = p.detach();
      out.records.push_back({view.site.name + ".router", by_sequence(plain)});
      out.records.push_back(
          {view.site.name + ".router.entropy",
           by_sequence(-(plain * plain.clamp_min(1e-30).log()).sum(2, true)).squeeze(1)});
      if (context.records_tokens)
        out.records.push_back(token_record(view, view.site.name + ".router", plain.mean(1)));
    }
    if (options_.balance == 0.0 || !context.is_training) return out;
    const Tensor site_loss =
        (by_sequence(mask) * by_sequence(p)).sum(1).mean() * static_cast<double>(options_.experts);
    out.losses.push_back(
        {view.site.name + ".balance",
         site_loss * (options_.balance / static_cast<double>(inner_.sites.size()))});
    return out;
  }

  RouterOptions options_;
  ModelConfig config_;
  const EditSpec& inner_;  // of one expert
  bool blends_results_;    // by its experts
  BySite<ParamId> routers_;
};

}  // namespace

const Method kRouter = {
    .name = "router",
    .about = "experts of one edit, mixed for every token by a softmax",
    .options = [] { return option_rows(RouterOptions{}); },
    .nesting = {nullptr, "the mean of routers is not a router of the mean", kChoosesExperts},
    .make_around = [](Options& options, const EditTarget& target,
                      EditList children) -> std::unique_ptr<Edit> {
      return std::make_unique<Router>(options, target, std::move(children));
    },
    .refusal = &Nesting::no_router,
    .no_fold = "its weights are other ones for every token"};

}  // namespace graft
