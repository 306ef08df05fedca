// A gate: a learned weight per example for the edit inside it.
//
// Mao et al. 2022, "UniPELT" (arXiv:2110.07577), sec. 3.2, pooled as in its released code. For the
// T rows z_t of a sequence that the edit reads,
//   g = mean_t sigmoid(z_t w + b)    one pair a site: w = gate.weight [1, C], b = gate.bias [1]
// and g takes the place of the edit's own factor: y' = y + g * delta(z); keys and values of a
// prefix become g P_K and g P_V.
// How the mean is taken is the option pool (edit/gate_pooling.cpp).
// A prefix whose rows are scaled to zero still draws attention (its logits are 0, not -inf);
// prefix_logits: log adds log g to them.
#include "edit/gate.h"

#include <ATen/ops/full.h>
#include <ATen/ops/log.h>
#include <ATen/ops/sigmoid.h>

#include <algorithm>

#include "base/error.h"
#include "edit/gate_pooling.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/sequences.h"
#include "tensor/linear.h"

namespace graft {

using at::Tensor;

void visit_multiplier(OptionVisitor& v, Multiplier& multiplier) {
  v.choice("multiplier", multiplier, kMultipliers,
           "the gate takes the place of the edit's own factor (alpha/R), or multiplies it");
}

Tensor cached(Memory* memory, const MemoryKey& key, const std::function<Tensor()>& values) {
  if (memory == nullptr) return values();
  const auto found = memory->find(key);
  return found != memory->end() ? found->second : (*memory)[key] = values();
}

std::array<ParamSpec, 2> gate_params(const Place& place, std::optional<Place> site, int64_t outputs,
                                     int64_t width) {
  const std::string name = to_name(place) + ".gate";
  ParamSpec weight{.name = name + ".weight",
                   .shape = {outputs, width},
                   .site = site,
                   .label = std::string(part_name(place.part)) + ".gate",
                   .bank = "gate",
                   .is_wide = true,
                   .use = ParamUse::kGate,
                   .initial = normal(0.02)};
  ParamSpec bias = weight;
  bias.name = name + ".bias";
  bias.shape = {outputs};
  bias.decays = false;
  bias.initial = zeros();
  return {weight, bias};
}

Tensor gate_logits(const Params& derived, const GateParams& gate, const Tensor& z) {
  const Tensor weight = derived[gate.weight];
  return graft::linear(z.to(weight.scalar_type()), weight, derived[gate.bias]);
}

Place attention_of(const Site& site) {
  return {site.stack, site.layer, is_cross(site.part) ? Part::kCross : Part::kAttn};
}

bool reads_attention_input(const Site& site) {
  return is_queries(site.part) || site.part == Part::kAttnK || site.part == Part::kAttnV ||
         site.kind == SiteKind::kAttention;
}

Weight times_rows(const Weight& weight, const Tensor& rows) {
  return {weight.scale, weight.rows.defined() ? weight.rows * rows : rows};
}

std::string gate_name(const Site& site) { return site.name + ".gate"; }

std::vector<std::string> gates_before(const EditSpec& own, const std::vector<std::string>& inside) {
  std::vector<std::string> out;
  for (const Site& site : own.sites) out.push_back(gate_name(site));
  out.insert(out.end(), inside.begin(), inside.end());
  return out;
}

SideOutputs gate_record(const Context& context, const Site& site, const Tensor& by_sequence) {
  if (!context.keeps_records) return {};
  const Tensor value = by_sequence.detach();
  SideOutputs side;
  side.records.push_back({gate_name(site), value.size(1) == 1 ? value.squeeze(1) : value});
  return side;
}

std::optional<double> forced_gate(const Context& context, const Site& site) {
  std::optional<double> value;
  if (context.forced_gates == nullptr) return value;
  for (const ForcedGate& gate : *context.forced_gates)
    if (gate_name(site).starts_with(gate.name)) value = gate.value;
  return value;
}

namespace {

// Through float64: the float32 kernels round the last few values of a tensor another way, and a row
// must not depend on its place.
Tensor sigmoid_exact(const Tensor& logits) {
  return at::sigmoid(logits.to(at::kDouble)).to(logits.scalar_type());
}

enum class GateKind { kOwn, kCentral };
constexpr Name<GateKind> kGateKinds[] = {{GateKind::kOwn, "own"}, {GateKind::kCentral, "central"}};

constexpr Name<bool> kPrefixLogits[] = {{false, "off"}, {true, "log"}};   // adds_logarithm
constexpr Name<int64_t> kPrefixGates[] = {{1, "shared"}, {2, "split"}};   // prefix_gates
constexpr Name<bool> kShares[] = {{false, "separate"}, {true, "layer"}};  // is_shared

struct GateOptions {
  GateKind kind = GateKind::kOwn;
  bool is_prefix = true;  // what it is a gate of
  std::optional<double> value = {};
  Multiplier multiplier = Multiplier::kGateAlone;
  bool adds_logarithm = false;
  GatePooling::Choice pooling = {};
  int64_t prefix_gates = 1;
  bool is_shared = false;

