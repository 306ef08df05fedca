// What a folder of AdapterHub holds of each method: bottlenecks, LoRA and (IA)^3, prefixes, ReFT.
#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/spelling.h"
#include "interop/adapterhub_reader.h"
#include "interop/peft.h"
#include "interop/rotations.h"

namespace graft {

namespace {

using at::Tensor;

const std::map<std::string, std::string> kReftActivations = {
    {"relu", "relu"}, {"gelu", "gelu"},  {"gelu_new", "gelu_new"}, {"tanh", "tanh"},
    {"silu", "silu"}, {"swish", "silu"}, {"sigmoid", "sigmoid"},   {"linear", "linear"}};

// {major, minor} of "adapters.1.3.0"; nothing for another form, which later versions read as it is.
std::optional<std::pair<int64_t, int64_t>> adapters_version(const std::string& text) {
  constexpr std::string_view kStart = "adapters.";
  if (!text.starts_with(kStart)) return std::nullopt;
  int64_t major = 0, minor = 0;
  const char* const end = text.data() + text.size();
  const auto [dot, first_error] = std::from_chars(text.data() + kStart.size(), end, major);
  if (first_error != std::errc{} || dot == end || *dot != '.') return std::nullopt;
  if (std::from_chars(dot + 1, end, minor).ec != std::errc{}) return std::nullopt;
  return std::pair{major, minor};
}

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

}  // namespace

// ---- bottlenecks

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
  std::vector<std::string> parts;
  for (const auto& [key, part] :
       {std::pair{"mh_adapter", "attn."}, std::pair{"output_adapter", "ffn."}}) {
    if (c.boolean(key, std::nullopt))
      parts.push_back(std::string(part) + (placed.is_behind_norm ? "norm" : "out"));
  }
  if (parts.empty())
    c.fault("output_adapter", "expected output_adapter or mh_adapter to be true, found neither");
  Node shared = Node::map({{"placement", Node::text(placed.name)}});
  const std::string theirs = activation(c, "relu"), ours = hub_activation_to_ours(theirs);
  if (ours.empty())
    c.fault("non_linearity",
            "expected relu, gelu, gelu_new, swish, tanh or linear, found " + quote(theirs));
  shared["activation"] = Node::text(ours);
  const std::string initial = c.choice("init_weights", "bert", {"bert", "mam_adapter", "houlsby"});
  shared["init"] = Node::text(initial == "bert"      ? "normal"
                              : initial == "houlsby" ? "houlsby"
                                                     : "zero-up");
  const Node* scaling = c.raw("scaling");
  const std::string kind = scaling != nullptr && scaling->is_string
                               ? c.choice("scaling", std::nullopt, {"learned", "channel"})
                               : "";
  const double factor = kind.empty() ? c.number("scaling", 1.0, -1e6, 1e6) : 1.0;
  shared["scaling"] = kind.empty() ? Node::number(factor) : Node::text(kind);
  const bool is_gated = c.boolean("use_gating", false);

  std::map<int64_t, std::vector<int64_t>> layers_of_width;
  const std::vector<int64_t> layers = kept_layers(c);
  for (const auto& [layer, reduction] : reductions(c, layers))
    layers_of_width[hub_units(model_.config.width, reduction > 0 ? reduction : 1)].push_back(layer);
  for (const auto& [width, of_width] : layers_of_width) {
    if (parts.empty()) return;
    const std::vector<Site> sites = sites_at(of_width, parts);
    Node options = site_options(sites, model_.sites);
    for (const auto& [key, value] : shared.members) options[key] = value;
    options["width"] = Node::integer(width);
    // The gate takes the place of a fixed factor here, and stands beside it there.
    const Node gate =
        Node::map({{"multiplier", Node::text(factor == 1.0 ? "gate" : "gate_times_scale")}});
    const Place place = add("bottleneck", std::move(options), is_gated, gate);
    for (const Site& site : sites) read_bottleneck_site(place, site, width, kind, is_gated);
  }
}

