// What a folder of AdapterHub holds of LoRA and (IA)^3, of prefixes and of ReFT.
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

}  // namespace

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
    foreign_.put(place.own + site.name + ".lora_a",
                 tensors_.take(theirs + "lora_A", {rank, site.input_width}));
    foreign_.put(place.own + site.name + ".lora_b",
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
    if (scale.defined()) foreign_.put(place.own + site.name + ".scale", scale.flatten() * alpha);
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
      foreign_.put(place.own + sites[static_cast<size_t>(i)].name + ".keys",
                   rows.select(1, 2 * i).contiguous());
      foreign_.put(place.own + sites[static_cast<size_t>(i)].name + ".values",
                   rows.select(1, 2 * i + 1).contiguous());
    }
  } else {
    foreign_.put(place.own + "table", tensors_.take(theirs + "wte.weight", {length, width}));
    foreign_.put(place.own + "mlp.in.weight",
                 tensors_.take(theirs + "control_trans.0.weight", {hidden, width}));
    foreign_.put(place.own + "mlp.in.bias",
                 tensors_.take(theirs + "control_trans.0.bias", {hidden}));
    foreign_.put(place.own + "mlp.out.weight",
                 tensors_.take(theirs + "control_trans.2.weight", {count * columns, hidden}));
    foreign_.put(place.own + "mlp.out.bias",
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
    foreign_.put(set + "weight", tensors_.take(theirs + "learned_source.weight", {rank, width}));
    foreign_.put(set + "bias", tensors_.take(theirs + "learned_source.bias", {rank}));
    if (!is_rotation) {
      foreign_.put(set + "projection", tensors_.take(theirs + "projection.weight", {rank, width}));
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