  void visit(OptionVisitor& v) {
    if (!v.writes())
      v.choice("kind", kind, kGateKinds,
               "a gate of one edit, or one softmax a layer over several (a list below of)");
    v.number_or("learned", "value", value, {0, 1}, "the gate's value: learned, or fixed");
    visit_multiplier(v, multiplier);
    if (v.applies(is_prefix))
      v.choice("prefix_logits", adds_logarithm, kPrefixLogits,
               "around a prefix: whether log g is added to the logits of its rows");
    if (value) return;
    pooling.visit(v);
    if (v.applies(is_prefix))
      v.choice("prefix", prefix_gates, kPrefixGates,
               "around a prefix: one gate for keys and values, or one each");
    if (v.applies(!is_prefix))
      v.choice("share", is_shared, kShares,
               "whether attn.q, attn.k and attn.v of a layer share a gate");
  }
};

class Gate final : public Combinator {
 public:
  Gate(Options& options, const EditTarget& target, EditList children)
      : Combinator(std::move(children)), inner_(child().spec()) {
    const bool is_prefix =
        std::any_of(inner_.sites.begin(), inner_.sites.end(),
                    [](const Site& site) { return site.kind == SiteKind::kAttention; });
    options_ = read_options(options, GateOptions{.is_prefix = is_prefix,
                                                 .pooling = GatePooling::defaults(target, false)});
    if (!options_.is_prefix && options.has("prefix_logits"))
      options.fault("prefix_logits", "only for a gate around a prefix, found " + child().method());
    if (options_.value) {
      check_fixed(options);
    } else {
      check_learned(options, target);
      options_.pooling = pooling_.described();
      declare_gates();
    }
    declare_children();
    spec_.traits.gives_records = true;
    spec_.traits.reads = std::max(spec_.traits.reads, pooling_.reads());
    spec_.traits.layout.padded_length =
        std::max(spec_.traits.layout.padded_length, pooling_.padded_length());
  }

  std::string method() const override { return kGate.name; }
  Node describe_options() const override { return options_node(options_); }

  // The gate stands in the place of alpha/r; gate_times_scale keeps that as a factor.
  double scale(const Site& site) const override {
    return options_.multiplier == Multiplier::kGateTimesScale ? child().scale(site) : 1.0;
  }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    const std::optional<double> value = fixed_value(context, view.site);
    const PooledGate gate =
        value ? PooledGate{fixed(*value, view), {}} : row_gate(derived, view, input, context);
    Change out = child().change(derived_of(0, derived), view, input,
                                times(weight, value, gate.by_row), context_of(0, context));
    SideOutputs own = value ? gate_record(context, view.site, gate.by_group)
                            : recorded(derived, view, input, gate.by_group, context);
    out.side = merged_side(std::move(own), 0, std::move(out.side));
    return out;
  }

  std::optional<PrefixRows> prefix(const Params& derived, const SiteView& view,
                                   const Weight& weight, const Context& context) const override {
    const std::optional<double> value = fixed_value(context, view.site);
    const Tensor means =
        value ? fixed(*value, view) : pooled(derived, view, view.x).by_group;  // [N, 1 or 2]
    std::optional<PrefixRows> out = child().prefix(
        derived_of(0, derived), view, times(weight, value, means), context_of(0, context));
    if (!out) return out;
    if (options_.adds_logarithm) add_logarithm(out->rows, means);
    SideOutputs own = value ? gate_record(context, view.site, means)
                            : recorded(derived, view, view.x, means, context);
    out->side = merged_side(std::move(own), 0, std::move(out->side));
    return out;
  }

  std::vector<std::string> gates() const override {
    return gates_before(spec_, Combinator::gates());
  }

 private:
  static void check_fixed(Options& options) {
    for (const char* key : {"pool", "padded_to", "share", "prefix"}) {
      if (options.has(key)) options.fault(key, "a gate of a fixed value reads no row");
    }
  }

  void check_learned(Options& options, const EditTarget& target) {
    using Kind = GatePooling::Kind;
    pooling_ = GatePooling(options, options_.pooling, target, inner_.sites,
                           options_.is_prefix ? Kind::kPromptMean : Kind::kCausalMean);
    if (options_.is_prefix) {
      if (options_.prefix_gates == 2 && options_.adds_logarithm)
        options.fault("prefix_logits", "log needs prefix: shared, one weight for keys and values");
      if (pooling_.has(Kind::kCausalMean))
        options.fault("pool",
                      "a prefix has one weight for a whole sequence; causal_mean has one a row");
      if (options.has("share"))
        options.fault("share",
                      "only for edits at linear sites; a prefix has one gate a layer already");
      return;
    }
    if (options.has("prefix"))
      options.fault("prefix", "only for a gate around a prefix, found " + child().method());
    for (const Site& site : inner_.sites) {
      if (!options_.is_shared) continue;
      if (!reads_attention_input(site))
        options.fault("share",
                      "layer: attn.q, attn.k and attn.v read one input and may share a gate; " +
                          site.name + " does not");
      else if (!reads_layer_input(child(), site))
        options.fault("share", "layer: " + child().method() +
                                   " reads what leaves its site, where sites have no input in "
                                   "common; leave it out");
      else continue;
      return;
    }
  }

