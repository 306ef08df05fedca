// Prefix tuning: P learned keys and values before those of the tokens, in every attention of the chosen layers.
//
// Li and Liang 2021 (arXiv:2101.00190). For each head, with K and V of the tokens,
//   K' = [P_K; K],  V' = [P_V; V],  O = softmax(Q K'^T / sqrt(D)) V'
// The rows stand in the heads' own space (no W_k or W_v acts on them), take no position (unless counts_positions) and are seen by
// every query.
// mlp: 0        P_K and P_V are trained themselves: keys [P, K*D], values [P, K*D] at each site (K heads of keys)
//      M > 0    one network serves all L layers (their sec. 4.3; UniPELT's released code): a table E [P, C] gives
//               [P, 2 L K D] = tanh(E W_in^T + b_in) W_out^T + b_out,  columns ordered (layer, key or value, head, dimension)
//               and only its result is needed once training is over (`flattened`).
// counts_positions: true   the tokens' positions begin at P, as where a prefix is a cache of keys and values (PEFT)
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "tensor/linear.h"

namespace graft {

namespace {

using at::Tensor;

enum class PrefixInit { kNormal, kDefault };
constexpr Name<PrefixInit> kPrefixInits[] = {{PrefixInit::kNormal, "normal"},
                                             {PrefixInit::kDefault, "default"}};

struct PrefixOptions {
  SiteChoice where{{"attn"}};
  int64_t length = 10, hidden = 0;
  bool counts_positions = false;
  PrefixInit init = PrefixInit::kNormal;

  void visit(OptionVisitor& v) {
    where.visit(v);
    v.integer("length", length, {1, 4096}, "rows P before the keys and values");
    v.integer(
        "mlp", hidden, {0, 1 << 20},
        "width of the network that makes the rows of all layers; 0: they are trained themselves");
    v.boolean("counts_positions", counts_positions,
              "whether the tokens' positions begin behind the rows");
    v.choice("init", init, kPrefixInits,
             "at first N(0, 0.02^2), or as PyTorch draws embeddings and layers");
  }
};

class Prefix final : public Edit {
 public:
  Prefix(Options& options, const EditTarget& target)
      : options_(read_options_at(options, target, PrefixOptions{})),
        choice_(options_.where),
        length_(options_.length),
        hidden_(options_.hidden),
        counts_positions_(options_.counts_positions),
        initial_(options_.init),
        config_(target.config) {
    if (counts_positions_ && target.config.is_encoder_decoder()) {
      options.fault("counts_positions",
                    "positions are counted in one stack; " + target.config.model_type + " has two: leave it out");
    }
    for (const Site& site : choice_.sites) {
      if (site.kind != SiteKind::kAttention)
        options.fault("sites", "prefix acts on attention sites; " + site.name + " is a " + kind_name(site.kind) + " site");
    }
    declare(made_spec());
  }

  Node describe() const override { return Node::map({{"prefix", options_node(options_)}}); }

  // normal: all weights N(0, 0.02^2), biases 0, as UniPELT's released code; default: as PyTorch draws an embedding (N(0, 1)) and
  // a linear layer (weight and bias uniform within 1/sqrt(in)), as AdapterHub does; keys and values trained themselves N(0, 1).
  NamedTensors init(const Weights&, RandomKey key) const override {
    NamedTensors out;
    for (const ParamSpec& param : spec().params) {
      const bool is_layer = param.name.starts_with("mlp."), is_bias = param.shape.size() == 1;
      const RandomKey own = key.with(param.name);
      if (initial_ == PrefixInit::kNormal) {
        out[param.name] = is_bias ? at::zeros(param.shape) : normal_tensor(param.shape, 0.02, own);
      } else if (is_layer) {
        const int64_t in = param.name.starts_with("mlp.in.") ? config_.width : hidden_;
        out[param.name] = uniform_tensor(param.shape, 1.0 / std::sqrt(static_cast<double>(in)), own);
      } else {
        out[param.name] = normal_tensor(param.shape, 1.0, own);
      }
    }
    return out;
  }

