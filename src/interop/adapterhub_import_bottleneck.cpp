// What a folder of AdapterHub holds of a bottleneck.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "interop/adapterhub_reader.h"
#include "interop/peft.h"

namespace graft {

namespace {

struct Placement {
  std::string name = "sequential";
  bool is_behind_norm = false;  // at the norm's output instead of the sublayer's
};

std::string text_of(bool value) { return value ? "true" : "false"; }

// Which of our placements the switches of AdapterHub add up to.
// h leaves the sublayer, r is its residual, n its norm, A the network.
Placement placement(Options& c) {
  const bool is_parallel = c.boolean("is_parallel", false),
             before = c.boolean("original_ln_before", false),
             after = c.boolean("original_ln_after", true);
  const Node* node = c.raw("residual_before_ln");
  const std::string residual = node == nullptr ? "true" : node->scalar;
  if (is_parallel && after) return {"parallel"};                              // n(h + A(r) + r)
  if (!is_parallel && after && !before && residual != "post_add") return {};  // n(h + A(h) + r)
  if (!is_parallel && after && before && residual == "true")
    return {"pfeiffer"};  // n(h + A(n(h + r)) + r)
  if (!is_parallel && !after && before && residual == "false")
    return {"sequential", true};  // n(h + r) + A(n(h + r))
  c.fault("original_ln_after", "these switches together have no place here: is_parallel " +
                                   text_of(is_parallel) + ", original_ln_before " +
                                   text_of(before) + ", original_ln_after " + text_of(after) +
                                   ", residual_before_ln " + residual);
  return {};
}

// Our words for the network's function and for how its tensors began.
void put_function(Options& c, const std::string& theirs, Node& options) {
  const std::string ours = hub_activation_to_ours(theirs);
  if (ours.empty())
    c.fault("non_linearity",
            "expected relu, gelu, gelu_new, swish, tanh or linear, found " + quote(theirs));
  options["activation"] = Node::text(ours);
  const std::string initial = c.choice("init_weights", "bert", {"bert", "mam_adapter", "houlsby"});
  options["init"] = Node::text(initial == "bert"      ? "normal"
                               : initial == "houlsby" ? "houlsby"
                                                      : "zero-up");
}

// Behind which sublayers the networks stand.
std::vector<std::string> sublayers(Options& c, bool is_behind_norm) {
  std::vector<std::string> parts;
  for (const auto& [key, part] :
       {std::pair{"mh_adapter", "attn."}, std::pair{"output_adapter", "ffn."}}) {
    if (c.boolean(key, std::nullopt))
      parts.push_back(std::string(part) + (is_behind_norm ? "norm" : "out"));
  }
  if (parts.empty())
    c.fault("output_adapter", "expected output_adapter or mh_adapter to be true, found neither");
  return parts;
}

}  // namespace

// The factor of each layer: one number, or a map with a default.
std::map<int64_t, double> HubReader::reductions(Options& c, const std::vector<int64_t>& layers) {
  std::map<int64_t, double> out;
  const Node* node = c.raw("reduction_factor");
  if (node == nullptr || node->kind != Node::Kind::kMap) {
    const double factor = c.number("reduction_factor", std::nullopt, 1e-3, 1e6);
    for (const int64_t layer : layers) out[layer] = factor;
    return out;
  }
  Options& section = c.section("reduction_factor");
  const std::optional<double> fallback =
      section.has("default") ? std::optional(section.number("default", std::nullopt, 1e-3, 1e6))
                             : std::nullopt;
  for (int64_t layer = 0; layer < model_.config.encoder_layers(); ++layer) {
    const std::string key = std::to_string(layer);
    const double factor = section.number(key, fallback, 1e-3, 1e6);
    if (std::find(layers.begin(), layers.end(), layer) != layers.end()) out[layer] = factor;
  }
  return out;
}

std::map<int64_t, std::vector<int64_t>> HubReader::layers_of_width(Options& c) {
  std::map<int64_t, std::vector<int64_t>> out;
  for (const auto& [layer, reduction] : reductions(c, kept_layers(c)))
    out[hub_units(model_.config.width, reduction > 0 ? reduction : 1)].push_back(layer);
  return out;
}

void HubReader::read_bottleneck(Options& c) {
  refuse_fields(c, {{"phm_layer", "Compacter's layers have no place here; expected false"},
                    {"inv_adapter",
                     "invertible adapters behind the embedding have no place here; expected null"},
                    {"ln_before", "a norm of the adapter's own has no place here; expected false"},
                    {"ln_after", "a norm of the adapter's own has no place here; expected false"}});
  ignore_fields(c, {"init_weights_seed", "cross_adapter", "adapter_residual_before_ln",
                    "inv_adapter_reduction_factor", "phm_dim", "factorized_phm_W", "shared_W_phm",
                    "shared_phm_rule", "factorized_phm_rule", "phm_c_init", "phm_init_range",
                    "learn_phm", "hypercomplex_nonlinearity", "phm_rank", "phm_bias"});
  note_training_only(c, "dropout");
  note_training_only(c, "stochastic_depth");
  const Placement placed = placement(c);
  const std::vector<std::string> parts = sublayers(c, placed.is_behind_norm);
  Node shared = Node::map({{"placement", Node::text(placed.name)}});
  put_function(c, activation(c, "relu"), shared);
  const Node* scaling = c.raw("scaling");
  const std::string kind = scaling != nullptr && scaling->is_string
                               ? c.choice("scaling", std::nullopt, {"learned", "channel"})
                               : "";
  const double factor = kind.empty() ? c.number("scaling", 1.0, -1e6, 1e6) : 1.0;
  shared["scaling"] = kind.empty() ? Node::number(factor) : Node::text(kind);
  const bool is_gated = c.boolean("use_gating", false);
  // The gate takes the place of a fixed factor here, and stands beside it there.
  const Node gate =
      Node::map({{"multiplier", Node::text(factor == 1.0 ? "gate" : "gate_times_scale")}});
  for (const auto& [width, layers] : layers_of_width(c)) {
    if (parts.empty()) return;
    const std::vector<Site> sites = sites_at(layers, parts);
    Node options = site_options(sites, model_.sites);
    for (const auto& [key, value] : shared.members) options[key] = value;
    options["width"] = Node::integer(width);
    const Place place = add("bottleneck", std::move(options), is_gated, gate);
    for (const Site& site : sites) read_bottleneck_site(place, site, width, kind, is_gated);
  }
}

void HubReader::read_bottleneck_site(const Place& place, const Site& site, int64_t width,
                                     const std::string& scaling, bool is_gated) {
  const int64_t outer = model_.config.width;
  const std::string theirs = names_.of_sublayer(site), ours = place.own + site.name;
  foreign_.put(ours + ".down.weight",
               tensors_.take(theirs + "adapter_down.0.weight", {width, outer}));
  foreign_.put(ours + ".down.bias", tensors_.take(theirs + "adapter_down.0.bias", {width}));
  foreign_.put(ours + ".up.weight", tensors_.take(theirs + "adapter_up.weight", {outer, width}));
  foreign_.put(ours + ".up.bias", tensors_.take(theirs + "adapter_up.bias", {outer}));
  if (!scaling.empty())
    foreign_.put(ours + ".scaling",
                 tensors_.take(theirs + "scaling", {scaling == "learned" ? 1 : outer}));
  if (is_gated) put_gate(place, site.name, theirs + "gate.", 1, outer);
}

}  // namespace graft
