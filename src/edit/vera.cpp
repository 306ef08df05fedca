// VeRA: a low-rank update whose two matrices are random, frozen and the same at all sites; two
// vectors a site are trained.
//
// Kopiczko et al. 2024 (arXiv:2310.11454) eq. 2: h = W0 x + diag(b) B diag(d) A x, with
// d = vera_d [R] and b = vera_b [out]; at first d is a number and b is zero. A = projection_a
// [R, in'] and B = projection_b [out', R] are as wide as the widest of the sites, and a site takes
// its first columns of A and rows of B, as released code (PEFT) has it. Both are uniform, bounds
// sqrt(6/in') and sqrt(6/R), from one generator that starts at `projection_seed`: the numbers that
// PEFT draws for its `projection_prng_key`. So they need not be stored. Dropout acts on x in the
// branch only.
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>

#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/weighting.h"
#include "tensor/fused.h"
#include "tensor/linear.h"
#include "tensor/scaled.h"

namespace graft {

namespace {

using at::Tensor;

struct VeraOptions {
  SiteChoice where{{"attn.q", "attn.v"}};
  int64_t rank = 256;
  double d_initial = 0.1, dropout = 0;
  int64_t projection_seed = 0;
  bool stores_projection = false;

  void visit(OptionVisitor& v) {
    where.visit(v);
    v.integer("rank", rank, {1, 4096}, "width R of the update");
    v.number("d_initial", d_initial, {-1e6, 1e6}, "what every number of d is at first");
    v.number("dropout", dropout, {0, 0.99}, "of what enters the update");
    v.integer("projection_seed", projection_seed, {0, INT64_MAX},
              "draws A and B, whatever the seed of the run");
    v.boolean("save_projection", stores_projection,
              "whether A and B lie in the adapter's file, or are drawn again when it is loaded");
  }
};

class Vera final : public Edit {
 public:
  Vera(Options& options, const EditTarget& target)
      : options_(read_options_at(options, target, VeraOptions{})) {
    for (const Site& site : options_.where.sites) {
      if (site.kind != SiteKind::kLinear)
        options.fault("sites", "vera acts on linear sites; " + site.name + " is a " +
                                   kind_name(site.kind) + " site");
    }
    spec_.sites = options_.where.sites;
    spec_.traits = {.acts = Acts::kFoldable, .identity_at_init = true};
    declare_projections();
    for (const Site& site : spec_.sites) declare_vectors(site);
  }

  std::string method() const override { return kVera.name; }
  Node describe_options() const override { return options_node(options_); }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    const Vectors own = vectors_.at(view.site);
    const Tensor x = branch_dropout(view, input, context);
    const Tensor code = scale_and_shift(graft::linear(x, a_of(derived, view.site), Tensor()),
                                        derived[own.d], {});  // [T, R]
    return {.add = scale_and_shift(graft::linear(code, b_of(derived, view.site), Tensor()),
                                   weighted_vector(derived[own.b], weight), {})};
  }

  TrunkTensors rewrite(const Params& derived, const Weights& weights) const override {
    TrunkTensors out;
    for (const Site& site : spec_.sites) {
      const Vectors own = vectors_.at(site);
      const auto wide = [](const Tensor& tensor) { return tensor.to(at::kFloat); };
      const Tensor down = wide(derived[own.d]).unsqueeze(1) * wide(a_of(derived, site)),
                   up = wide(derived[own.b]).unsqueeze(1) * wide(b_of(derived, site));
      out[weight_of(site)] = wide(weights.base(weight_of(site))) + at::mm(up, down);
    }
    return out;
  }

 private:
  struct Vectors {
    ParamId d, b;
  };

  void declare_projections() {
    int64_t in = 0, out = 0;
    for (const Site& site : spec_.sites) {
      in = std::max(in, site.input_width);
      out = std::max(out, site.output_width);
    }
    const Role role = options_.stores_projection ? Role::kBuffer : Role::kDrawn;
    const auto declare_one = [&](const char* name, std::vector<int64_t> shape, int64_t drawn) {
      const double bound = std::sqrt(6.0 / static_cast<double>(shape[1]));
      const int64_t seed = options_.projection_seed;
      return declare({.name = name,
                      .shape = std::move(shape),
                      .label = "projection",
                      .role = role,
                      .initial = [=](const ParamSpec& param, const Weights&, RandomKey) {
                        return torch_uniform_tensor(param.shape, bound, seed, drawn);
                      }});
    };
    a_ = declare_one("projection_a", {options_.rank, in}, 0);
    b_ = declare_one("projection_b", {out, options_.rank}, options_.rank * in);
  }

  // Both stay wide: on a bfloat16 trunk a step of d or b would be lost. A and B have no gradient,
  // so that x is not kept for the backward pass, but what the vectors multiply is.
  void declare_vectors(const Site& site) {
    const auto rank = static_cast<double>(options_.rank),
               in = static_cast<double>(site.input_width),
               out = static_cast<double>(site.output_width);
    const double first = options_.d_initial;
    vectors_[site] = {
        .d = declare(site, "vera_d",
                     {.shape = {options_.rank},
                      .bank = "down",
                      .is_wide = true,
                      .cost = Cost{.flops = 2 * rank * in, .kept = rank},
                      .initial = [first](const ParamSpec& param, const Weights&,
                                         RandomKey) { return at::full(param.shape, first); }}),
        .b = declare(site, "vera_b",
                     {.shape = {site.output_width},
                      .bank = "up",
                      .is_wide = true,
                      .cost = Cost{.flops = 2 * rank * out, .kept = out},
                      .initial = zeros()})};
  }

  Tensor a_of(const Params& derived, const Site& site) const {
    return derived[a_].slice(1, 0, site.input_width);
  }
  Tensor b_of(const Params& derived, const Site& site) const {
    return derived[b_].slice(0, 0, site.output_width);
  }

  Tensor branch_dropout(const SiteView& view, const Tensor& x, const Context& context) const {
    if (!context.is_training || options_.dropout == 0.0) return x;
    return dropout(x, rows_of_lane(view, options_.dropout, context.key.with("vera dropout")));
  }

  VeraOptions options_;
  ParamId a_, b_;
  BySite<Vectors> vectors_;
};

}  // namespace

const Method kVera = {
    .name = "vera",
    .about = "a low-rank update of random matrices that all sites share, weighed by two vectors",
    .options = [] { return option_rows(VeraOptions{}); },
    .nesting = kNestsAnywhere,
    .make = make_of<Vera>};

}  // namespace graft
