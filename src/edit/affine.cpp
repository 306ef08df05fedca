// Affine: a learned scale, a learned shift, or both, of what leaves a site: y' = scale * y + shift,
// elementwise.
//
//   (IA)^3            scale at attn.k, attn.v, ffn.act        Liu et al. 2022 (arXiv:2205.05638)
//                                                             eq. in sec. 3.3
//   RED               scale and shift                         Wu et al. 2024 (arXiv:2402.15179)
//   steering vectors  shift at the residual stream `out`, that is activation addition with a
//                     trained vector
//
// The sites carry what the literature leaves open. The feed-forward vector of (IA)^3 stands behind
// the activation (`ffn.act`, as its equation has it) or at the output of the layer before it
// (`ffn.up`). RED's released code changes the output of the second feed-forward layer (`ffn.down`);
// the reading "hidden states of every layer" is `out`. In a gated FFN `ffn.act` is the gate's
// branch, `ffn.up` the other one and `ffn.mid` their product: three places for the vector of (IA)^3
// that differ by rounding alone, until a router reads what it scales.
#include <ATen/ops/bmm.h>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/weighting.h"
#include "tensor/linear.h"

namespace graft {

namespace {

using at::Tensor;

struct AffineOptions {
  SiteChoice where{{"attn.k", "attn.v", "ffn.act"}};
  bool has_scale = true, has_shift = false;

  void visit(OptionVisitor& v) {
    where.visit(v);
    v.boolean("scale", has_scale, "a factor for every column, at first 1");
    v.boolean("shift", has_shift, "a summand for every column, at first 0");
  }
};

class Affine final : public Edit {
 public:
  Affine(Options& options, const EditTarget& target)
      : options_(read_options_at(options, target, AffineOptions{})),
        config_(target.config),
        sites_(target.sites) {
    if (!options_.has_scale && !options_.has_shift)
      options.fault("scale", "expected scale or shift to be true, found neither");
    for (const Site& site : options_.where.sites) {
      if (site.kind == SiteKind::kAttention)
        options.fault("sites",
                      "affine acts on what leaves a site; " + site.name + " is an attention site");
    }
    spec_.sites = options_.where.sites;
    spec_.traits = {.acts = Acts::kFoldable, .identity_at_init = true};
    for (const Site& site : options_.where.sites) {
      const ParamSpec vector{.shape = {site.output_width}, .is_wide = true};
      ParamSpec scale = vector, shift = vector;
      scale.effect = Effect::kScalesY, scale.initial = ones();
      shift.decays = false, shift.initial = zeros();
      if (options_.has_scale) vectors_[site].scale = declare(site, "scale", scale);
      if (options_.has_shift) vectors_[site].shift = declare(site, "shift", shift);
      if (!folds_at(site)) spec_.traits.acts = Acts::kInForward;
    }
  }

  std::string method() const override { return kAffine.name; }
  Node describe_options() const override { return options_node(options_); }

  // A router around the vectors reads the very activation that they scale (MoV).
  Tensor input(const SiteView& view) const override { return view.y; }

  // A weight w: y' = y + w ((scale - 1) * y + shift), so that none is no change.
  Change change(const Params& derived, const SiteView& view, const Tensor&, const Weight& weight,
                const Context&) const override {
    const auto [scale_id, shift_id] = vectors_.at(view.site);
    const bool is_plain = !weight.rows.defined() && weight.scale == 1.0;
    Change change;
    if (options_.has_scale) {
      const Tensor scale = derived[scale_id];  // [out]
      change.mul = is_plain ? scale : 1.0 + weighted_vector(scale - 1.0, weight);
    }
    if (options_.has_shift)
      change.add = is_plain ? derived[shift_id] : weighted_vector(derived[shift_id], weight);
    return change;
  }

  // y' = (sum_e w_e scale_e) * y + sum_e w_e shift_e: the mixture is one of vectors, as Zadouri et
  // al. 2023 (arXiv:2309.05444) have it, and not the default sum of changes 1 + sum_e w_e (scale_e
  // - 1). Both agree while the weights add up to one; where a router keeps the k largest and does
  // not renormalise, they do not, and the activation itself shrinks.
  Change blend(const Params& stacked, int64_t experts, const SiteView& view, const Tensor&,
               const Weight& weight, const Context&) const override {
    Change change;
    const auto [scale, shift] = vectors_.at(view.site);
    if (options_.has_scale) change.mul = mixed(stacked[scale], experts, weight);
    if (options_.has_shift) change.add = mixed(stacked[shift], experts, weight);
    return change;
  }

