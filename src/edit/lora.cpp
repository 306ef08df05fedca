// LoRA: a low-rank update beside a frozen linear layer; DoRA: the same with a learned length for
// every row of the updated weight.
//
// lora: Hu et al. 2021 (arXiv:2106.09685) eq. 3, scaled as in sec. 4.1: h = W0 x + (alpha/R) B A x,
// with A = lora_a [R, in] and B = lora_b [out, R]. rsLoRA (Kalajdzievski 2023, arXiv:2312.03732):
// alpha/sqrt(R) instead. Dropout acts on x in the branch only. LoRA+ (Hayou et al. 2024,
// arXiv:2402.12354): `b_rate` multiplies the learning rate of B.
//
// dora: Liu et al. 2024 (arXiv:2402.09353) eq. 5 and sec. 4.3, W' = m (W0 + s B A) / |W0 + s B A|,
// norms by output row, s = alpha/R, m = magnitude [out], at first the norms of W0. The norm counts
// as a constant in the backward pass, unless `norm_gradient` is set. Departs: with dropout, W0 x
// keeps its x; released code then multiplies it by (m/norm - 1) after dropping entries of x.
#include <cmath>

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

enum class LoraInit { kKaiming, kGaussian, kNormal };

constexpr Name<LoraInit> kLoraInits[] = {{LoraInit::kKaiming, "kaiming"},
                                         {LoraInit::kGaussian, "gaussian"},
                                         {LoraInit::kNormal, "normal"}};

// Who draws a mask of dropout: each site, or those of a layer that read the same x together.
enum class MaskOf { kSite, kInput };
constexpr Name<MaskOf> kMasksOf[] = {{MaskOf::kSite, "site"}, {MaskOf::kInput, "input"}};

struct LoraOptions {
  bool is_dora = false;  // what they are options of
  SiteChoice where{{"attn.q", "attn.v"}};
  int64_t rank = 8;
  double alpha = 16, dropout = 0;
  MaskOf mask = MaskOf::kSite;
  bool is_rank_stabilised = false;
  LoraInit init = LoraInit::kKaiming;
  double b_rate = 1;
  bool has_norm_gradient = false;

  void visit(OptionVisitor& v) {
    where.visit(v);
    v.integer("rank", rank, {1, 4096}, "width R of the update");
    v.number("alpha", alpha, {0, 1e6}, "the update counts alpha/R times");
    v.number("dropout", dropout, {0, 0.99}, "of what enters the update");
    v.choice("dropout_mask", mask, kMasksOf,
             "each site drops entries of its own, or sites that read one x drop the same, as where "
             "queries, keys and values are one layer");
    v.boolean("rslora", is_rank_stabilised, "the update counts alpha/sqrt(R) times instead");
    v.choice("init", init, kLoraInits,
             "A at first: uniform within 1/sqrt(in), N(0, 1/R^2), or N(0, 0.02^2); B is zero");
    v.number("b_rate", b_rate, {1e-6, 1e6}, "learning rate of B as a multiple of A's (LoRA+)");
    if (is_dora)
      v.boolean("norm_gradient", has_norm_gradient,
                "whether the norm has a gradient, or counts as a constant");
  }
};

class Lora : public Edit {
 public:
  Lora(Options& options, const EditTarget& target, const LoraOptions& defaults = {})
      : options_(read_options_at(options, target, defaults)) {
    for (const Site& site : options_.where.sites) {
      if (site.kind != SiteKind::kLinear)
        options.fault("sites", Lora::method() + " acts on linear sites; " + site.name + " is a " +
                                   kind_name(site.kind) + " site");
    }
    for (const Site& site : options_.where.sites) {
      branches_[site] = {.a = declare(site, "lora_a",
                                      {.shape = {options_.rank, site.input_width},
                                       .bank = "down",
                                       .initial = initial_of_a(site)}),
                         .b = declare(site, "lora_b",
                                      {.shape = {site.output_width, options_.rank},
                                       .bank = "up",
                                       .rate_scale = options_.b_rate,
                                       .initial = zeros()})};
    }
    spec_.sites = options_.where.sites;
    spec_.traits = {.acts = Acts::kFoldable, .identity_at_init = true};
  }

  std::string method() const override { return (options_.is_dora ? kDora : kLora).name; }
  Node describe_options() const override { return options_node(options_); }

