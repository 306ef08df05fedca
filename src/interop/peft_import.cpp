#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "interop/peft.h"
#include "interop/peft_targets.h"
#include "model/families.h"

namespace graft {

namespace {

using at::Tensor;

const std::vector<std::string> kTypes = {"LORA", "IA3", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"};

// Initialisations after which PEFT trains beside a base that it has changed.
const std::vector<std::string> kBaseChanging = {"pissa", "olora", "corda", "loftq", "lora_ga"};

class Reader {
 public:
  Reader(const Path& dir, const Model& model, const Node& json, std::string type)
      : model_(model),
        family_(family_of(model.config)),
        config_(json, (dir / "adapter_config.json").string()),
        tensors_(load_foreign_tensors(dir, "adapter_model.safetensors", "adapter_model.bin")),
        type_(std::move(type)),
        root_(type_ == "LORA" || type_ == "IA3" ? kPeftLayersRoot : kPeftPromptRoot),
        has_head_(read_task_type()),
        modules_(model, prefix(), has_head_) {}

  ForeignAdapter read() {
    ignore_fields(config_, {"peft_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"});
    foreign_.origin = "peft " + config_.text("peft_version", "of an unknown version") + " (" + type_ + ")";
    read_modules_to_save();
    if (type_ == "LORA") read_lora();
    else if (type_ == "IA3") read_ia3();
    else read_prompt();
    read_head();
    tensors_.finish(faults_of(config_));
    return std::move(foreign_);
  }

 private:
  // ---- the model around the adapter
  bool holds_any(const std::string& start) const {
    const auto found = tensors_.all().lower_bound(start);
    return found != tensors_.all().end() && found->first.starts_with(start);
  }

  // True where the model has a classifier.
  bool read_task_type() {
    const Node* node = config_.raw("task_type");
    const std::string type = is_unused(node) ? "" : config_.text("task_type", "");
    if (family_.head_style == HeadStyle::kNone) {   // the vocabulary's output layer is no head
      const std::string own = model_.config.layers > 0 ? "SEQ_2_SEQ_LM" : "CAUSAL_LM";
      if (!type.empty() && type != own && type != "FEATURE_EXTRACTION") config_.fault("task_type", "expected " + own + ", FEATURE_EXTRACTION or null, found " + quote(type) + ": heads beside this model have no place here");
      return false;
    }
    const bool is_known = type.empty() || type == "SEQ_CLS" || type == "FEATURE_EXTRACTION";
    if (!is_known) config_.fault("task_type", "expected SEQ_CLS, FEATURE_EXTRACTION or null, found " + quote(type) + ": heads for other tasks have no place here");
    return type == "SEQ_CLS" || holds_any(root_ + "classifier.");
  }

  std::string prefix() const {
    for (const std::string& prefix : family_.prefixes) {
      if (!prefix.empty() && holds_any(root_ + prefix)) return prefix;
    }
    return has_head_ ? family_.prefixes.front() : "";
  }

  std::string key(const Modules::Layer& layer) const { return root_ + layer.path; }

  bool trains_pooler() const { return std::find(saved_.begin(), saved_.end(), "pooler") != saved_.end(); }

  // classifier and pooler have a place in the head. A name that no module of the model has (PEFT always lists "score") changes nothing.
  void read_modules_to_save() {
    if (is_unused(config_.raw("modules_to_save"))) return;
    for (const std::string& name : config_.texts("modules_to_save", std::nullopt)) {
      bool is_there = false, has_place = true;
      for (const std::string& path : modules_.paths()) {
        if (!path.ends_with(name)) continue;   // PEFT compares letters here, not steps
        is_there = true;
        has_place &= path == "classifier" || (has_suffix(path, "pooler") && family_.head_style == HeadStyle::kPooler && has_head_);
      }
      if (!has_place) config_.fault("modules_to_save", "expected classifier or pooler (of a model with a classifier), found " + quote(name) + ": a trained copy of other modules has no place here");
      if (is_there && has_place) saved_.push_back(name);
    }
  }

  void read_head() {
    if (!has_head_) return;
    for (const Modules::Layer& layer : modules_.layers()) {
      if (layer.name.starts_with("head/")) read_head_layer(key(layer), layer.name);
    }
    if (trains_pooler()) {
      foreign_.head["pooler"] = Node::text("trained");
      read_head_layer(key(modules_.by_name("pooler")), "head/pooler");
    }
    drop_wrappers();
  }

  void read_head_layer(const std::string& theirs, const std::string& ours) {
    const int64_t width = model_.config.width;
    const bool is_last = ours == "head/out";
    const auto found = tensors_.all().find(theirs + ".weight");
    const int64_t rows = is_last && found != tensors_.all().end() && found->second.dim() > 0 ? found->second.size(0) : width;
    if (is_last) foreign_.head_outputs = rows;
    put(ours + ".weight", tensors_.take(theirs + ".weight", {rows, width}));
    put(ours + ".bias", tensors_.take(theirs + ".bias", {rows}));
  }

  // With bias="all" PEFT also writes the biases inside its wrapper of a saved module: of the frozen original, and of the copy once more.
  void drop_wrappers() {
    for (const std::string& wrapped : {root_ + "classifier.", root_ + prefix() + "pooler."}) {
      for (const auto& [name, tensor] : tensors_.all()) {
        if (!name.starts_with(wrapped)) continue;
        std::string rest = name.substr(wrapped.size());
        if (rest.starts_with("original_module.")) tensors_.drop(name);
        if (!rest.starts_with("modules_to_save.")) continue;
        rest = rest.substr(std::string("modules_to_save.").size());
        if (rest.starts_with("default.")) rest = rest.substr(std::string("default.").size());
        const auto first = tensors_.all().find(wrapped + rest);
        if (first != tensors_.all().end() && first->second.equal(tensor)) tensors_.drop(name);
        else tensors_.fault("tensor " + quote(name) + " differs from " + quote(wrapped + rest) + ", of which it is a second copy");
      }
    }
  }

  void put(const std::string& name, Tensor tensor) {
    if (tensor.defined()) foreign_.tensors[name] = std::move(tensor);
  }

  // True where both the config and the tensors change `layer`; a fault where they disagree.
  bool is_changed(const PeftTargets& targets, const Modules::Layer& layer, const std::string& suffix) {
    const bool is_chosen = targets.chooses(layer), is_held = tensors_.has(key(layer) + suffix);
    if (is_chosen && !is_held) tensors_.fault("holds no " + quote(key(layer) + suffix) + ", although target_modules choose " + layer.path);
    if (!is_chosen && is_held) tensors_.fault("tensor " + quote(key(layer) + suffix) + " changes a module that target_modules do not choose");
    if (is_held && layer.pieces.empty() && place_of(layer.name).layer < 0) {
      tensors_.fault("tensor " + quote(key(layer) + suffix) + ": " + layer.path + " is no linear layer of a block, so it cannot be changed here");
      return false;
    }
    return is_chosen && is_held;
  }

  // ---- LoRA and DoRA
  struct Group {
    int64_t rank;
    double alpha;
    std::vector<Site> sites;
    std::vector<const Modules::Layer*> layers;
  };

  void read_lora() {
    read_transposition();
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
    ignore_fields(config_, {"megatron_core", "qalora_group_size", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "ensure_weight_tying"});
    refuse_changed_base();
    const bool is_dora = config_.boolean("use_dora", false);
    Node shared = Node::map({{"dropout", Node::number(config_.number("lora_dropout", 0.0, 0, 0.99))},
                             {"rslora", Node::boolean(config_.boolean("use_rslora", false))}});
    for (const Group& group : lora_groups()) {
      Node options = site_options(group.sites, model_.sites);
      options["rank"] = Node::integer(group.rank);
      options["alpha"] = Node::number(group.alpha);
      for (const auto& [name, value] : shared.members) options[name] = value;
      const std::string path = foreign_.add(is_dora ? "dora" : "lora", std::move(options));
      for (const Modules::Layer* layer : group.layers) read_lora_layer(path, *layer, group.rank, is_dora);
    }
    read_biases(config_.choice("bias", "none", {"none", "all", "lora_only"}));
  }

  // How the model stores its weights, which says nothing of the adapter's.
  void read_transposition() {
    if (family_.stores_transposed) ignore_fields(config_, {"fan_in_fan_out"});
    else refuse_fields(config_, {{"fan_in_fan_out", "transposed weights are of other models; expected false"}});
  }

  // Our sites of a layer, in the order of its outputs.
  std::vector<Site> sites_of(const Modules::Layer& layer) const {
    if (layer.pieces.empty()) return {model_.sites.at(layer.name)};
    std::vector<Site> sites;
    for (const std::string& piece : layer.pieces) sites.push_back(model_.sites.at(piece));
    return sites;
  }

  // A tensor over all outputs of a layer, cut for its sites and put at path + site + suffix.
  void put_by_outputs(const Tensor& tensor, const std::vector<Site>& sites, const std::string& path, const std::string& suffix) {
    int64_t begin = 0;
    for (const Site& site : sites) {
      if (tensor.defined()) put(path + site.name + suffix, tensor.slice(0, begin, begin + site.output_width).contiguous().clone());
      begin += site.output_width;
    }
  }

  static int64_t outputs_of(const std::vector<Site>& sites) {
    int64_t sum = 0;
    for (const Site& site : sites) sum += site.output_width;
    return sum;
  }

  void refuse_changed_base() {
    const Node* init = config_.raw("init_lora_weights");
    if (init == nullptr || !init->is_string) return;
    for (const std::string& name : kBaseChanging) {
      if (!init->scalar.starts_with(name)) continue;
      config_.fault("init_lora_weights", quote(init->scalar) +
                                             " changes the base before training, and this folder holds no changed base: save it in PEFT with path_initial_model_for_weight_conversion first");
    }
  }

  // Layers of one rank and alpha together, since an edit has one of each.
  std::vector<Group> lora_groups() {
    const int64_t rank = config_.integer("r", 8, 1, 4096);
    const double alpha = config_.number("lora_alpha", 8.0, 0, 1e6);
    const PeftPattern ranks(config_, "rank_pattern"), alphas(config_, "alpha_pattern");
    if (model_.config.position_kind == PositionKind::kDistanceBias && !is_unused(config_.raw("layers_to_transform"))) {
      config_.fault("layers_to_transform", "PEFT counts the sublayers of a " + model_.config.model_type + " block here, not its blocks; choose by target_modules");
    }
    const PeftTargets targets(config_, saved_, /*by_layer=*/true);
    std::vector<Group> groups;
    for (const Modules::Layer& layer : modules_.layers()) {
      if (!layer.is_linear || !is_changed(targets, layer, ".lora_A.weight")) continue;
      const auto own_rank = static_cast<int64_t>(ranks.number_for(layer.path, static_cast<double>(rank)));
      const double own_alpha = alphas.number_for(layer.path, alpha);
      const auto same = [&](const Group& group) { return group.rank == own_rank && group.alpha == own_alpha; };
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
  void read_lora_layer(const std::string& path, const Modules::Layer& layer, int64_t rank, bool is_dora) {
    const std::vector<Site> sites = sites_of(layer);
    const std::string theirs = key(layer);
    const Tensor a = tensors_.take(theirs + ".lora_A.weight", {rank, sites.front().input_width});
    for (const Site& site : sites) put(path + site.name + ".lora_a", a.defined() ? a.clone() : a);
    put_by_outputs(tensors_.take(theirs + ".lora_B.weight", {outputs_of(sites), rank}), sites, path, ".lora_b");
    if (is_dora) put_by_outputs(tensors_.take(theirs + ".lora_magnitude_vector", {outputs_of(sites)}), sites, path, ".magnitude");
  }

  // "all" saves every bias of the model: the bitfit edit. "lora_only" saves those of changed layers, which no edit trains alone.
  void read_biases(const std::string& which) {
    if (which == "lora_only") config_.fault("bias", "lora_only trains the biases of some layers, which has no place here; expected none or all");
    if (which != "all") return;
    if (family_.head_style == HeadStyle::kNone) {
      config_.fault("bias", "biases of a " + model_.config.model_type + " model are not read from PEFT; expected none");
      return;
    }
    const std::string pooler_bias = trains_pooler() || family_.head_style != HeadStyle::kPooler ? "" : key(modules_.by_name("pooler")) + ".bias";
    const bool with_pooler = !pooler_bias.empty() && tensors_.has(pooler_bias);
    const std::string path = foreign_.add("bitfit", Node::map({{"pooler", Node::boolean(with_pooler)}}));
    for (const TensorSlot& slot : tensor_slots(model_.config)) {
      if (!slot.name.ends_with(".bias") || (slot.name == "pooler.bias" && !with_pooler)) continue;
      const std::string layer = slot.name.substr(0, slot.name.size() - 5);
      put(path + slot.name, tensors_.take(key(modules_.by_name(layer)) + (adapted_.contains(layer) ? ".base_layer.bias" : ".bias"), slot.shape));
    }
  }

  // ---- (IA)^3
  void read_ia3() {
    read_transposition();
    ignore_fields(config_, {"init_ia3_weights"});
    const PeftTargets targets(config_, saved_, /*by_layer=*/false);
    const NameChoice feedforward(config_, "feedforward_modules", NameChoice::Ending::kAny);
    std::vector<Site> sites;
    std::vector<std::pair<std::string, Tensor>> scales;
    for (const Modules::Layer& layer : modules_.layers()) {
      if (!layer.is_linear || !is_changed(targets, layer, ".ia3_l")) continue;
      const std::vector<Site> own = sites_of(layer);
      const Site& linear = own.front();
      const bool scales_input = feedforward.chooses(layer.path);
      const std::vector<int64_t> shape = scales_input ? std::vector<int64_t>{1, linear.input_width} : std::vector<int64_t>{outputs_of(own), 1};
      const Tensor scale = tensors_.take(key(layer) + ".ia3_l", shape);
      if (scales_input && linear.part != "ffn.down") {
        config_.fault("feedforward_modules", "scales the input of " + layer.path + "; only the input of the second feed-forward layer is a site (ffn.act, of a gated one ffn.mid)");
        continue;
      }
      int64_t begin = 0;
      for (const Site& site : own) {
        sites.push_back(scales_input ? input_of_down(linear) : site);
        const int64_t end = begin + (scales_input ? linear.input_width : site.output_width);
        if (scale.defined()) scales.emplace_back(sites.back().name, scale.flatten().slice(0, begin, end).clone());
        begin = end;
      }
    }
    if (sites.empty()) {
      tensors_.fault("holds no ia3_l of any layer");
      return;
    }
    std::sort(sites.begin(), sites.end(), [](const Site& a, const Site& b) { return a.index < b.index; });
    Node options = site_options(sites, model_.sites);
    options["scale"] = Node::boolean(true);
    options["shift"] = Node::boolean(false);
    const std::string path = foreign_.add("affine", std::move(options));
    for (auto& [site, scale] : scales) put(path + site + ".scale", scale);
  }

  // What enters ffn.down.
  const Site& input_of_down(const Site& down) const {
    const BlockSites& block = down.stack == "enc" ? model_.sites.block(down.layer) : model_.sites.decoder_block(down.layer);
    return block.mid.index >= 0 ? block.mid : block.act;
  }

  // ---- prefix, prompt, p-tuning
  void read_prompt() {
    const ModelConfig& c = model_.config;
    if (c.layers > 0 && c.has_decoder()) {
      throw InputError(config_.source() + ": /peft_type: " + type_ + " beside an encoder and a decoder is not read: PEFT gives rows to both in its own way; train it here, or take LORA or IA3");
    }
    const int64_t layers = c.layers + c.decoder_layers;
    const bool is_prefix = type_ == "PREFIX_TUNING";   // whose rows are keys, of as many heads as there are
    const int64_t width = is_prefix ? c.key_width() : c.width, heads = is_prefix ? c.key_heads : c.heads;
    const int64_t length = config_.integer("num_virtual_tokens", std::nullopt, 1, 1 << 20);
    config_.integer("num_transformer_submodules", 1, 1, 1);
    config_.integer("token_dim", width, width, width);
    config_.integer("num_layers", layers, layers, layers);
    config_.integer("num_attention_heads", heads, heads, heads);
    ignore_fields(config_, {"encoder_hidden_size"});
    if (type_ == "PREFIX_TUNING") {
      ignore_fields(config_, {"prefix_projection", "init_weights"});   // the file holds what the projection gave
      return read_prefix(length);
    }
    if (type_ == "PROMPT_TUNING") ignore_fields(config_, {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"});
    else ignore_fields(config_, {"encoder_reparameterization_type", "encoder_num_layers", "encoder_dropout"});   // the file holds what the encoder gave
    const std::string path = foreign_.add("prompt", Node::map({{"length", Node::integer(length)}, {"position", Node::text("before")}}));
    put(path + "embed.word.prompt", tensors_.take(kPeftPromptTensor, {length, c.width}));
  }

  void read_prefix(int64_t length) {
    const ModelConfig& c = model_.config;
    const int64_t layers = c.layers + c.decoder_layers, width = c.key_width();
    const Tensor all = tensors_.take(kPeftPromptTensor, {length, layers * 2 * width});
    const std::string path = foreign_.add("prefix", Node::map({{"length", Node::integer(length)}, {"counts_positions", Node::boolean(true)}}));
    if (!all.defined()) return;
    const Tensor parts = all.view({length, 2 * layers, width});
    for (int64_t layer = 0; layer < layers; ++layer) {
      const std::string site = path + (c.has_decoder() ? model_.sites.decoder_block(layer) : model_.sites.block(layer)).attention.name;
      put(site + ".keys", parts.select(1, 2 * layer).contiguous());
      put(site + ".values", parts.select(1, 2 * layer + 1).contiguous());
    }
  }

  const Model& model_;
  const Family& family_;
  Options config_;
  ForeignTensors tensors_;
  std::string type_, root_;
  bool has_head_;
  Modules modules_;
  std::vector<std::string> saved_;      // modules_to_save that the model has
  std::set<std::string> adapted_;       // layers with a LoRA branch, which PEFT wraps
  ForeignAdapter foreign_;
};

}  // namespace

ForeignAdapter read_peft(const Path& dir, const Model& model) {
  const Path file = dir / "adapter_config.json";
  const Node json = parse_json(read_file(file), file.string());
  Options config(json, file.string());
  const std::string type = config.text("peft_type", std::nullopt);
  if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) {
    throw InputError(file.string() + ": /peft_type: expected " + joined(kTypes, "or") + ", found " + (type.empty() ? "nothing" : quote(type)) + did_you_mean(type, kTypes));
  }
  return Reader(dir, model, json, type).read();
}

Node site_options(const std::vector<Site>& chosen, const Sites& all) {
  std::vector<std::string> parts;
  std::vector<int64_t> layers;
  std::set<int64_t> every;
  for (const Site& site : all.all()) {
    if (site.layer >= 0) every.insert(site.layer);
  }
  for (const Site& site : chosen) {
    if (std::find(parts.begin(), parts.end(), site.part) == parts.end()) parts.push_back(site.part);
    if (std::find(layers.begin(), layers.end(), site.layer) == layers.end()) layers.push_back(site.layer);
  }
  // Sites are distinct. With two stacks a part's name would mean both.
  const bool has_two_stacks = all.all().back().stack == "dec" && all.all()[2].stack == "enc";
  const bool is_rectangle = !has_two_stacks && chosen.size() == parts.size() * layers.size();
  std::vector<Node> names, numbers;
  if (is_rectangle) {
    for (const std::string& part : parts) names.push_back(Node::text(part));
    if (layers.size() < every.size()) {
      for (const int64_t layer : layers) numbers.push_back(Node::integer(layer));
    }
  } else {
    for (const Site& site : chosen) names.push_back(Node::text(site.name));
  }
  return Node::map({{"sites", Node::list(std::move(names))}, {"layers", Node::list(std::move(numbers))}});
}

}  // namespace graft
