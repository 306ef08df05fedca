// Bottleneck: a small two-layer network beside or behind a part of a block, y' = y + s A(u) with
// A(u) = U f(D u + b) + c.
//
//   placement     u                     sites
//   sequential    y                     any    attn.out and ffn.out: Houlsby et al. 2019
//                                              (arXiv:1902.00751) fig. 2; ffn.down, before dropout:
//                                              Wang et al. 2022 (AdaMix, arXiv:2205.12410),
//                                              released code
//   pfeiffer      norm(y + residual)    sublayers   Pfeiffer et al. 2021 (arXiv:2005.00247): the
//                                                   block's own frozen norm acts twice, around A
//                                                   and again on y' + residual. A pre-norm block
//                                                   has none behind a sublayer: u = y + residual
//                                                   there, as in AdapterHub
//   parallel      residual              sublayers   He et al. 2022 (arXiv:2110.04366) sec. 4.1:
//                                                   what the sublayer itself read; in a pre-norm
//                                                   block the stream before its norm, as in
//                                                   AdapterHub
//
// D is [M, C], U [C, M]; M is given as `width`, or as C divided by `reduction` and rounded down.
// The residual connection around A is always y itself.
#include <ATen/ATen.h>

#include <cctype>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/weighting.h"
#include "tensor/fused.h"
#include "tensor/linear.h"
#include "tensor/scaled.h"

namespace graft {

namespace {

using at::Tensor;

using Activate = Tensor (*)(const Tensor&);

constexpr Name<Activate> kBottleneckActivations[] = {
    {[](const Tensor& x) { return activate(x, Activation::kRelu); }, "relu"},
    {[](const Tensor& x) { return activate(x, Activation::kGelu); }, "gelu"},
    {[](const Tensor& x) { return activate(x, Activation::kGeluTanh); }, "gelu_tanh"},
    {[](const Tensor& x) { return activate(x, Activation::kSilu); }, "swish"},
    {[](const Tensor& x) { return at::tanh(x); }, "tanh"},
    {[](const Tensor& x) { return x; }, "linear"},
};

enum class Placement { kSequential, kPfeiffer, kParallel };
constexpr Name<Placement> kPlacements[] = {{Placement::kSequential, "sequential"},
                                           {Placement::kPfeiffer, "pfeiffer"},
                                           {Placement::kParallel, "parallel"}};

// kLearned: one number a site; kChannel: one for each column.
enum class Scaling { kNumber, kLearned, kChannel };
constexpr Name<Scaling> kTrainedScalings[] = {{Scaling::kLearned, "learned"},
                                              {Scaling::kChannel, "channel"}};

enum class BottleneckInit { kNormal, kHoulsby, kZeroUp };
constexpr Name<BottleneckInit> kBottleneckInits[] = {{BottleneckInit::kNormal, "normal"},
                                                     {BottleneckInit::kHoulsby, "houlsby"},
                                                     {BottleneckInit::kZeroUp, "zero-up"}};

struct BottleneckOptions {
  SiteChoice where{{"ffn.out"}};
  Placement placement = Placement::kPfeiffer;
  std::optional<int64_t> width;
  double reduction = 16;  // where there is no width
  Activate activation = kBottleneckActivations[0].value;
  Scaling scaling = Scaling::kNumber;
  double factor = 1;  // of Scaling::kNumber
  BottleneckInit init = BottleneckInit::kNormal;

  void visit(OptionVisitor& v) {
    where.visit(v);
    v.choice("placement", placement, kPlacements,
             "what A reads: y, the norm of y + residual, or the residual");
    if (!v.writes() || width)
      v.optional_integer("width", width, {1, 1 << 20},
                         {"units R, instead of reduction", "by reduction"});
    if (!v.writes() || !width)
      v.number("reduction", reduction, {1e-3, 1e6}, "units R: the site's width divided by this");
    v.choice("activation", activation, kBottleneckActivations, "f between the two layers");
    v.option("scaling",
             {.values = limits_text(kFactors) + ", learned, channel",
              .read = [this](Options& options) { read_scaling(options); },
              .write = [this] { return scaling_node(); }},
             "factor s: a number, a learned one for each site, or a learned one for each column");
    v.choice("init", init, kBottleneckInits,
             "both layers N(0, 0.02^2); N(0, 0.01^2) cut at two deviations; or the second zero");
  }

 private:
  static constexpr NumberLimits kFactors = {-1e6, 1e6};