  bool blends_results() const override { return options_.has_scale; }

  // A linear layer takes both into its rows and bias,
  TrunkTensors rewrite(const Params& derived, const Weights& weights) const override {
    TrunkTensors out;
    for (const Site& site : options_.where.sites) {
      if (site.kind != SiteKind::kLinear) continue;
      const TensorId weight = weight_of(site), bias = bias_of(site);
      const auto [scale_id, shift_id] = vectors_.at(site);
      if (options_.has_scale) {
        const Tensor scale = derived[scale_id];
        out[weight] = weights.base(weight).to(at::kFloat) * scale.unsqueeze(1);
        if (weights.has(bias)) out[bias] = weights.base(bias).to(at::kFloat) * scale;
      }
      if (!options_.has_shift) continue;
      Tensor& shifted = out[bias];
      if (!shifted.defined()) shifted = weights.base(bias).to(at::kFloat);
      shifted = shifted + derived[shift_id];
    }
    return out;
  }

  // and the layer that reads an activation into its columns and bias: W (s x + t) = (W s) x + W t.
  TrunkTensors rewrite_readers(const Params& derived, const Weights& weights) const override {
    TrunkTensors out;
    for (const Site& site : options_.where.sites) {
      if (site.kind != SiteKind::kActivation) continue;
      const Place& reader = layer_of(site);
      const TensorId bias = bias_of(reader);
      const auto [scale_id, shift_id] = vectors_.at(site);
      const Tensor weight = weights.base(weight_of(reader)).to(at::kFloat);
      if (options_.has_scale)
        out[weight_of(reader)] = weight * derived[scale_id].to(at::kFloat).unsqueeze(0);
      if (options_.has_shift)
        out[bias] = weights.base(bias).to(at::kFloat) + at::mv(weight, derived[shift_id]);
    }
    return out;
  }

 private:
  // A shift needs a bias to go into, and behind an activation nothing between itself and the layer
  // that reads it: at ffn.act the other branch of a gated FFN multiplies it.
  bool folds_at(const Site& site) const {
    if (site.kind != SiteKind::kLinear && site.kind != SiteKind::kActivation) return false;
    const Part layer = layer_of(site).part;
    if (layer == Part::kPooler || !options_.has_shift) return true;
    if (layer == Part::kMaskDense) return config_.mask_head.value().has_dense_bias;
    const StackConfig& stack = config_.stack(site.stack);
    const bool has_bias = is_ffn_layer(layer)          ? stack.has_ffn_bias
                          : is_attention_output(layer) ? stack.has_attention_output_bias
                                                       : stack.has_attention_bias;
    return has_bias && !(stack.has_gated_ffn && site.part == Part::kFfnAct);
  }

  // The layer whose weights hold what is done at a linear or activation site.
  const Site& layer_of(const Site& site) const {
    return site.kind == SiteKind::kActivation ? sites_.reader_of(site) : site;
  }

  // vectors: [E, out] -> [T, out], each group of columns its own [T, E] x [E, out/G].
  static Tensor mixed(const Tensor& vectors, int64_t experts, const Weight& weight) {
    const Tensor rows = (weight.rows * weight.scale).to(vectors.scalar_type());  // [T, G*E]
    const int64_t groups = rows.size(1) / experts;
    if (groups == 1) return graft::linear(rows, vectors.t(), Tensor());
    const Tensor shares = rows.unflatten(1, {groups, experts}).transpose(0, 1);  // [G, T, E]
    const Tensor columns = vectors.unflatten(1, {groups, -1}).transpose(0, 1);   // [G, E, out/G]
    return at::bmm(shares, columns).transpose(0, 1).flatten(1);
  }

  AffineOptions options_;
  ModelConfig config_;
  Sites sites_;
  struct Vectors {
    ParamId scale, shift;
  };
  BySite<Vectors> vectors_;
};

}  // namespace

const Method kAffine = {.name = "affine",
                        .about = "a learned scale or shift of what leaves a site",
                        .options = [] { return option_rows(AffineOptions{}); },
                        .nesting = kNestsAnywhere,
                        .make = make_of<Affine>};

}  // namespace graft
