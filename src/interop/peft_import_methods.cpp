// What a folder of PEFT holds of each method: LoRA and DoRA, (IA)^3, VeRA, prefix, prompt and
// p-tuning.
#include <algorithm>

#include "base/error.h"
#include "interop/peft.h"
#include "interop/peft_reader.h"

namespace graft {

namespace {

using at::Tensor;

// Initialisations after which PEFT trains beside a base that it has changed.
const std::vector<std::string> kBaseChanging = {"pissa", "olora", "corda", "loftq", "lora_ga"};

int64_t outputs_of(const std::vector<Site>& sites) {
  int64_t sum = 0;
  for (const Site& site : sites) sum += site.output_width;
  return sum;
}

}  // namespace

// ---- LoRA and DoRA
struct PeftReader::Group {
  int64_t rank;
  double alpha;
  std::vector<Site> sites;
  std::vector<const Modules::Layer*> layers;
};

void PeftReader::read_lora() {
  read_transposition();
  ignore_fields(config_, {"merge_weights"});  // of the layers in memory, by versions 0.1 and 0.2
  read_enabled();
  refuse_fields(config_, {{"lora_bias", "a bias in the branch has no place here; expected false"},
                          {"trainable_token_indices", "trained token rows have no place here"},
                          {"target_parameters", "changes of bare parameters have no place here"},
                          {"layer_replication", "repeated layers have no place here"},
                          {"megatron_config", "layers split over machines have no place here"},
                          {"alora_invocation_tokens", "activated LoRA has no place here"},
                          {"use_qalora", "QALoRA has no place here; expected false"},
                          {"use_bdlora", "BD-LoRA has no place here"},
                          {"arrow_config", "Arrow routing has no place here"},
                          {"kasa_config", "KaSA has no place here"},
                          {"velora_config", "VeLoRA has no place here"},
                          {"monteclora_config", "MonteCLoRA has no place here"}});
  ignore_fields(config_, {"megatron_core", "qalora_group_size", "loftq_config", "eva_config",
                          "corda_config", "lora_ga_config", "ensure_weight_tying"});
  refuse_changed_base();
  const bool is_dora = config_.boolean("use_dora", false);
  Node shared = Node::map({{"dropout", Node::number(config_.number("lora_dropout", 0.0, 0, 0.99))},
                           {"rslora", Node::boolean(config_.boolean("use_rslora", false))}});
  for (const Group& group : lora_groups(is_dora)) {
    Node options = site_options(group.sites, model_.sites);
    options["rank"] = Node::integer(group.rank);
    options["alpha"] = Node::number(group.alpha);
    for (const auto& [name, value] : shared.members) options[name] = value;
    const std::string path = foreign_.add(is_dora ? "dora" : "lora", std::move(options));
    for (const Modules::Layer* layer : group.layers)
      read_lora_layer(path, *layer, group.rank, is_dora);
  }
  read_biases(config_.choice("bias", "none", {"none", "all", "lora_only"}));
}

// How the model stores its weights, which says nothing of the adapter's.
void PeftReader::read_transposition() {
  if (family_.stores_transposed) ignore_fields(config_, {"fan_in_fan_out"});
  else
    refuse_fields(config_,
                  {{"fan_in_fan_out", "transposed weights are of other models; expected false"}});
}

// Versions 0.1 and 0.2 gave GPT-2's joint layer a branch in two of its three parts, each with an A
// of its own.
void PeftReader::read_enabled() {
  const Node* node = config_.raw("enable_lora");
  if (is_unused(node)) return;
  for (const Node& item : node->items) enabled_.push_back(item.as_bool().value_or(false));
  const bool are_two = std::count(enabled_.begin(), enabled_.end(), true) == 2;
  const auto fits = [&](const Modules::Layer& layer) {
    return layer.pieces.size() == enabled_.size();
  };
  if (!are_two || std::none_of(modules_.layers().begin(), modules_.layers().end(), fits)) {
    config_.fault("enable_lora",
                  "branches in some parts of a layer are read for two of the three parts of "
                  "GPT-2's c_attn alone");
    enabled_.clear();
  }
}

// Our sites of a layer that are changed, in the order of its outputs.
std::vector<Site> PeftReader::sites_of(const Modules::Layer& layer) const {
  if (layer.pieces.empty()) return {model_.sites.at(layer.name)};
  std::vector<Site> sites;
  for (size_t i = 0; i < layer.pieces.size(); ++i) {
    if (enabled_.empty() || enabled_[i]) sites.push_back(model_.sites.at(layer.pieces[i]));
  }
  return sites;
}

// A tensor over all outputs of a layer, cut for its sites and put at path + site + suffix.
void PeftReader::put_by_outputs(const Tensor& tensor, const std::vector<Site>& sites,
                                const std::string& path, const std::string& suffix) {
  int64_t begin = 0;
  for (const Site& site : sites) {
    if (tensor.defined())
      foreign_.put(path + site.name + suffix,
                   tensor.slice(0, begin, begin + site.output_width).contiguous().clone());
    begin += site.output_width;
  }
}

void PeftReader::refuse_changed_base() {
  const Node* init = config_.raw("init_lora_weights");
  if (init == nullptr || !init->is_string) return;
  for (const std::string& name : kBaseChanging) {
    if (!init->scalar.starts_with(name)) continue;
    config_.fault(
        "init_lora_weights",
        quote(init->scalar) +
            " changes the base before training, and this folder holds no changed base: save it "
            "in PEFT with path_initial_model_for_weight_conversion first");
  }
}

void PeftReader::refuse_counted_sublayers() {
  if (model_.config.last().distance_bias() == nullptr ||
      is_unused(config_.raw("layers_to_transform")))
    return;
  config_.fault("layers_to_transform", "PEFT counts the sublayers of a " +
                                           model_.config.model_type +
                                           " block here, not its blocks; choose by target_modules");
}

// Layers of one rank and alpha together, since an edit has one of each.
std::vector<PeftReader::Group> PeftReader::lora_groups(bool is_dora) {
  const int64_t rank = config_.integer("r", 8, 1, 4096);
  const double alpha = config_.number("lora_alpha", 8.0, 0, 1e6);
  const PeftPattern ranks(config_, "rank_pattern"), alphas(config_, "alpha_pattern");
  refuse_counted_sublayers();
  const PeftTargets targets(config_, saved_, family_.peft.lora,
                            /*by_layer=*/true);
  std::vector<Group> groups;
  for (const Modules::Layer& layer : modules_.layers()) {
    const auto own_rank =
        static_cast<int64_t>(ranks.number_for(layer.path, static_cast<double>(rank)));
    const double own_alpha = alphas.number_for(layer.path, alpha);
    const bool is_of_head =
        layer.name.starts_with("head/") && tensors_.has(key(layer) + ".lora_A.weight");
    if (is_of_head) read_head_branch(layer, own_rank, own_alpha, is_dora);
    if (is_of_head || !layer.is_linear || !is_changed(targets, layer, ".lora_A.weight")) continue;
    const auto same = [&](const Group& group) {
      return group.rank == own_rank && group.alpha == own_alpha;
    };
    auto found = std::find_if(groups.begin(), groups.end(), same);
    if (found == groups.end()) found = groups.insert(found, {own_rank, own_alpha, {}, {}});
    for (const Site& site : sites_of(layer)) found->sites.push_back(site);
    found->layers.push_back(&layer);
    adapted_.insert(layer.name);
  }
  if (groups.empty()) tensors_.fault("holds no lora_A of any layer");
  return groups;
}

// One branch over several of our layers is one branch in each, with the same A.
void PeftReader::read_lora_layer(const std::string& path, const Modules::Layer& layer, int64_t rank,
                                 bool is_dora) {
  const std::vector<Site> sites = sites_of(layer);
  const std::string theirs = key(layer);
  if (!enabled_.empty()) return read_enabled_parts(path, layer, sites, rank);
  const Tensor a = tensors_.take(theirs + ".lora_A.weight", {rank, sites.front().input_width});
  for (const Site& site : sites)
    foreign_.put(path + site.name + ".lora_a", a.defined() ? a.clone() : a);
  put_by_outputs(tensors_.take(theirs + ".lora_B.weight", {outputs_of(sites), rank}), sites, path,
                 ".lora_b");
  if (is_dora)
    put_by_outputs(tensors_.take(theirs + ".lora_magnitude_vector", {outputs_of(sites)}), sites,
                   path, ".magnitude");
}

// The A's of the parts lie end to end, and so do the B's, as a convolution of width one has them.
void PeftReader::read_enabled_parts(const std::string& path, const Modules::Layer& layer,
                                    const std::vector<Site>& sites, int64_t rank) {
  const auto parts = static_cast<int64_t>(sites.size());
  const Tensor a = tensors_.take(key(layer) + ".lora_A.weight",
                                 {parts * rank, sites.front().input_width}),
               b = tensors_.take(key(layer) + ".lora_B.weight", {outputs_of(sites), rank, 1});
  if (layer.pieces.size() != enabled_.size())
    config_.fault("enable_lora",
                  "expected nothing beside a module that is no joint layer (" + layer.path + ")");
  for (int64_t i = 0; a.defined() && i < parts; ++i)
    foreign_.put(path + sites[static_cast<size_t>(i)].name + ".lora_a",
                 a.slice(0, i * rank, (i + 1) * rank).clone());
  put_by_outputs(b.defined() ? b.squeeze(2) : b, sites, path, ".lora_b");
}

// "all" saves every bias of the model: the bitfit edit. "lora_only" saves those of changed layers,
// which no edit trains alone.
void PeftReader::read_biases(const std::string& which) {
  if (which == "lora_only")
    config_.fault("bias",
                  "lora_only trains the biases of some layers, which has no place here; expected "
                  "none or all");
  if (which != "all") return;
  if (model_.config.has_decoder()) {
    config_.fault("bias", "biases of a " + model_.config.model_type +
                              " model are not read from PEFT; expected none");
    return;
  }
  const std::string pooler_bias = trains_pooler() || !has_pooler(model_.config)
                                      ? ""
                                      : key(modules_.by_name("pooler")) + ".bias";
  const bool with_pooler = !pooler_bias.empty() && tensors_.has(pooler_bias);
  const std::string path =
      foreign_.add("bitfit", Node::map({{"pooler", Node::boolean(with_pooler)}}));
  for (const TensorSlot& slot : tensor_slots(model_.config)) {
    if (slot.id.kind != TensorKind::kBias || (slot.id.place == kPoolerPlace && !with_pooler))
      continue;
    const std::string layer = to_name(slot.id.place);
    foreign_.put(path + slot.name(),
                 tensors_.take(key(modules_.by_name(layer)) +
                                   (adapted_.contains(layer) ? ".base_layer.bias" : ".bias"),
                               slot.shape));
  }
}

// ---- (IA)^3
void PeftReader::read_ia3() {
  read_transposition();
  ignore_fields(config_, {"init_ia3_weights"});
  const PeftDefaults& defaults = family_.peft;
  const PeftTargets targets(config_, saved_, defaults.ia3, /*by_layer=*/false);
  constexpr auto kAny = NameChoice::Ending::kAny;
  const NameChoice feedforward = config_.has("feedforward_modules")
                                     ? NameChoice(config_, "feedforward_modules", kAny)
                                     : NameChoice(defaults.ia3_feedforward, kAny);
  std::vector<SiteScale> scales;
  for (const Modules::Layer& layer : modules_.layers()) {
    const bool scales_input = feedforward.chooses(layer.path);
    const bool is_of_head = layer.name.starts_with("head/") && tensors_.has(key(layer) + ".ia3_l");
    if (is_of_head) read_head_scale(layer, scales_input);
    if (is_of_head || !layer.is_linear || !is_changed(targets, layer, ".ia3_l")) continue;
    if (scales_input) read_input_scale(layer, scales);
    else read_output_scales(layer, scales);
  }
  if (scales.empty()) {
    tensors_.fault("holds no ia3_l of any layer");
    return;
  }
  std::vector<Site> sites;
  for (const SiteScale& each : scales) sites.push_back(each.site);
  std::sort(sites.begin(), sites.end(),
            [](const Site& a, const Site& b) { return a.index < b.index; });
  Node options = site_options(sites, model_.sites);
  options["scale"] = Node::boolean(true);
  options["shift"] = Node::boolean(false);
  const std::string path = foreign_.add("affine", std::move(options));
  for (const SiteScale& each : scales) foreign_.put(path + each.site.name + ".scale", each.scale);
}

void PeftReader::read_input_scale(const Modules::Layer& layer, std::vector<SiteScale>& scales) {
  const Site linear = sites_of(layer).front();
  const Tensor scale = tensors_.take(key(layer) + ".ia3_l", {1, linear.input_width});
  const Site* input = model_.sites.input_of(linear);
  if (input != nullptr) {
    scales.push_back({*input, scale.defined() ? scale.flatten() : scale});
    return;
  }
  config_.fault("feedforward_modules",
                "scales the input of " + layer.path +
                    "; only what enters the last layer of an attention or a feed-forward is a "
                    "site (attn.mid, cross.mid, ffn.act, ffn.mid)");
}

// A layer that joins several of ours has their outputs one behind the other.
void PeftReader::read_output_scales(const Modules::Layer& layer, std::vector<SiteScale>& scales) {
  const std::vector<Site> own = sites_of(layer);
  const Tensor scale = tensors_.take(key(layer) + ".ia3_l", {outputs_of(own), 1});
  int64_t begin = 0;
  for (const Site& site : own) {
    const int64_t end = begin + site.output_width;
    scales.push_back(
        {site, scale.defined() ? scale.flatten().slice(0, begin, end).clone() : scale});
    begin = end;
  }
}

// ---- VeRA
void PeftReader::read_vera() {
  read_transposition();
  refuse_counted_sublayers();
  ignore_fields(config_, {"init_weights"});
  config_.choice("bias", "none", {"none"});
  const int64_t rank = config_.integer("r", 256, 1, 4096);
  const double dropout = config_.number("vera_dropout", 0.0, 0, 0.99),
               first = config_.number("d_initial", 0.1, -1e6, 1e6);
  const int64_t seed = config_.integer("projection_prng_key", 0, 0, INT64_MAX);
  const bool is_saved = config_.boolean("save_projection", true);
  const PeftTargets targets(config_, saved_, family_.peft.lora,
                            /*by_layer=*/true);
  std::vector<Site> sites;
  std::vector<std::pair<std::string, Tensor>> vectors;
  int64_t widest_in = 0, widest_out = 0;
  for (const Modules::Layer& layer : modules_.layers()) {
    if (!layer.is_linear || !is_changed(targets, layer, ".vera_lambda_b")) continue;
    if (!layer.pieces.empty()) {
      tensors_.fault(layer.path + " is " + joined(layer.pieces) +
                     " here, which would share their vectors and each take other rows of the "
                     "projection; choose other target_modules in PEFT");
      continue;
    }
    const Site& site = sites.emplace_back(model_.sites.at(layer.name));
    widest_in = std::max(widest_in, site.input_width);
    widest_out = std::max(widest_out, site.output_width);
    vectors.emplace_back(site.name + ".vera_d",
                         tensors_.take(key(layer) + ".vera_lambda_d", {rank}));
    vectors.emplace_back(site.name + ".vera_b",
                         tensors_.take(key(layer) + ".vera_lambda_b", {site.output_width}));
  }
  if (sites.empty()) return tensors_.fault("holds no vera_lambda_b of any layer");
  Node options = site_options(sites, model_.sites);
  options["rank"] = Node::integer(rank);
  options["d_initial"] = Node::number(first);
  options["dropout"] = Node::number(dropout);
  options["projection_seed"] = Node::integer(seed);
  options["save_projection"] = Node::boolean(is_saved);
  const std::string path = foreign_.add("vera", std::move(options));
  for (auto& [name, vector] : vectors) foreign_.put(path + name, vector);
  if (!is_saved) return;
  foreign_.put(path + "projection_a", tensors_.take(kPeftVeraA, {rank, widest_in}));
  foreign_.put(path + "projection_b", tensors_.take(kPeftVeraB, {widest_out, rank}));
}

// ---- prefix, prompt, p-tuning
void PeftReader::read_prompt() {
  const ModelConfig& c = model_.config;
  if (c.is_encoder_decoder()) {
    throw InputError(config_.source() + ": /peft_type: " + type_ +
                     " in an encoder-decoder is not read: PEFT gives rows to both in its "
                     "own way; train it here, or "
                     "take LORA or IA3");
  }
  const int64_t layers = c.all_layers();
  const bool is_prefix =
      type_ == "PREFIX_TUNING";  // whose rows are keys, of as many heads as there are
  const int64_t width = is_prefix ? c.last().key_width() : c.width,
                heads = is_prefix ? c.last().key_heads : c.last().heads;
  const int64_t length = config_.integer("num_virtual_tokens", std::nullopt, 1, 1 << 20);
  config_.integer("num_transformer_submodules", 1, 1, 1);
  config_.integer("token_dim", width, width, width);
  config_.integer("num_layers", layers, layers, layers);
  config_.integer("num_attention_heads", heads, heads, heads);
  ignore_fields(config_, {"encoder_hidden_size"});
  if (type_ == "PREFIX_TUNING") {
    ignore_fields(
        config_, {"prefix_projection", "init_weights"});  // the file holds what the projection gave
    return read_prefix(length);
  }
  if (type_ == "PROMPT_TUNING")
    ignore_fields(config_, {"prompt_tuning_init", "prompt_tuning_init_text",
                            "tokenizer_name_or_path", "tokenizer_kwargs"});
  else
    ignore_fields(config_, {"encoder_reparameterization_type", "encoder_num_layers",
                            "encoder_dropout"});  // the file holds what the encoder gave
  const std::string path = foreign_.add(
      "prompt", Node::map({{"length", Node::integer(length)}, {"position", Node::text("before")}}));
  foreign_.put(path + "embed.word.prompt", tensors_.take(kPeftPromptTensor, {length, c.width}));
}

void PeftReader::read_prefix(int64_t length) {
  const ModelConfig& c = model_.config;
  const int64_t layers = c.all_layers(), width = c.last().key_width();
  const Tensor all = tensors_.take(kPeftPromptTensor, {length, layers * 2 * width});
  const std::string path = foreign_.add(
      "prefix",
      Node::map({{"length", Node::integer(length)}, {"counts_positions", Node::boolean(true)}}));
  if (!all.defined()) return;
  const Tensor parts = all.view({length, 2 * layers, width});
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string site =
        path + model_.sites.at({c.last_stack(), static_cast<int16_t>(layer), Part::kAttn}).name;
    foreign_.put(site + ".keys", parts.select(1, 2 * layer).contiguous());
    foreign_.put(site + ".values", parts.select(1, 2 * layer + 1).contiguous());
  }
}

}  // namespace graft
