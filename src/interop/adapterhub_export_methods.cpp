// What a folder of AdapterHub is given of each method: bottlenecks, LoRA and (IA)^3, prefixes,
// ReFT.
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "base/spelling.h"
#include "edit/positions.h"
#include "edit/rotation.h"
#include "interop/adapterhub_writer.h"
#include "interop/rotations.h"

namespace graft {

namespace {

using at::Tensor;

// What AdapterHub writes of each method when nothing is chosen.
constexpr const char* kHubBottleneckFields =
    R"({"adapter_residual_before_ln": false, "cross_adapter": false, "dropout": 0.0, "factorized_phm_W": true,
  "factorized_phm_rule": false, "hypercomplex_nonlinearity": "glorot-uniform", "init_weights": "bert", "init_weights_seed": null, "inv_adapter": null,
  "inv_adapter_reduction_factor": null, "is_parallel": false, "learn_phm": true, "leave_out": [], "ln_after": false, "ln_before": false,
  "mh_adapter": false, "non_linearity": "relu", "original_ln_after": true, "original_ln_before": false, "output_adapter": false, "phm_bias": true,
  "phm_c_init": "normal", "phm_dim": 4, "phm_init_range": 0.0001, "phm_layer": false, "phm_rank": 1, "reduction_factor": 16,
  "residual_before_ln": true, "scaling": 1.0, "shared_W_phm": false, "shared_phm_rule": true, "stochastic_depth": 0.0, "use_gating": false})";
constexpr const char* kHubLoraFields =
    R"({"alpha": 8, "architecture": "lora", "attn_matrices": [], "composition_mode": "add", "dropout": 0.0, "dtype": null,
  "init_weights": "lora", "init_weights_seed": null, "intermediate_lora": false, "leave_out": [], "output_lora": false, "r": 8,
  "selfattn_lora": false, "use_dora": false, "use_gating": false, "vera_b": null, "vera_d": null})";
constexpr const char* kHubPrefixFields =
    R"({"architecture": "prefix_tuning", "bottleneck_size": 512, "cross_prefix": true, "dropout": 0.0, "encoder_prefix": true,
  "flat": false, "init_weights_seed": null, "leave_out": [], "non_linearity": "tanh", "prefix_length": 30, "shared_gating": true, "use_gating": false})";
constexpr const char* kHubReftFields =
    R"({"architecture": "reft", "dropout": 0.05, "dtype": null, "init_weights_seed": null, "layers": "all", "non_linearity": null,
  "orthogonality": true, "output_reft": true, "prefix_positions": 3, "r": 1, "suffix_positions": 0, "tied_weights": true})";

// AdapterHub tells a fixed factor from others by its type: always with a point.
Node with_point(double value) {
  std::string text = Node::number(value).scalar;
  if (text.find_first_of(".eE") == std::string::npos) text += ".0";
  return Node::plain(text);
}

// A number that hub_units turns into `units`; a whole one where there is one.
Node factor_for(int64_t width, int64_t units) {
  const auto exact = static_cast<double>(width) / static_cast<double>(units);
  const auto whole = static_cast<int64_t>(std::floor(exact));
  if (whole > 0 && hub_units(width, static_cast<double>(whole)) == units)
    return Node::integer(whole);
  for (double factor = exact;; factor = std::nextafter(factor, 0.0)) {
    if (hub_units(width, factor) == units) return Node::number(factor);
  }
}

}  // namespace