  void read_scaling(Options& options) {
    const Node* given = options.raw("scaling");
    const bool is_word = given != nullptr && !given->scalar.empty() &&
                         std::isalpha(static_cast<unsigned char>(given->scalar.front())) != 0;
    if (!is_word) {
      factor = options.number("scaling", factor, kFactors.least, kFactors.most);
      return;
    }
    for (const auto& [value, word] : kTrainedScalings) {
      if (given->scalar == word) scaling = value;
    }
    if (scaling == Scaling::kNumber)
      options.fault("scaling",
                    "expected a number, learned or channel, found " + quote(given->scalar));
  }

  Node scaling_node() const {
    return scaling == Scaling::kNumber ? Node::number(factor)
                                       : Node::text(word_of(kTrainedScalings, scaling));
  }
};

// Normal, redrawn beyond two deviations.
Initial truncated_normal(double deviation) {
  return [deviation](const ParamSpec& param, const Weights&, RandomKey key) {
    return at::erfinv(uniform_tensor(param.shape, std::erf(std::sqrt(2.0)), key)) *
           (std::sqrt(2.0) * deviation);
  };
}

class Bottleneck final : public Edit {
 public:
  Bottleneck(Options& options, const EditTarget& target)
      : options_(read_options_at(options, target, BottleneckOptions{})) {
    if (options.has("width") && options.has("reduction"))
      options.fault("width", "expected width or reduction, found both");
    for (const Site& site : options_.where.sites) check_site(options, site);
    spec_.sites = options_.where.sites;
    spec_.traits.identity_at_init = options_.init == BottleneckInit::kZeroUp;
    for (const Site& site : options_.where.sites) declare_network(site);
  }

  std::string method() const override { return kBottleneck.name; }
  Node describe_options() const override { return options_node(options_); }

  Tensor input(const SiteView& view) const override {
    if (options_.placement == Placement::kSequential) return view.y;
    if (options_.placement == Placement::kParallel) return view.residual;
    return view.norm ? view.norm(view.y, view.residual) : view.y + view.residual;
  }

  // A gate or router replaces the number; a trained scaling is a part of A and stays.
  double scale(const Site&) const override { return options_.factor; }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context&) const override {
    const Network& own = networks_.at(view.site);
    const Tensor up = derived[own.up_weight];
    Tensor code = options_.activation(
        graft::linear(input, derived[own.down_weight], derived[own.down_bias]));  // [T, M]
    Tensor bias = derived[own.up_bias];
    if (options_.scaling != Scaling::kNumber) bias = bias * derived[own.scaling];
    if (options_.scaling == Scaling::kLearned)
      code = scale_and_shift(code, derived[own.scaling], {});
    // A factor for each column or group of them (heads) cannot act on the narrow product.
    if (options_.scaling == Scaling::kChannel) {
      return {.add = scale_and_shift(graft::linear(code, up, Tensor()),
                                     weighted_vector(derived[own.scaling], weight),
                                     weighted_vector(bias, weight))};
    }
    if (!weight.rows.defined())
      return {.add = bias * weight.scale, .code = weighted_code(code, weight), .basis = up};
    const Tensor rows = weight.rows * weight.scale;  // [T, G]
    if (rows.size(1) == 1) return weighted(code, rows, up.unsqueeze(0), bias.unsqueeze(0));
    return {.add = scale_and_shift(graft::linear(code, up, bias.to(code.scalar_type())), rows, {})};
  }

  // One product down for all experts and one up, E*M wide.
  Change blend(const Params& stacked, int64_t experts, const SiteView& view, const Tensor& input,
               const Weight& weight, const Context& context) const override {
    if (weight.rows.size(1) != experts || options_.scaling == Scaling::kChannel)
      return Edit::blend(stacked, experts, view, input, weight, context);
    const Network& own = networks_.at(view.site);
    const Tensor down = stacked[own.down_weight].flatten(0, 1),
                 down_bias = stacked[own.down_bias].flatten(0, 1);
    Tensor code = options_.activation(graft::linear(input, down, down_bias));  // [T, E*M]
    Tensor bias = stacked[own.up_bias];                                        // [E, C]
    if (options_.scaling == Scaling::kLearned) {
      const Tensor scaling = stacked[own.scaling];  // [E, 1]
      code = scale_and_shift(code, scaling.view({1, experts}), {});
      bias = bias * scaling;
    }
    return weighted(code, weight.rows * weight.scale, stacked[own.up_weight], bias);
  }