  double scale(const Site&) const override { return branch_scale(); }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    const auto [a, b] = branches_.at(view.site);
    const Tensor code =
        graft::linear(branch_dropout(view, input, context), derived[a], Tensor());  // [T, R]
    if (!weight.rows.defined() || weight.rows.size(1) == 1)
      return {.code = weighted_code(code, weight), .basis = derived[b]};
    // A weight per group of outputs (heads) cannot act on the narrow product.
    return {.add = scale_and_shift(graft::linear(code, derived[b], Tensor()),
                                   weight.rows * weight.scale, {})};
  }

  // One product down for all experts and one up, E*R wide: sum_e w_e B_e A_e x = [B_1 .. B_E] (w_e
  // A_e x)_e.
  Change blend(const Params& stacked, int64_t experts, const SiteView& view, const Tensor& input,
               const Weight& weight, const Context& context) const override {
    if (weight.rows.size(1) != experts)
      return Edit::blend(stacked, experts, view, input, weight, context);
    const auto [a, b] = branches_.at(view.site);
    const Tensor x = branch_dropout(view, input, context);
    const Tensor code = graft::linear(x, stacked[a].flatten(0, 1), Tensor());  // [T, E*R]
    return {.code = weighted_code(code, weight),
            .basis = stacked[b].transpose(0, 1).flatten(1)};  // [out, E*R]
  }

  TrunkTensors rewrite(const Params& derived, const Weights& weights) const override {
    TrunkTensors out;
    for (const Site& site : options_.where.sites) {
      const auto [a, b] = branches_.at(site);
      const Tensor product = at::mm(derived[b].to(at::kFloat), derived[a].to(at::kFloat));
      out[weight_of(site)] =
          weights.base(weight_of(site)).to(at::kFloat) + branch_scale() * product;
    }
    return out;
  }

 protected:
  const LoraOptions& lora_options() const { return options_; }
  struct Branch {
    ParamId a, b;
  };
  const Branch& branch(const Site& site) const { return branches_.at(site); }
  const std::vector<Site>& sites() const { return options_.where.sites; }

  // alpha/R, or alpha/sqrt(R).
  double branch_scale() const {
    const auto rank = static_cast<double>(options_.rank);
    return options_.alpha / (options_.is_rank_stabilised ? std::sqrt(rank) : rank);
  }

 private:
  Tensor branch_dropout(const SiteView& view, const Tensor& x, const Context& context) const {
    if (!context.is_training || options_.dropout == 0.0) return x;
    Place reader = view.site;
    reader.part = first_reader(reader.part);
    const RandomKey key =
        options_.mask == MaskOf::kSite ? context.key : context.site_free_key.with(to_name(reader));
    return dropout(x, rows_of_lane(view, options_.dropout, key.with("lora dropout")));
  }

  // kaiming: A ~ U(-1/sqrt(in), 1/sqrt(in)), the released code; gaussian: A ~ N(0, 1/R^2); normal:
  // A ~ N(0, 0.02^2). B = 0 in each.
  Initial initial_of_a(const Site& site) const {
    if (options_.init == LoraInit::kKaiming)
      return uniform(1.0 / std::sqrt(static_cast<double>(site.input_width)));
    return normal(options_.init == LoraInit::kGaussian ? 1.0 / static_cast<double>(options_.rank)
                                                       : 0.02);
  }

  LoraOptions options_;
  BySite<Branch> branches_;
};

class Dora final : public Lora {
 public:
  Dora(Options& options, const EditTarget& target)
      : Lora(options, target, {.is_dora = true}),
        has_norm_gradient_(lora_options().has_norm_gradient) {
    for (ParamSpec& param : spec_.params) param.bank.clear();  // the norm is one of both halves
    for (const Site& site : sites())
      lengths_[site].magnitude = declare(site, "magnitude", {.shape = {site.output_width}});
    for (const Site& site : sites()) {
      lengths_[site].stretch = declare_derived();
      lengths_[site].still = declare_derived();
    }
  }

  TensorList init(const Weights& weights, RandomKey key) const override {
    TensorList out = Lora::init(weights, key);
    for (const Site& site : sites())
      out[lengths_.at(site).magnitude] = norms(Params(out), weights, site, at::kFloat);
    return out;
  }

  // alpha/R stands inside the norm, so what is left to weigh is the change as a whole.
  double scale(const Site&) const override { return 1.0; }