// ---- bottlenecks: edits that differ in width alone are one configuration with a factor a layer
void HubWriter::write_bottlenecks() {
  std::vector<const Part*> all;
  for (const Part& part : parts_) {
    if (part.kind == "bottleneck") all.push_back(&part);
  }
  const Part& first = *all.front();
  std::vector<Site> sites;
  std::map<int64_t, int64_t> units;  // by layer
  for (const Part* part : all) {
    if (!is_alike(*part, first))
      refuse(*part,
             "AdapterHub keeps one kind of bottleneck in a folder: expected the options of " +
                 first.gate.substr(0, first.gate.size() - 1) + ", but for layers and width");
    for (const Site& site : part->sites) {
      const int64_t width = stored(part->own + site.name + ".down.bias").size(0);
      const auto [found, is_new] = units.emplace(site.layer, width);
      if (found->second != width)
        refuse(*part, "AdapterHub has one width a layer: expected " +
                          std::to_string(found->second) + " at " + site.name + ", found " +
                          std::to_string(width));
      sites.push_back(site);
      write_bottleneck_site(*part, site);
    }
  }
  Node config = parse_json(kHubBottleneckFields, "AdapterHub's fields");
  write_placement(first, rectangle(first, sites, config), config);
  write_factors(units, config);
  const Node& options = first.options;
  config["non_linearity"] = Node::text(our_activation_to_hub(word_in(options, "activation")));
  const std::string& initial = word_in(options, "init");
  config["init_weights"] = Node::text(initial == "normal"    ? "bert"
                                      : initial == "houlsby" ? "houlsby"
                                                             : "mam_adapter");
  config["use_gating"] = Node::boolean(first.is_gated());
  const std::optional<double> factor = options.find_number("scaling");  // else a word
  const bool is_replaced =
      first.is_gated() && word_in(first.gate_options, "multiplier") == "gate";  // by the gate
  config["scaling"] = factor ? with_point(is_replaced ? 1.0 : *factor) : *options.find("scaling");
  configs_.push_back(std::move(config));
}

bool HubWriter::is_alike(const Part& a, const Part& b) {
  const auto rest = [](const Part& part) {
    Node options = part.options;
    std::erase_if(options.members, [](const auto& member) {
      return member.first == "sites" || member.first == "layers" || member.first == "width" ||
             member.first == "reduction";
    });
    return std::pair{to_json(options), to_json(part.gate_options)};
  };
  return rest(a) == rest(b);
}

void HubWriter::write_placement(const Part& part, const SiteParts& parts, Node& config) const {
  const std::string& placement = word_in(part.options, "placement");
  using graft::Part;
  const bool is_behind_norm = is_norm(*parts.begin());
  const auto [attention, ffn] = is_behind_norm ? std::pair{Part::kAttnNorm, Part::kFfnNorm}
                                               : std::pair{Part::kAttnOut, Part::kFfnOut};
  for (const Part each : parts) {
    if (each != attention && each != ffn)
      refuse(part,
             "AdapterHub's bottlenecks stand at attn.out and ffn.out, or at attn.norm and "
             "ffn.norm; found " +
                 std::string(part_name(each)));
  }
  config["mh_adapter"] = Node::boolean(parts.contains(attention));
  config["output_adapter"] = Node::boolean(parts.contains(ffn));
  config["is_parallel"] = Node::boolean(placement == "parallel");
  config["original_ln_before"] = Node::boolean(placement == "pfeiffer" || is_behind_norm);
  config["original_ln_after"] = Node::boolean(!is_behind_norm);
  config["residual_before_ln"] = Node::boolean(!is_behind_norm);
}

void HubWriter::write_factors(const std::map<int64_t, int64_t>& units, Node& config) const {
  const int64_t usual = units.rbegin()->second;
  const Node fallback = factor_for(model_.config.width, usual);
  Node factors = Node::map();
  for (const auto& [layer, own] : units) {
    if (own != usual) factors[std::to_string(layer)] = factor_for(model_.config.width, own);
  }
  if (factors.members.empty()) {
    config["reduction_factor"] = fallback;
    return;
  }
  factors["default"] = fallback;
  config["reduction_factor"] = std::move(factors);
}

void HubWriter::write_bottleneck_site(const Part& part, const Site& site) {
  const std::string theirs = names_.of_sublayer(site), ours = part.own + site.name;
  for (const char* tensor : {"weight", "bias"}) {
    put(theirs + "adapter_down.0." + tensor, stored(ours + ".down." + tensor));
    put(theirs + "adapter_up." + tensor, stored(ours + ".up." + tensor));
  }
  if (tensors_.contains(ours + ".scaling")) put(theirs + "scaling", stored(ours + ".scaling"));
  if (part.is_gated()) put_gate(part, site, theirs + "gate.");
}

