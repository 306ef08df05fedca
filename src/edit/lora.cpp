// LoRA: a low-rank update beside a frozen linear layer.
//
// Hu et al. 2021 (arXiv:2106.09685) eq. 3, scaled as in sec. 4.1: h = W0 x + (alpha/R) B A x, with A = lora_a [R, in] and
// B = lora_b [out, R]. rsLoRA (Kalajdzievski 2023, arXiv:2312.03732): alpha/sqrt(R) instead. Dropout acts on x in the branch only.
#include <cmath>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "tensor/fused.h"
#include "tensor/linear.h"

namespace graft {

namespace {

using at::Tensor;

class Lora final : public Edit {
 public:
  Lora(Options& options, const EditTarget& target)
      : choice_(read_sites(options, target, {"attn.q", "attn.v"})),
        rank_(options.integer("rank", 8, 1, 4096)),
        alpha_(options.number("alpha", 16, 0, 1e6)),
        dropout_(options.number("dropout", 0, 0, 0.99)),
        is_rank_stabilised_(options.boolean("rslora", false)),
        initial_(options.choice("init", "kaiming", {"kaiming", "gaussian", "normal"})) {
    for (const Site& site : choice_.sites) {
      if (site.kind != SiteKind::kLinear) options.fault("sites", "lora acts on linear sites; " + site.name + " is a " + kind_name(site.kind) + " site");
    }
  }

  EditSpec spec() const override {
    EditSpec spec;
    for (const Site& site : choice_.sites) {
      ParamSpec a{.name = site.name + ".lora_a", .shape = {rank_, site.input_width}, .group = "lora"};
      a.starts_without_gradient = true;   // B = 0
      spec.params.push_back(std::move(a));
      spec.params.push_back({.name = site.name + ".lora_b", .shape = {site.output_width, rank_}, .group = "lora"});
    }
    spec.sites = choice_.sites;
    spec.traits = {.identity_at_init = true, .is_foldable = true};
    return spec;
  }

  Node describe() const override {
    Node options = Node::map();
    choice_.describe(options);
    options["rank"] = Node::integer(rank_);
    options["alpha"] = Node::number(alpha_);
    options["dropout"] = Node::number(dropout_);
    options["rslora"] = Node::boolean(is_rank_stabilised_);
    options["init"] = Node::text(initial_);
    return Node::map({{"lora", std::move(options)}});
  }

  // kaiming: A ~ U(-1/sqrt(in), 1/sqrt(in)), the released code; gaussian: A ~ N(0, 1/R^2); normal: A ~ N(0, 0.02^2). B = 0 in each.
  NamedTensors init(const Weights&, RandomKey key) const override {
    NamedTensors out;
    for (const Site& site : choice_.sites) {
      const std::vector<int64_t> shape{rank_, site.input_width};
      const std::string name = site.name + ".lora_a";
      if (initial_ == "kaiming") out[name] = uniform_tensor(shape, 1.0 / std::sqrt(static_cast<double>(site.input_width)), key.with(name));
      else out[name] = normal_tensor(shape, initial_ == "gaussian" ? 1.0 / static_cast<double>(rank_) : 0.02, key.with(name));
      out[site.name + ".lora_b"] = at::zeros({site.output_width, rank_});
    }
    return out;
  }

  double scale(const Site&) const override {
    const auto rank = static_cast<double>(rank_);
    return alpha_ / (is_rank_stabilised_ ? std::sqrt(rank) : rank);
  }

  Change change(const Params& derived, const SiteView& view, const Tensor& input, const Weight& weight, Context& context) const override {
    const Tensor x = branch_dropout(view, input, context);
    Tensor code = graft::linear(x, derived.at(view.site.name + ".lora_a"), Tensor());   // [T, R]
    const Tensor& b = derived.at(view.site.name + ".lora_b");
    if (!weight.rows.defined()) return {.mul = {}, .add = {}, .code = code * weight.scale, .basis = b, .rows = {}};
    if (weight.rows.size(1) == 1) return {.mul = {}, .add = {}, .code = code * (weight.rows * weight.scale).to(code.scalar_type()), .basis = b, .rows = {}};
    // A weight per group of outputs (heads) cannot act on the narrow product.
    const Tensor full = graft::linear(code * weight.scale, b, Tensor()).unflatten(1, {weight.rows.size(1), -1});           // [T, G, out/G]
    return {.mul = {}, .add = (full * weight.rows.unsqueeze(2).to(full.scalar_type())).flatten(1), .code = {}, .basis = {}, .rows = {}};
  }

  NamedTensors rewrite(const Params& derived, const Weights& weights) const override {
    NamedTensors out;
    for (const Site& site : choice_.sites) {
      const Tensor product = at::mm(derived.at(site.name + ".lora_b").to(at::kFloat), derived.at(site.name + ".lora_a").to(at::kFloat));
      out[site.name + ".weight"] = weights.base(site.name + ".weight").to(at::kFloat) + scale(site) * product;
    }
    return out;
  }

 private:
  Tensor branch_dropout(const SiteView& view, const Tensor& x, const Context& context) const {
    if (!context.is_training || dropout_ == 0.0) return x;
    return dropout(x, rows_of_lane(view, dropout_, context.key.with("lora dropout")));
  }

  SiteChoice choice_;
  int64_t rank_;
  double alpha_, dropout_;
  bool is_rank_stabilised_;
  std::string initial_;
};

}  // namespace

std::unique_ptr<Edit> make_lora(Options& options, const EditTarget& target) { return std::make_unique<Lora>(options, target); }

}  // namespace graft