 private:
  struct Network {
    ParamId down_weight, down_bias, up_weight, up_bias, scaling;
  };

  // What is added to or multiplied with the change is wide.
  void declare_network(const Site& site) {
    const int64_t in = site.output_width, narrow = width_at(site);
    Network& own = networks_[site];
    own.down_weight =
        declare(site, "down.weight",
                {.shape = {narrow, in}, .bank = "down", .initial = initial_of_down(in)});
    own.down_bias =
        declare(site, "down.bias",
                {.shape = {narrow}, .bank = "down", .decays = false, .initial = zeros()});
    own.up_weight = declare(site, "up.weight",
                            {.shape = {in, narrow}, .bank = "up", .initial = initial_of_up()});
    own.up_bias = declare(
        site, "up.bias",
        {.shape = {in}, .bank = "up", .is_wide = true, .decays = false, .initial = zeros()});
    if (options_.scaling == Scaling::kNumber) return;
    own.scaling = declare(site, "scaling",
                          {.shape = {options_.scaling == Scaling::kLearned ? 1 : in},
                           .bank = "up",
                           .is_wide = true,
                           .initial = ones()});
  }

  // normal: both matrices N(0, 0.02^2), as the checkpoints of BERT were drawn. houlsby: both N(0,
  // 0.01^2), cut at two deviations (Houlsby et al. 2019 sec. 3.6). zero-up: down U(-1/sqrt(C),
  // 1/sqrt(C)), up zero (He et al. 2022). Biases are zero in each.
  Initial initial_of_down(int64_t in) const {
    if (options_.init == BottleneckInit::kZeroUp)
      return uniform(1.0 / std::sqrt(static_cast<double>(in)));
    return options_.init == BottleneckInit::kHoulsby ? truncated_normal(0.01) : normal(0.02);
  }
  Initial initial_of_up() const {
    if (options_.init == BottleneckInit::kZeroUp) return zeros();
    return options_.init == BottleneckInit::kHoulsby ? truncated_normal(0.01) : normal(0.02);
  }

  int64_t width_at(const Site& site) const {
    return options_.width.value_or(
        static_cast<int64_t>(static_cast<double>(site.output_width) / options_.reduction));
  }

  void check_site(Options& options, const Site& site) const {
    if (site.kind == SiteKind::kAttention) {
      options.fault(
          "sites", "bottleneck acts on what leaves a site; " + site.name + " is an attention site");
    } else if (options_.placement != Placement::kSequential && site.kind != SiteKind::kSublayer) {
      options.fault("sites", std::string("placement ") + word_of(kPlacements, options_.placement) +
                                 " acts on sublayer sites; " + site.name + " is a " +
                                 kind_name(site.kind) + " site: set placement to sequential");
    } else if (width_at(site) < 1) {
      options.fault("reduction", site.name + " is " + std::to_string(site.output_width) +
                                     " wide and would get no unit: set reduction lower, or width");
    }
  }

  // sum_e w_e (U_e code_e + c_e) in the low-rank form, the biases as one more unit each; beside
  // bfloat16 as two, since the weight itself is a number there: its rounded part and the rest.
  // code: [T, E*M]; w: [T, E]; up: [E, C, M]; bias: [E, C].
  static Change weighted(const Tensor& code, const Tensor& w, const Tensor& up,
                         const Tensor& bias) {
    const at::ScalarType dtype = code.scalar_type();
    const Tensor near = w.to(dtype), c = bias.t().to(dtype);
    std::vector<Tensor> codes{weighted_code(code, {1.0, w}), near},
        bases{up.transpose(0, 1).flatten(1), c};
    if (dtype == at::kBFloat16) {
      codes.push_back((w - near.detach().to(w.scalar_type())).detach().to(dtype));
      bases.push_back(c);
    }
    return {.code = at::cat(codes, 1), .basis = at::cat(bases, 1)};
  }

  BottleneckOptions options_;
  BySite<Network> networks_;
};

}  // namespace

const Method kBottleneck = {.name = "bottleneck",
                            .about = "a small two-layer network beside or behind a part of a block",
                            .options = [] { return option_rows(BottleneckOptions{}); },
                            .nesting = kNestsAnywhere,
                            .make = make_of<Bottleneck>,
                            .no_fold = "a nonlinear function stands beside the layer"};

}  // namespace graft