// ---- LoRA and (IA)^3
Node HubWriter::linear_config(const Part& part, const char* what) const {
  Node config = parse_json(kHubLoraFields, "AdapterHub's fields");
  std::vector<Node> matrices;
  for (const graft::Part each : rectangle(part, part.sites, config)) {
    switch (each) {
      case graft::Part::kAttnQ: matrices.push_back(Node::text("q")); break;
      case graft::Part::kAttnK: matrices.push_back(Node::text("k")); break;
      case graft::Part::kAttnV: matrices.push_back(Node::text("v")); break;
      case graft::Part::kFfnUp: config["intermediate_lora"] = Node::boolean(true); break;
      case graft::Part::kFfnDown: config["output_lora"] = Node::boolean(true); break;
      default:
        refuse(part, std::string("AdapterHub's ") + what +
                         " acts at attn.q, attn.k, attn.v, ffn.up and ffn.down; found " +
                         std::string(part_name(each)));
    }
  }
  config["selfattn_lora"] = Node::boolean(!matrices.empty());
  config["attn_matrices"] = Node::list(std::move(matrices));
  return config;
}

void HubWriter::write_lora(const Part& part) {
  Node config = linear_config(part, "LoRA");
  const int64_t rank = integer_in(part.options, "rank");
  config["r"] = Node::integer(rank);
  const double stabiliser =
      is_true(part.options, "rslora") ? std::sqrt(static_cast<double>(rank)) : 1.0;
  config["alpha"] = Node::number(number_in(part.options, "alpha") * stabiliser);
  config["dropout"] = with_point(number_in(part.options, "dropout"));
  config["init_weights"] = Node::text(word_in(part.options, "init") == "normal" ? "bert" : "lora");
  config["use_gating"] = Node::boolean(part.is_gated());
  for (const Site& site : part.sites) {
    const std::string theirs = names_.of_linear(site);
    put(theirs + "lora_A", stored(part.own + site.name + ".lora_a"));
    put(theirs + "lora_B", stored(part.own + site.name + ".lora_b"));
    if (part.is_gated()) put_gate(part, site, theirs + "gate.");
  }
  configs_.push_back(std::move(config));
}

void HubWriter::write_scales(const Part& part) {
  if (is_true(part.options, "shift") || !is_true(part.options, "scale"))
    refuse(part, "AdapterHub's (IA)^3 scales and does not shift");
  Node config = linear_config(part, "(IA)^3");
  config["composition_mode"] = Node::text("scale");
  config["init_weights"] = Node::text("ia3");
  config["r"] = config["alpha"] = Node::integer(1);
  for (const Site& site : part.sites)
    put(names_.of_linear(site) + "lora_B", stored(part.own + site.name + ".scale").unsqueeze(1));
  configs_.push_back(std::move(config));
}

// ---- prefixes
void HubWriter::write_prefix(const Part& part) {
  if (is_true(part.options, "counts_positions"))
    refuse(part,
           "AdapterHub's prefix takes no positions: expected counts_positions: false, as it must "
           "be trained");
  Node config = parse_json(kHubPrefixFields, "AdapterHub's fields");
  rectangle(part, part.sites, config);
  const int64_t hidden = integer_in(part.options, "mlp");
  config["prefix_length"] = Node::integer(integer_in(part.options, "length"));
  config["flat"] = Node::boolean(hidden == 0);
  if (hidden > 0) config["bottleneck_size"] = Node::integer(hidden);
  config["use_gating"] = Node::boolean(part.is_gated());
  if (part.is_gated())
    config["shared_gating"] = Node::boolean(word_in(part.gate_options, "prefix") == "shared");
  const std::string theirs = names_.of_prefix();
  if (hidden == 0) {
    std::vector<Tensor> rows;
    for (const Site& site : part.sites) {
      for (const char* name : {".keys", ".values"})
        rows.push_back(stored(part.own + site.name + name));
    }
    put(theirs + "control_trans", at::cat(rows, 1).flatten());
  } else {
    put(theirs + "wte.weight", stored(part.own + "table"));
    for (const char* tensor : {"weight", "bias"}) {
      put(theirs + "control_trans.0." + tensor, stored(part.own + "mlp.in." + tensor));
      put(theirs + "control_trans.2." + tensor, stored(part.own + "mlp.out." + tensor));
    }
  }
  for (const Site& site : part.sites) {
    if (part.is_gated()) put_gate(part, site, names_.of_prefix_gate(site.layer));
  }
  configs_.push_back(std::move(config));
}