  // A; m/norm * s in B; and of each site `stretch` [out] = m/norm - 1 and, where its layer has a
  // bias, `still` [out], both wide.
  TensorList derive(const Params& stored, const Weights& weights, Experts) const override {
    const at::ScalarType wide = weights.wide_dtype();
    TensorList out(num_derived());
    for (const Site& site : sites()) {
      const auto [a, b] = branch(site);
      const auto [magnitude, stretch, still] = lengths_.at(site);
      const Tensor factor =
          stored[magnitude].to(wide) / norms(stored, weights, site, wide);  // [out]
      out[a] = stored[a].to(weights.dtype());
      out[b] = (stored[b].to(wide) * (factor * branch_scale()).unsqueeze(1)).to(weights.dtype());
      out[stretch] = factor - 1;
      if (weights.has(bias_of(site)))
        out[still] = (1 - factor) * weights.at(bias_of(site)).to(wide);
    }
    return out;
  }

  // y = W0 x + bias  ->  y + (f - 1) (y - bias) + f s B A x with f = m/norm.
  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    Change change = Lora::change(derived, view, input, weight, context);
    const Length& own = lengths_.at(view.site);
    change.mul = 1.0 + weighted_vector(derived[own.stretch], weight);
    if (!derived.has(own.still)) return change;
    const Tensor still = weighted_vector(derived[own.still], weight);
    change.add = change.add.defined() ? change.add + still : still;
    return change;
  }

  // LoRA's fused form knows nothing of rows that are stretched.
  Change blend(const Params& stacked, int64_t experts, const SiteView& view, const Tensor& input,
               const Weight& weight, const Context& context) const override {
    return Edit::blend(stacked, experts, view, input, weight, context);
  }

  TrunkTensors rewrite(const Params& derived, const Weights& weights) const override {
    TrunkTensors out;
    for (const Site& site : sites()) {
      const auto [a, b] = branch(site);
      const Tensor product = at::mm(derived[b].to(at::kFloat), derived[a].to(at::kFloat));
      const Tensor factor = (derived[lengths_.at(site).stretch] + 1).to(at::kFloat).unsqueeze(1);
      out[weight_of(site)] = weights.base(weight_of(site)).to(at::kFloat) * factor + product;
      const TensorId bias = bias_of(site);  // what a part before this one has made of it
      if (weights.has(bias))
        out[bias] = weights.base(bias).to(at::kFloat) * factor.squeeze(1) +
                    derived[lengths_.at(site).still].to(at::kFloat);
    }
    return out;
  }

 private:
  // |W0 + s B A| by rows, [out], without making the sum: |W0|^2 + 2 s (W0 A^T) . B + s^2 (B A A^T)
  // . B. With B = 0 it is |W0| to the last bit, so that m/norm is 1 at first. The stored W0 counts,
  // not its copy in the trunk's dtype.
  Tensor norms(const Params& params, const Weights& weights, const Site& site,
               at::ScalarType dtype) const {
    const at::AutoGradMode enabled(lora_options().has_norm_gradient && at::GradMode::is_enabled());
    const double s = branch_scale();
    const Tensor w = weights.base(weight_of(site)).to(dtype), a = params[branch(site).a].to(dtype),
                 b = params[branch(site).b].to(dtype);
    const Tensor cross = graft::linear(w, a, Tensor()) * (2 * s) +
                         at::mm(b, at::mm(a, a.t())) * (s * s);  // [out, R]
    return at::sqrt(at::sum(w * w, 1) + at::sum(cross * b, 1));
  }

  struct Length {
    ParamId magnitude, stretch, still;
  };
  BySite<Length> lengths_;
  bool has_norm_gradient_;
};

}  // namespace

const Method kLora = {.name = "lora",
                      .about = "a low-rank update beside a linear layer",
                      .options = [] { return option_rows(LoraOptions{}); },
                      .nesting = kNestsAnywhere,
                      .make = make_of<Lora>};
const Method kDora = {
    .name = "dora",
    .about = "a low-rank update, and a learned length for every row of the updated weight",
    .options = [] { return option_rows(LoraOptions{.is_dora = true}); },
    .nesting = {nullptr, nullptr,
                "its norms are derived of several tensors, which cannot be stacked"},
    .make = make_of<Dora>};

}  // namespace graft
