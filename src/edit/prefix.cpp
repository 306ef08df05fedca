// Prefix tuning: P learned keys and values before those of the tokens, in every attention of the
// chosen layers.
//
// Li and Liang 2021 (arXiv:2101.00190). For each head, with K and V of the tokens,
//   K' = [P_K; K],  V' = [P_V; V],  O = softmax(Q K'^T / sqrt(D)) V'
// The rows stand in the heads' own space (no W_k or W_v acts on them), take no position (unless
// counts_positions) and are seen by every query.
// mlp: 0        P_K and P_V are trained themselves: keys [P, K*D], values [P, K*D] at each site (K
//               heads of keys)
//      M > 0    one network serves all L layers (their sec. 4.3; UniPELT's released code): a table
//               E [P, C] gives
//                 [P, 2 L K D] = tanh(E W_in^T + b_in) W_out^T + b_out
//               with columns in the order (layer, key or value, head, dimension), and only this
//               result is needed once training is over (`flattened`).
// counts_positions: true   the tokens' positions begin at P, as where a prefix is a cache of keys
//                          and values (PEFT)
#include <ATen/ops/tanh.h>

#include <cmath>
#include <tuple>

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
      : options_(read_options_at(options, target, PrefixOptions{})), config_(target.config) {
    if (options_.counts_positions && target.config.is_encoder_decoder()) {
      options.fault("counts_positions", "positions are counted in one stack; " +
                                            target.config.model_type + " has two: leave it out");
    }
    for (const Site& site : options_.where.sites) {
      if (site.kind != SiteKind::kAttention)
        options.fault("sites", "prefix acts on attention sites; " + site.name + " is a " +
                                   kind_name(site.kind) + " site");
    }
    declare_tensors();
  }

  std::string method() const override { return kPrefix.name; }
  Node describe_options() const override { return options_node(options_); }

  // `keys` and `values` of each site, [P, K, D].
  TensorList derive(const Params& stored, const Weights& weights, Experts) const override {
    const TensorList all = rows_of(stored);
    TensorList out(num_derived());
    int32_t next = 0;
    for (const Site& site : options_.where.sites) {
      const auto heads = [&](const Tensor& rows) {
        return rows.to(weights.dtype()).unflatten(1, {config_.stack(site.stack).key_heads, -1});
      };
      out[rows_.at(site).keys] = heads(all[{next++}]);
      out[rows_.at(site).values] = heads(all[{next++}]);
    }
    return out;
  }

  // weight.rows: [N, G] by sequence; G = 2: for keys and values apart.
  std::optional<PrefixRows> prefix(const Params& derived, const SiteView& view,
                                   const Weight& weight, const Context&) const override {
    LanePrefix out;
    out.keys = derived[rows_.at(view.site).keys];
    out.values = derived[rows_.at(view.site).values];
    if (weight.rows.defined()) {
      const Tensor scales = weight.rows * weight.scale;
      out.key_scale = scales.select(1, 0);
      out.value_scale = scales.select(1, scales.size(1) - 1);
    } else if (weight.scale != 1.0) {  // not of the rows themselves, which may be of bfloat16
      const at::ScalarType wide = out.keys.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
      out.key_scale = out.value_scale = at::full({view.lane.num_sequences}, weight.scale, wide);
    }
    return PrefixRows{std::move(out)};
  }

  std::optional<Flattened> flattened(const Params& stored) const override {
    if (options_.hidden == 0) return std::nullopt;
    PrefixOptions trained_rows = options_;
    trained_rows.hidden = 0;
    Flattened out{Node::map({{method(), options_node(trained_rows)}}), rows_of(stored)};
    for (Tensor& rows : out.tensors) rows = rows.contiguous();
    return out;
  }

 private:
  struct Rows {
    ParamId keys, values;
  };
  struct Network {
    ParamId table, in_weight, in_bias, out_weight, out_bias;
  };

  void declare_tensors() {
    spec_.sites = options_.where.sites;
    if (options_.counts_positions) spec_.traits.layout.first_position = options_.length;
    if (options_.hidden == 0) {
      for (const Site& site : options_.where.sites) {
        const ParamSpec rows{.shape = {options_.length, site.output_width},
                             .initial = initial_of_rows()};
        rows_[site] = {.keys = declare(site, "keys", rows),
                       .values = declare(site, "values", rows)};
      }
      return;
    }
    const int64_t all = outputs();
    network_.table = declare({.name = "table",
                              .shape = {options_.length, config_.width},
                              .label = "table",
                              .kept = 0,
                              .initial = initial_of_rows()});
    const auto layer = [&](const std::string& name, int64_t out, int64_t in, int64_t kept) {
      return std::pair{declare({.name = name + ".weight",
                                .shape = {out, in},
                                .label = name,
                                .kept = kept,
                                .initial = initial_of_layer(in, false)}),
                       declare({.name = name + ".bias",
                                .shape = {out},
                                .label = name,
                                .decays = false,
                                .kept = 0,
                                .initial = initial_of_layer(in, true)})};
    };
    std::tie(network_.in_weight, network_.in_bias) =
        layer("mlp.in", options_.hidden, config_.width, 0);
    std::tie(network_.out_weight, network_.out_bias) =
        layer("mlp.out", all, options_.hidden, options_.length * all);  // what the network computes
    for (const Site& site : options_.where.sites)
      rows_[site] = {.keys = declare_derived(), .values = declare_derived()};
  }

  // normal: all weights N(0, 0.02^2), biases 0, as UniPELT's released code; default: as PyTorch
  // draws an embedding (N(0, 1)) and a linear layer (weight and bias uniform within 1/sqrt(in)), as
  // AdapterHub does; keys and values trained themselves N(0, 1).
  Initial initial_of_rows() const {
    return normal(options_.init == PrefixInit::kNormal ? 0.02 : 1.0);
  }
  Initial initial_of_layer(int64_t in, bool is_bias) const {
    if (options_.init != PrefixInit::kNormal)
      return uniform(1.0 / std::sqrt(static_cast<double>(in)));
    return is_bias ? zeros() : normal(0.02);
  }

  int64_t outputs() const {
    int64_t keys = 0;
    for (const Site& site : options_.where.sites) keys += site.output_width;
    return 2 * keys;
  }

  // Keys and values of each site in turn, [P, K*D], in the dtype of the stored tensors.
  TensorList rows_of(const Params& stored) const {
    TensorList out;
    if (options_.hidden == 0) {
      for (const Site& site : options_.where.sites) {
        out.append(stored[rows_.at(site).keys]);
        out.append(stored[rows_.at(site).values]);
      }
      return out;
    }
    const Tensor inner = at::tanh(graft::linear(stored[network_.table], stored[network_.in_weight],
                                                stored[network_.in_bias]));
    const Tensor all = graft::linear(inner, stored[network_.out_weight],
                                     stored[network_.out_bias]);  // [P, 2 L K D]
    int64_t column = 0;
    for (const Site& site : options_.where.sites) {
      for (int both = 0; both < 2; ++both, column += site.output_width)
        out.append(all.slice(1, column, column + site.output_width));
    }
    return out;
  }

  PrefixOptions options_;
  ModelConfig config_;
  BySite<Rows> rows_;
  Network network_;  // with mlp
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