void HubReader::read_bottleneck_site(const Place& place, const Site& site, int64_t width,
                                     const std::string& scaling, bool is_gated) {
  const int64_t outer = model_.config.width;
  const std::string theirs = names_.of_sublayer(site), ours = place.own + site.name;
  put(ours + ".down.weight", tensors_.take(theirs + "adapter_down.0.weight", {width, outer}));
  put(ours + ".down.bias", tensors_.take(theirs + "adapter_down.0.bias", {width}));
  put(ours + ".up.weight", tensors_.take(theirs + "adapter_up.weight", {outer, width}));
  put(ours + ".up.bias", tensors_.take(theirs + "adapter_up.bias", {outer}));
  if (!scaling.empty())
    put(ours + ".scaling", tensors_.take(theirs + "scaling", {scaling == "learned" ? 1 : outer}));
  if (is_gated) put_gate(place, site.name, theirs + "gate.", 1, outer);
}

// ---- LoRA and (IA)^3
void HubReader::read_lora(Options& c) {
  refuse_fields(c, {{"use_dora",
                     "AdapterHub's DoRA leaves alpha/r out of the norm and stretches the bias, "
                     "which has no place here; expected false"},
                    {"vera_d", "VeRA of AdapterHub is not read; expected null"},
                    {"vera_b", "VeRA of AdapterHub is not read; expected null"}});
  ignore_fields(c, {"init_weights_seed", "dtype"});
  std::vector<std::string> parts;
  const std::vector<std::string> matrices =
      c.texts("attn_matrices", std::vector<std::string>{"q", "v"});
  const bool attention = c.boolean("selfattn_lora", true),
             up = c.boolean("intermediate_lora", false), down = c.boolean("output_lora", false);
  for (const std::string& matrix : matrices) {
    if (matrix != "q" && matrix != "k" && matrix != "v")
      c.fault("attn_matrices", "expected q, k and v, found " + quote(matrix));
    else if (attention) parts.push_back("attn." + matrix);
  }
  if (up) parts.emplace_back("ffn.up");
  if (down) parts.emplace_back("ffn.down");
  if (parts.empty())
    c.fault("selfattn_lora",
            "expected selfattn_lora, intermediate_lora or output_lora to be true, found none");
  const std::vector<Site> sites = sites_at(kept_layers(c), parts);
  const int64_t rank = c.integer("r", 8, 1, 4096);
  double alpha = c.number("alpha", 8.0, 0, 1e6);
  // Versions before 1.1 left alpha/r out of the product.
  if (const auto version = adapters_version(version_);
      version && *version < std::pair<int64_t, int64_t>{1, 1})
    alpha = static_cast<double>(rank);
  const std::string mode = c.choice("composition_mode", "add", {"add", "scale"});
  const std::string initial = c.choice("init_weights", "lora", {"lora", "bert", "ia3"});
  const double dropout = c.number("dropout", 0.0, 0, 0.99);
  const bool is_gated = c.boolean("use_gating", false);
  if (mode == "scale") return read_scales(c, sites, rank, alpha, dropout, is_gated);
  Node options = site_options(sites, model_.sites);
  options["rank"] = Node::integer(rank);
  options["alpha"] = Node::number(alpha);
  options["dropout"] = Node::number(dropout);
  options["init"] = Node::text(initial == "bert" ? "normal" : "kaiming");
  const Place place = add("lora", std::move(options), is_gated);
  for (const Site& site : sites) {
    const std::string theirs = names_.of_linear(site);
    put(place.own + site.name + ".lora_a",
        tensors_.take(theirs + "lora_A", {rank, site.input_width}));
    put(place.own + site.name + ".lora_b",
        tensors_.take(theirs + "lora_B", {site.output_width, rank}));
    if (is_gated) put_gate(place, site.name, theirs + "gate.", 1, site.input_width);
  }
}

// y' = (alpha b) * y: alpha goes into the vector.
void HubReader::read_scales(Options& c, const std::vector<Site>& sites, int64_t rank, double alpha,
                            double dropout, bool is_gated) {
  if (rank != 1)
    c.fault("r", "expected 1 with composition_mode scale, found " + std::to_string(rank));
  if (dropout > 0) c.fault("dropout", "expected 0 with composition_mode scale");
  if (is_gated)
    c.fault("use_gating",
            "a gate that multiplies the whole output, and not the change, has no place here; "
            "expected false");
  Node options = site_options(sites, model_.sites);
  options["scale"] = Node::boolean(true);
  options["shift"] = Node::boolean(false);
  const Place place = add("affine", std::move(options), false);
  for (const Site& site : sites) {
    const Tensor scale = tensors_.take(names_.of_linear(site) + "lora_B", {site.output_width, 1});
    if (scale.defined()) put(place.own + site.name + ".scale", scale.flatten() * alpha);
  }
}