  // The learned gate's value by sequence and by row.
  PooledGate pooled(const Params& derived, const SiteView& view, const Tensor& z) const {
    const auto [weight, bias] = gates_.at(view.site);
    return pooled_gate(z, derived[weight], derived[bias],
                       sequence_groups(view, pooling_.counted(view.site)));
  }

  // The same where text is written token by token, too. by_group: for records.
  PooledGate row_gate(const Params& derived, const SiteView& view, const Tensor& z,
                      const Context& context) const {
    const GatePooling::Kind kind = pooling_.at(view.site);
    if (kind == GatePooling::Kind::kCausalMean) return running_gate(derived, view, z, context);
    if (kind != GatePooling::Kind::kPromptMean || context.memory == nullptr)
      return pooled(derived, view, z);
    const Tensor kept = cached(context.memory, memory_key(view, context),
                               [&] { return pooled(derived, view, z).by_group; });
    return {kept, spread_to_rows(view, kept)};
  }

  // A value of its own for each row. What is recorded of a sequence is its last one.
  PooledGate running_gate(const Params& derived, const SiteView& view, const Tensor& z,
                          const Context& context) const {
    const Tensor values = sigmoid_exact(gate_logits(derived, gates_.at(view.site), z));  // [T, 1]
    return {context.keeps_records ? mean_by_sequence(view, values) : Tensor(),
            running_mean(view, values, context.memory, memory_key(view, context))};
  }

  // What is recorded of a learned gate: its value by sequence and, if asked for, that of every
  // token before any mean.
  SideOutputs recorded(const Params& derived, const SiteView& view, const Tensor& z,
                       const Tensor& by_sequence, const Context& context) const {
    SideOutputs side = gate_record(context, view.site, by_sequence);
    if (context.keeps_records && context.records_tokens)
      side.records.push_back(
          token_record(view, gate_name(view.site),
                       sigmoid_exact(gate_logits(derived, gates_.at(view.site), z))));
    return side;
  }

  MemoryKey memory_key(const SiteView& view, const Context& context) const {
    return {.edit = this, .expert = context.expert, .site = view.site.index};
  }

  void declare_gates() {
    std::optional<Place> last;
    GateParams gate;
    for (const Site& site : inner_.sites) {
      const Place place = options_.is_shared ? attention_of(site) : Place(site);
      if (place != last) {  // a gate that a layer shares is made at its first site
        const int64_t width = options_.is_prefix ? site.input_width : input_width(child(), site);
        const auto [weight, bias] =
            gate_params(place, options_.is_shared ? std::nullopt : std::optional(place),
                        options_.prefix_gates, width);
        gate = {.weight = declare(weight), .bias = declare(bias)};
      }
      gates_[site] = gate;
      last = place;
    }
  }

  // Forced, or its option.
  std::optional<double> fixed_value(const Context& context, const Site& site) const {
    const std::optional<double> forced = forced_gate(context, site);
    return forced ? forced : options_.value;
  }

  // [N, 1]: a fixed value, for records and logarithms; edits get it as a number.
  static Tensor fixed(double value, const SiteView& view) {
    return at::full({view.lane.num_sequences, 1}, value, at::kFloat);
  }

  // weight * g. `values`: those of a learned gate, by row or by sequence.
  static Weight times(const Weight& weight, std::optional<double> fixed, const Tensor& values) {
    return fixed ? Weight{weight.scale * *fixed, weight.rows} : times_rows(weight, values);
  }

  // Adds log g to the logits of the prefix: g -> 0 takes its rows out of the softmax.
  // At least log 1e-30, so that the gradient is finite.
  static void add_logarithm(LanePrefix& prefix, const Tensor& gates) {
    const Tensor bias =
        at::log(gates.to(at::kDouble).clamp_min(1e-30)).to(gates.scalar_type()).squeeze(1);  // [N]
    prefix.logit_bias = prefix.logit_bias.defined() ? prefix.logit_bias + bias : bias;
  }

  GateOptions options_;
  const EditSpec& inner_;
  BySite<GateParams> gates_;
  GatePooling pooling_;
};

std::unique_ptr<Edit> make_gate(Options& options, const EditTarget& target, EditList children) {
  if (options.choice("kind", GateKind::kOwn, kGateKinds) == GateKind::kCentral)
    return make_central_gate(options, target, std::move(children));
  if (children.size() > 1)
    options.fault("", "of: one edit has one gate; a list goes with kind: central");
  children.resize(1);
  return std::make_unique<Gate>(options, target, std::move(children));
}

}  // namespace

const Method kGate = {.name = "gate",
                      .about = "a learned weight per example for the edit inside it",
                      .options = [] { return option_rows(GateOptions{}); },
                      .nesting = kNestsAnywhere,
                      .make_around = make_gate,
                      .refusal = &Nesting::no_gate,
                      .no_fold = "its weight is another one for every example",
                      .takes_several = true};

}  // namespace graft