  // "<site>.keys" and "<site>.values", [P, K, D].
  NamedTensors derive(const Params& stored, const Weights& weights, Experts) const override {
    NamedTensors out;
    const NamedTensors all = rows_of(stored);
    for (const Site& site : choice_.sites) {
      for (const char* part : {".keys", ".values"}) {
        const std::string name = site.name + part;
        out[name] = all.at(name).to(weights.dtype()).unflatten(1, {config_.stack(site.stack).key_heads, -1});
      }
    }
    return out;
  }

  // weight.rows: [N, G] by sequence; G = 2: for keys and values apart.
  std::optional<LanePrefix> prefix(const Params& derived, const SiteView& view, const Weight& weight, Context&) const override {
    LanePrefix out;
    out.keys = derived.at(view.site.name + ".keys");
    out.values = derived.at(view.site.name + ".values");
    if (weight.rows.defined()) {
      const Tensor scales = weight.rows * weight.scale;
      out.key_scale = scales.select(1, 0);
      out.value_scale = scales.select(1, scales.size(1) - 1);
    } else if (weight.scale != 1.0) {  // not of the rows themselves, which may be of bfloat16
      const at::ScalarType wide = out.keys.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
      out.key_scale = out.value_scale = at::full({view.lane.num_sequences}, weight.scale, wide);
    }
    return out;
  }

  std::optional<Flattened> flattened(const Params& stored) const override {
    if (hidden_ == 0) return std::nullopt;
    PrefixOptions trained_rows = options_;
    trained_rows.hidden = 0;
    Flattened out{Node::map({{"prefix", options_node(trained_rows)}}), rows_of(stored)};
    for (auto& [name, rows] : out.tensors) rows = rows.contiguous();
    return out;
  }

 private:
  EditSpec made_spec() const {
    EditSpec spec;
    spec.sites = choice_.sites;
    if (counts_positions_) spec.traits.layout.first_position = length_;
    if (hidden_ == 0) {
      for (const Site& site : choice_.sites) {
        for (const char* part : {".keys", ".values"})
          spec.params.push_back({.name = site.name + part, .shape = {length_, site.output_width}, .site = site});
      }
      return spec;
    }
    const int64_t all = outputs();
    spec.params = {{.name = "table", .shape = {length_, config_.width}, .label = "table"},
                   {.name = "mlp.in.weight", .shape = {hidden_, config_.width}, .label = "mlp.in"},
                   {.name = "mlp.in.bias", .shape = {hidden_}, .label = "mlp.in", .decays = false},
                   {.name = "mlp.out.weight", .shape = {all, hidden_}, .label = "mlp.out"},
                   {.name = "mlp.out.bias", .shape = {all}, .label = "mlp.out", .decays = false}};
    for (ParamSpec& param : spec.params) param.kept = 0;
    spec.params[3].kept = length_ * all;  // what the network computes
    return spec;
  }

  int64_t outputs() const {
    int64_t keys = 0;
    for (const Site& site : choice_.sites) keys += site.output_width;
    return 2 * keys;
  }

  // "<site>.keys" and "<site>.values", [P, K*D], in the dtype of the stored tensors.
  NamedTensors rows_of(const Params& stored) const {
    NamedTensors out;
    Tensor all;  // [P, 2 L K D]
    if (hidden_ > 0) {
      const Tensor inner = at::tanh(graft::linear(stored.at("table"), stored.at("mlp.in.weight"), stored.at("mlp.in.bias")));
      all = graft::linear(inner, stored.at("mlp.out.weight"), stored.at("mlp.out.bias"));
    }
    int64_t column = 0;
    for (const Site& site : choice_.sites) {
      for (const char* part : {".keys", ".values"}) {
        const std::string name = site.name + part;
        out[name] = hidden_ > 0 ? all.slice(1, column, column + site.output_width) : stored.at(name);
        column += site.output_width;
      }
    }
    return out;
  }

  PrefixOptions options_;
  SiteChoice choice_;
  int64_t length_, hidden_;
  bool counts_positions_;
  PrefixInit initial_;
  ModelConfig config_;
};

}  // namespace

const Method kPrefix = {
    .name = "prefix",
    .about = "learned keys and values before those of the tokens, in every attention",
    .options = [] { return option_rows(PrefixOptions{}); },
    .nesting = {nullptr, nullptr,
                "keys and values of a prefix belong to no token that could be routed"},
    .make = make_of<Prefix>,
    .no_fold = "its keys and values come from no token"};

}  // namespace graft