// ---- prefixes
void HubReader::read_prefix(Options& c) {
  ignore_fields(
      c, {"init_weights_seed", "encoder_prefix", "cross_prefix"});  // of models with a decoder
  note_training_only(c, "dropout");
  const std::vector<int64_t> layers = kept_layers(c);
  const int64_t length = c.integer("prefix_length", 30, 1, 4096), width = model_.config.width,
                columns = 2 * model_.config.last().key_width();
  const bool is_flat = c.boolean("flat", false), is_gated = c.boolean("use_gating", false),
             is_shared = c.boolean("shared_gating", true);
  const int64_t hidden = c.integer("bottleneck_size", 512, 1, 1 << 20);
  const std::string function = activation(c, "tanh");
  if (!is_flat && function != "tanh")
    c.fault("non_linearity",
            "expected tanh between the layers of a prefix's network, found " + quote(function));
  std::vector<Site> sites = sites_at(layers, {"attn"});
  Node options = site_options(sites, model_.sites);
  options["length"] = Node::integer(length);
  options["mlp"] = Node::integer(is_flat ? 0 : hidden);
  options["init"] = Node::text("default");
  const Place place = add("prefix", std::move(options), is_gated,
                          Node::map({{"prefix", Node::text(is_shared ? "shared" : "split")}}));
  const std::string theirs = names_.of_prefix();
  const auto count = static_cast<int64_t>(sites.size());
  if (is_flat) {
    const Tensor all = tensors_.take(theirs + "control_trans", {length * count * columns});
    for (int64_t i = 0; all.defined() && i < count; ++i) {
      const Tensor rows = all.view({length, 2 * count, columns / 2});
      put(place.own + sites[static_cast<size_t>(i)].name + ".keys",
          rows.select(1, 2 * i).contiguous());
      put(place.own + sites[static_cast<size_t>(i)].name + ".values",
          rows.select(1, 2 * i + 1).contiguous());
    }
  } else {
    put(place.own + "table", tensors_.take(theirs + "wte.weight", {length, width}));
    put(place.own + "mlp.in.weight",
        tensors_.take(theirs + "control_trans.0.weight", {hidden, width}));
    put(place.own + "mlp.in.bias", tensors_.take(theirs + "control_trans.0.bias", {hidden}));
    put(place.own + "mlp.out.weight",
        tensors_.take(theirs + "control_trans.2.weight", {count * columns, hidden}));
    put(place.own + "mlp.out.bias",
        tensors_.take(theirs + "control_trans.2.bias", {count * columns}));
  }
  drop_copies(theirs);
  for (const Site& site : sites) {
    if (is_gated)
      put_gate(place, site.name, names_.of_prefix_gate(site.layer), is_shared ? 1 : 2, width);
  }
}

// Every layer holds the pool of prefixes again: under another name the same tensors.
void HubReader::drop_copies(const std::string& first) {
  for (int64_t layer = 0; layer < model_.config.encoder_layers(); ++layer) {
    const std::string copy = names_.of_prefix_copy(layer);
    for (auto it = tensors_.all().lower_bound(copy);
         it != tensors_.all().end() && it->first.starts_with(copy); ++it) {
      const auto original = tensors_.all().find(first + it->first.substr(copy.size()));
      tensors_.drop(it->first);
      if (original == tensors_.all().end() || !original->second.equal(it->second))
        tensors_.fault("tensor " + quote(it->first) + " differs from " +
                       quote(first + it->first.substr(copy.size())) +
                       ", of which it is a second copy");
    }
  }
}

// ---- ReFT
struct HubReader::Positions {
  int64_t first = 0, last = 0;
  bool is_tied = true;
  std::string text() const {
    return (first > 0 ? "f" + std::to_string(first) : "") + (first > 0 && last > 0 ? "+" : "") +
           (last > 0 ? "l" + std::to_string(last) : "");
  }
};

std::vector<int64_t> HubReader::reft_layers(Options& c) {
  const Node* node = c.raw("layers");
  if (node == nullptr || (node->kind == Node::Kind::kScalar && node->scalar == "all"))
    return kept_layers(c);
  std::vector<int64_t> layers =
      c.integers("layers", std::nullopt, 0, model_.config.encoder_layers() - 1);
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  if (layers.empty()) c.fault("layers", "expected at least one layer");
  return layers;
}