// ---- ReFT
void HubWriter::check_reft(const Part& part, const PositionChoice& positions) const {
  const Node& options = part.options;
  if (word_in(options, "source") != "linear")
    refuse(part, "AdapterHub's ReFT has a linear source; " + option_name("to") +
                     " pyreft has constant ones");
  if (is_true(options, "projection_bias"))
    refuse(part, "AdapterHub's ReFT has no bias in its projection");
  if (!options.find("subspace")->items.empty()) refuse(part, "AdapterHub's ReFT has no subspaces");
  if (positions.is_all) refuse(part, "AdapterHub's ReFT edits first and last tokens, not all");
  if (!is_true(options, "subtract") && word_in(options, "activation") != "linear") {
    refuse(part,
           "AdapterHub reads every folder as one that subtracts the projection; without it an edit "
           "goes into that form where "
           "its activation is linear, found " +
               word_in(options, "activation"));
  }
  if (word_in(options, "clamp") != "length")
    refuse(part,
           "AdapterHub edits the first and last tokens of short texts too: expected clamp length, "
           "as it must be trained, found " +
               word_in(options, "clamp"));
  if (is_true(options, "skip_last"))
    refuse(part, "AdapterHub counts the last token, too: expected skip_last: false");
  if (number_in(options, "dropout") > 0 && word_in(options, "dropout_on") != "output")
    refuse(part,
           "AdapterHub's dropout acts on the edited vector: expected dropout_on output, found " +
               word_in(options, "dropout_on"));
  for (const Site& site : part.sites) {
    if (site.part != graft::Part::kOut)
      refuse(part, "AdapterHub's ReFT stands behind whole blocks (out); found " + site.name);
  }
}

void HubWriter::write_reft(const Part& part) {
  const Node& options = part.options;
  const PositionChoice positions = parse_positions(word_in(options, "positions"));
  check_reft(part, positions);
  Node config = parse_json(kHubReftFields, "AdapterHub's fields");
  std::vector<Node> layers;
  for (const Site& site : part.sites) layers.push_back(Node::integer(site.layer));
  if (static_cast<int64_t>(layers.size()) < model_.config.encoder_layers())
    config["layers"] = Node::list(std::move(layers));
  const bool is_rotation = is_true(options, "rotation"),
             is_untied = positions.is_two_sided() && !is_true(options, "tied");
  config["prefix_positions"] = Node::integer(positions.first);
  config["suffix_positions"] = Node::integer(positions.last);
  config["r"] = Node::integer(integer_in(options, "rank"));
  config["orthogonality"] = Node::boolean(is_rotation);
  config["tied_weights"] = Node::boolean(!is_untied);
  config["dropout"] = with_point(number_in(options, "dropout"));
  if (word_in(options, "activation") != "linear")
    config["non_linearity"] = Node::text(word_in(options, "activation"));
  // Its own files lack this field, and its reader forgets it: what it makes of any folder
  // subtracts. Here it tells NoReFT from DiReFT.
  if (!is_rotation) config["subtract_projection"] = Node::boolean(true);
  const bool subtracts = is_true(options, "subtract");
  for (const Site& site : part.sites) {
    const std::string ours = part.own + site.name + ".";
    if (!is_untied)
      write_unit(names_.of_reft(site.layer, 0), ours + "tied.", is_rotation, subtracts);
    else
      write_unit(names_.of_reft(site.layer, 0), ours + "prefix.", is_rotation, subtracts),
          write_unit(names_.of_reft(site.layer, 1), ours + "suffix.", is_rotation, subtracts);
  }
  configs_.push_back(std::move(config));
}

// Without subtraction: W h + b = (W + P) h + b - P h, so that W + P is written for W.
void HubWriter::write_unit(const std::string& theirs, const std::string& ours, bool is_rotation,
                           bool subtracts) {
  const auto put_source = [&](const Tensor& projection) {
    put(theirs + "learned_source.weight",
        subtracts ? stored(ours + "weight") : stored(ours + "weight") + projection);
  };
  put(theirs + "learned_source.bias", stored(ours + "bias"));
  if (!is_rotation) {
    put_source(stored(ours + "projection"));
    return put(theirs + "projection.weight", stored(ours + "projection"));
  }
  const Tensor q =
      rotation_of(stored(ours + "chart").to(at::kDouble), stored(ours + "base").to(at::kDouble))
          .to(at::kFloat);  // [C,R]
  put_source(q.t());
  put(theirs + "projection.parametrizations.weight.original",
      initial_chart(q.size(0), q.size(1)).t());
  put(theirs + "projection.parametrizations.weight.0.base", completed(q));
}

}  // namespace graft