// A field that the class of the configuration has, and that its writer leaves out.
bool HubReader::subtracts(Options& c, bool is_rotation) {
  if (c.has("subtract_projection")) return c.boolean("subtract_projection", std::nullopt);
  if (is_rotation) return true;
  asked_for_kind_ = true;
  if (answers_.reft_kind.empty()) {
    c.fault("orthogonality",
            "AdapterHub writes NoReFT and DiReFT alike (subtract_projection is not in the file): "
            "say which this is with " +
                option_name("reft_kind") + " noreft or " + option_name("reft_kind") + " direft");
  } else if (answers_.reft_kind != "noreft" && answers_.reft_kind != "direft") {
    c.fault("orthogonality", option_name("reft_kind") + ": expected noreft or direft, found " +
                                 quote(answers_.reft_kind));
  }
  return answers_.reft_kind != "direft";
}

void HubReader::read_reft(Options& c) {
  ignore_fields(c, {"dtype", "init_weights_seed"});
  if (!c.boolean("output_reft", true))
    c.fault("output_reft", "expected true: there is no other place");
  const std::vector<Site> sites = sites_at(reft_layers(c), {"out"});
  const int64_t rank = c.integer("r", 1, 1, model_.config.width - 1);
  Positions positions{c.integer("prefix_positions", 3, 0, 4096),
                      c.integer("suffix_positions", 0, 0, 4096), c.boolean("tied_weights", false)};
  if (positions.first == 0 && positions.last == 0)
    c.fault("prefix_positions",
            "expected prefix_positions or suffix_positions above 0, found neither");
  const bool is_rotation = c.boolean("orthogonality", std::nullopt);
  const std::string theirs =
      is_unused(c.raw("non_linearity")) ? "linear" : c.text("non_linearity", "linear");
  const auto function = kReftActivations.find(theirs);
  if (function == kReftActivations.end())
    c.fault("non_linearity",
            "expected null, relu, gelu, gelu_new, tanh, silu or sigmoid, found " + quote(theirs));
  Node options = site_options(sites, model_.sites);
  options["rank"] = Node::integer(rank);
  options["rotation"] = Node::boolean(is_rotation);
  options["subtract"] = Node::boolean(subtracts(c, is_rotation));
  options["positions"] = Node::text(positions.text());
  options["tied"] = Node::boolean(positions.is_tied);
  options["clamp"] = Node::text("length");
  options["activation"] =
      Node::text(function == kReftActivations.end() ? "linear" : function->second);
  options["dropout"] = Node::number(c.number("dropout", 0.05, 0, 0.99));
  options["dropout_on"] = Node::text("output");
  const Place place = add("reft", std::move(options), false);
  for (const Site& site : sites)
    read_reft_site(place.own + site.name + ".", site.layer, positions, rank, is_rotation);
}

void HubReader::read_reft_site(const std::string& ours, int64_t layer, const Positions& positions,
                               int64_t rank, bool is_rotation) {
  const bool is_two_sided = positions.first > 0 && positions.last > 0;
  for (int64_t unit = 0; unit < (positions.is_tied ? 1 : 2); ++unit) {
    const std::string theirs = names_.of_reft(layer, unit);
    const bool is_idle = !positions.is_tied && !is_two_sided &&
                         unit != (positions.first > 0 ? 0 : 1);  // of a side without positions
    if (is_idle) {
      for (auto it = tensors_.all().lower_bound(theirs);
           it != tensors_.all().end() && it->first.starts_with(theirs); ++it)
        tensors_.drop(it->first);
      continue;
    }
    const std::string set = ours + (positions.is_tied || !is_two_sided ? "tied."
                                    : unit == 0                        ? "prefix."
                                                                       : "suffix.");
    const int64_t width = model_.config.width;
    put(set + "weight", tensors_.take(theirs + "learned_source.weight", {rank, width}));
    put(set + "bias", tensors_.take(theirs + "learned_source.bias", {rank}));
    if (!is_rotation) {
      put(set + "projection", tensors_.take(theirs + "projection.weight", {rank, width}));
      continue;
    }
    const Tensor original =
        tensors_.take(theirs + "projection.parametrizations.weight.original", {rank, width});
    const Tensor base =
        tensors_.take(theirs + "projection.parametrizations.weight.0.base", {width, width});
    if (original.defined() && base.defined())
      put_rotation(tensors_, set, rotation_of_parametrization(original.t(), base), theirs,
                   foreign_.tensors);
  }
}

}  // namespace graft
