#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "interop/modules.h"
#include "interop/peft.h"
#include "model/families.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

using at::Tensor;

constexpr const char* kPeftVersion = "0.21.2";   // whose fields are written

// What PEFT writes of each kind of adapter when nothing is chosen; keys sorted, as it sorts them.
constexpr const char* kLoraFields = R"({"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
  "base_model_name_or_path": null, "bias": "none", "corda_config": null, "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null,
  "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
  "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0, "lora_ga_config": null,
  "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null, "monteclora_config": null, "peft_type": "LORA",
  "peft_version": null, "qalora_group_size": 16, "r": 8, "rank_pattern": {}, "revision": null, "target_modules": null, "target_parameters": null,
  "task_type": null, "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false, "use_rslora": false,
  "velora_config": null})";
constexpr const char* kIa3Fields = R"({"auto_mapping": null, "base_model_name_or_path": null, "exclude_modules": null, "fan_in_fan_out": false,
  "feedforward_modules": [], "inference_mode": true, "init_ia3_weights": true, "modules_to_save": null, "peft_type": "IA3", "peft_version": null,
  "revision": null, "target_modules": null, "task_type": null})";
constexpr const char* kPrefixFields = R"({"auto_mapping": null, "base_model_name_or_path": null, "encoder_hidden_size": null, "inference_mode": true,
  "init_weights": null, "modules_to_save": null, "num_attention_heads": 0, "num_layers": 0, "num_transformer_submodules": 1, "num_virtual_tokens": 0,
  "peft_type": "PREFIX_TUNING", "peft_version": null, "prefix_projection": false, "revision": null, "task_type": null, "token_dim": 0})";
constexpr const char* kPromptFields = R"({"auto_mapping": null, "base_model_name_or_path": null, "inference_mode": true, "modules_to_save": null,
  "num_attention_heads": 0, "num_layers": 0, "num_transformer_submodules": 1, "num_virtual_tokens": 0, "peft_type": "PROMPT_TUNING",
  "peft_version": null, "prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": null, "revision": null, "task_type": null, "token_dim": 0,
  "tokenizer_kwargs": null, "tokenizer_name_or_path": null})";

// Why PEFT has no form for an edit.
const std::map<std::string, std::string>& reasons() {
  static const std::map<std::string, std::string> kReasons = {
      {"stochastic", "PEFT has no stochastic mixtures: make it one adapter first with graft average"},
      {"gate", "PEFT has no gates"},
      {"router", "PEFT has no routed mixtures of this kind (MoV, MoLoRA)"},
      {"bottleneck", "PEFT has no bottleneck adapters; --to adapterhub has"},
      {"reft", "PEFT has no edits of hidden states (ReFT); --to pyreft has"},
      {"bitfit", "PEFT saves biases only beside LoRA (bias: all)"},
      {"full", "a fully trained model is no adapter to PEFT: merge it into the weights with graft merge"},
      {"top-layers", "trained blocks are no adapter to PEFT: merge them into the weights with graft merge"}};
  return kReasons;
}

Node names_node(const std::vector<std::string>& names) {
  std::vector<Node> items;
  for (const std::string& name : names) items.push_back(Node::text(name));
  return Node::list(std::move(items));
}

class Writer {
 public:
  Writer(const Adapter& adapter, const NamedTensors& tensors, const Model& model)
      : adapter_(adapter),
        tensors_(tensors),
        model_(model),
        family_(family_of(model.config)),
        prefix_(adapter.head() != nullptr || answers_in_words() ? family_.prefixes.front() : ""),
        modules_(model, prefix_, adapter.head() != nullptr) {}

  void build() {
    const std::string kind = method();
    root_ = kind == "prefix" || kind == "prompt" ? kPeftPromptRoot : kPeftLayersRoot;
    if (kind == "lora" || kind == "dora") write_lora(kind == "dora");
    else if (kind == "affine") write_ia3();
    else if (kind == "prefix") write_prefix();
    else write_prompt();
    write_head();
    config_["base_model_name_or_path"] = Node::text(model_.source);
    config_["peft_version"] = Node::text(kPeftVersion);
    const char* in_words = model_.config.layers > 0 ? "SEQ_2_SEQ_LM" : "CAUSAL_LM";
    config_["task_type"] = Node::text(answers_in_words() ? in_words : adapter_.head() != nullptr ? "SEQ_CLS" : "FEATURE_EXTRACTION");
    if (config_.find("fan_in_fan_out") != nullptr) config_["fan_in_fan_out"] = Node::boolean(family_.stores_transposed);
  }

  const Node& config() const { return config_; }
  const NamedTensors& tensors() const { return out_; }

 private:
  struct Part {
    std::string path;
    Node options;
    const EditSpec* spec;
  };

  [[noreturn]] void refuse(const std::string& path, const std::string& why) const {
    throw InputError("the adapter cannot be exported to PEFT: " + path.substr(0, path.size() - 1) + ": " + why);
  }

  bool answers_in_words() const { return family_.head_style == HeadStyle::kNone; }

  // The one method of the adapter, after everything that PEFT has no form for is refused; fills parts_ (biases apart).
  std::string method() {
    std::string kind, first;
    std::vector<std::pair<std::string, std::string>> faults;
    for (const Adapter::Part& part : adapter_.parts()) {
      const Node described = part.edit->describe();
      const std::string own = kind_of(*part.edit);
      if (own == "bitfit") biases_ = part.path;
      else if (const auto reason = reasons().find(own); reason != reasons().end()) faults.emplace_back(part.path, reason->second);
      else if (own != "lora" && own != "dora" && own != "affine" && own != "prefix" && own != "prompt") faults.emplace_back(part.path, "PEFT has no form for it that is known here");
      else if (!kind.empty() && own != kind) faults.emplace_back(part.path, "PEFT keeps one method in a folder, and " + first + " is another");
      else if (kind = own, first.empty()) first = part.path.substr(0, part.path.size() - 1);
      parts_.push_back({part.path, *described.find(own), &part.spec});
    }
    if (!biases_.empty() && answers_in_words()) faults.emplace_back(biases_, "biases of a " + model_.config.model_type + " model are not written for PEFT: merge them into the weights with graft merge");
    const bool is_prompt = kind == "prefix" || kind == "prompt";
    if (is_prompt && model_.config.layers > 0 && model_.config.has_decoder()) faults.emplace_back(parts_.front().path, "PEFT gives rows to an encoder and its decoder in its own way, which is not written here");
    if (!biases_.empty() && kind != "lora" && kind != "dora") faults.emplace_back(biases_, reasons().at("bitfit"));
    if (!biases_.empty()) std::erase_if(parts_, [&](const Part& part) { return part.path == biases_; });
    if (!faults.empty()) {
      std::string message;
      for (const auto& [path, why] : faults) message += (message.empty() ? "" : "; ") + path.substr(0, path.size() - 1) + ": " + why;
      throw InputError("the adapter cannot be exported to PEFT: " + message);
    }
    if (parts_.empty()) throw InputError("the adapter cannot be exported to PEFT: it changes nothing but the head, and PEFT keeps no head alone");
    if ((kind == "prefix" || kind == "prompt") && parts_.size() > 1) refuse(parts_[1].path, "PEFT keeps one " + kind + " in a folder");
    check_distinct_sites();
    return kind;
  }

  void check_distinct_sites() const {
    std::set<std::string> seen;
    for (const Part& part : parts_) {
      for (const Site& site : part.spec->sites) {
        if (!seen.insert(site.name).second) refuse(part.path, "PEFT keeps one change of a module, and " + site.name + " has two");
      }
    }
  }

  const Tensor& stored(const std::string& name) const { return tensors_.at(name); }
  void put(const std::string& name, const Tensor& tensor) { out_[name] = tensor.detach().to(at::kFloat).contiguous().clone(); }
  std::string key(const std::string& layer) const { return root_ + modules_.by_name(layer).path; }
  static double number(const Node& options, const char* name) { return std::stod(options.find(name)->scalar); }
  static bool is_true(const Node& options, const char* name) { return options.find(name)->scalar == "true"; }

  // A number that all parts share, or an error.
  double shared(const char* name, const std::string& theirs) const {
    const double first = number(parts_.front().options, name);
    for (const Part& part : parts_) {
      if (number(part.options, name) != first) refuse(part.path, theirs + " is one number in PEFT: expected " + Node::number(first).scalar + " as in " + parts_.front().path + ", found " + Node::number(number(part.options, name)).scalar);
    }
    return first;
  }

  // The shortest endings of `layers` by which PEFT chooses them and nothing else, or whole paths where no endings do.
  std::vector<std::string> target_names(const std::vector<std::string>& layers) const {
    std::set<std::string> wanted, endings;
    for (const std::string& layer : layers) wanted.insert(modules_.by_name(layer).path);
    for (const std::string& path : wanted) endings.insert(shortest_ending(path, wanted));
    return {endings.begin(), endings.end()};
  }

  std::string shortest_ending(const std::string& path, const std::set<std::string>& wanted) const {
    for (size_t dot = path.rfind('.'); dot != std::string::npos && dot > 0; dot = path.rfind('.', dot - 1)) {
      const std::string ending = path.substr(dot + 1);
      const auto is_unwanted = [&](const Modules::Layer& layer) { return has_suffix(layer.path, ending) && !wanted.contains(layer.path); };
      if (std::none_of(modules_.layers().begin(), modules_.layers().end(), is_unwanted)) return ending;
    }
    return path;
  }

  // ---- LoRA and DoRA
  struct Scale {
    int64_t rank;
    double alpha;
    auto operator<=>(const Scale&) const = default;
  };

  void write_lora(bool is_dora) {
    config_ = parse_json(kLoraFields, "PEFT's fields");
    const auto stabilised = std::count_if(parts_.begin(), parts_.end(), [](const Part& part) { return is_true(part.options, "rslora"); });
    const bool all_stabilised = stabilised == static_cast<std::ptrdiff_t>(parts_.size());
    std::map<std::string, Scale> scales;
    std::vector<std::string> layers;
    std::map<std::string, std::vector<Branch>> joint;   // of layers that PEFT has as one
    for (const Part& part : parts_) {
      Scale scale{static_cast<int64_t>(number(part.options, "rank")), number(part.options, "alpha")};
      // rsLoRA is one switch in PEFT: where only some edits have it, their alpha carries it.
      if (is_true(part.options, "rslora") && !all_stabilised) scale.alpha *= std::sqrt(static_cast<double>(scale.rank));
      for (const Site& site : part.spec->sites) {
        scales.emplace(site.name, scale);
        layers.push_back(site.name);
        const std::string from = part.path + site.name, to = key(site.name);
        if (!modules_.by_name(site.name).pieces.empty()) {
          joint[to].push_back({&site, &part});
          continue;
        }
        put(to + ".lora_A.weight", stored(from + ".lora_a"));
        put(to + ".lora_B.weight", stored(from + ".lora_b"));
        if (is_dora) put(to + ".lora_magnitude_vector", stored(from + ".magnitude"));
      }
    }
    for (const auto& [to, branches] : joint) write_joint(to, branches, is_dora, scales);
    write_scales(scales);
    config_["lora_dropout"] = Node::number(shared("dropout", "lora_dropout"));
    config_["use_rslora"] = Node::boolean(all_stabilised);
    config_["use_dora"] = Node::boolean(is_dora);
    config_["target_modules"] = names_node(target_names(layers));
    if (!biases_.empty()) write_biases(scales);
  }

  struct Branch {
    const Site* site;
    const Part* part;
  };

  // Branches of several of our layers as one over all outputs of theirs: where they share an A its B's lie end to end, else the ranks add up, and
  // each A reaches its own outputs only. With alpha' = alpha R' / R the product keeps its weight alpha / R.
  void write_joint(const std::string& to, const std::vector<Branch>& branches, bool is_dora, std::map<std::string, Scale>& scales) {
    const std::vector<std::string>& pieces = modules_.by_name(branches.front().site->name).pieces;
    const auto path = [](const Branch& branch) { return branch.part->path + branch.site->name; };
    const Branch& first = branches.front();
    const Scale scale = scales.at(first.site->name);
    bool shares = true;
    for (const Branch& branch : branches) {
      const Scale& own = scales.at(branch.site->name);
      const bool is_same = own.rank == scale.rank && own.alpha == scale.alpha;
      if (!is_same) refuse(branch.part->path, "PEFT has " + joined(pieces) + " as one layer, with one rank and alpha: expected those of " + first.site->name + " for " + branch.site->name);
      shares &= stored(path(branch) + ".lora_a").equal(stored(path(first) + ".lora_a"));
    }
    if (is_dora && (!shares || branches.size() != pieces.size())) refuse(first.part->path, "PEFT has " + joined(pieces) + " as one layer: DoRA there needs all of them, with one lora_a");
    const bool is_stabilised = is_true(first.part->options, "rslora");
    if (is_stabilised && !shares) refuse(first.part->path, "PEFT has " + joined(pieces) + " as one layer, whose joint rank rslora would count: expected rslora: false");
    std::vector<Tensor> a, b, magnitudes;
    const int64_t rank = shares ? scale.rank : scale.rank * static_cast<int64_t>(branches.size());
    for (const std::string& piece : pieces) {
      const auto found = std::find_if(branches.begin(), branches.end(), [&](const Branch& branch) { return branch.site->name == piece; });
      Tensor rows = at::zeros({model_.sites.at(piece).output_width, rank});
      if (found != branches.end()) {
        const auto place = shares ? 0 : static_cast<int64_t>(a.size()) * scale.rank;
        rows.slice(1, place, place + scale.rank).copy_(stored(path(*found) + ".lora_b").detach());
        if (!shares || a.empty()) a.push_back(stored(path(*found) + ".lora_a").detach());
        if (is_dora) magnitudes.push_back(stored(path(*found) + ".magnitude").detach());
      }
      b.push_back(rows);
    }
    put(to + ".lora_A.weight", at::cat(a));
    put(to + ".lora_B.weight", at::cat(b));
    if (is_dora) put(to + ".lora_magnitude_vector", at::cat(magnitudes));
    for (const Branch& branch : branches) scales[branch.site->name] = {rank, scale.alpha * static_cast<double>(rank) / static_cast<double>(scale.rank)};
  }

  // The most frequent rank and alpha stand in r and lora_alpha, the others in patterns.
  void write_scales(const std::map<std::string, Scale>& scales) {
    std::map<int64_t, int> ranks;
    std::map<double, int> alphas;
    for (const auto& [layer, scale] : scales) ++ranks[scale.rank], ++alphas[scale.alpha];
    const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
    const Scale usual{std::max_element(ranks.begin(), ranks.end(), fewer)->first, std::max_element(alphas.begin(), alphas.end(), fewer)->first};
    config_["r"] = Node::integer(usual.rank);
    config_["lora_alpha"] = Node::number(usual.alpha);
    for (const auto& [layer, scale] : scales) {
      const std::string& path = modules_.by_name(layer).path;
      if (scale.rank != usual.rank) config_["rank_pattern"][path] = Node::integer(scale.rank);
      if (scale.alpha != usual.alpha) config_["alpha_pattern"][path] = Node::number(scale.alpha);
    }
  }

  void write_biases(const std::map<std::string, Scale>& adapted) {
    config_["bias"] = Node::text("all");
    for (const TensorSlot& slot : tensor_slots(model_.config)) {
      if (!slot.name.ends_with(".bias")) continue;
      if (!tensors_.contains(biases_ + slot.name)) {
        if (trains_pooler()) continue;   // the pooler's, which the head holds
        refuse(biases_, "bias: all holds every bias of the model, but " + slot.name + " was not trained");
      }
      const std::string layer = slot.name.substr(0, slot.name.size() - 5);
      put(key(layer) + (adapted.contains(layer) ? ".base_layer.bias" : ".bias"), stored(biases_ + slot.name));
    }
  }

  // ---- (IA)^3
  void write_ia3() {
    config_ = parse_json(kIa3Fields, "PEFT's fields");
    std::vector<std::string> layers, inputs;
    std::map<std::string, std::map<std::string, Tensor>> joint;   // of layers that PEFT has as one: our layer -> its scales
    for (const Part& part : parts_) {
      if (is_true(part.options, "shift") || !is_true(part.options, "scale")) refuse(part.path, "PEFT's (IA)^3 scales and does not shift");
      for (const Site& site : part.spec->sites) {
        const bool is_input = site.part == (model_.config.has_gated_ffn ? "ffn.mid" : "ffn.act");
        if (!is_input && site.kind != SiteKind::kLinear) refuse(part.path, "PEFT's (IA)^3 scales what leaves a linear layer or enters the second feed-forward one; " + site.name + " is neither");
        const std::string layer = is_input ? site.stack + "." + std::to_string(site.layer) + ".ffn.down" : site.name;
        if (std::find(layers.begin(), layers.end(), layer) != layers.end()) refuse(part.path, "PEFT's (IA)^3 scales what enters or what leaves " + modules_.by_name(layer).path + ", not both");
        layers.push_back(layer);
        if (is_input) inputs.push_back(layer);
        const Tensor& scale = stored(part.path + site.name + ".scale");
        if (!modules_.by_name(layer).pieces.empty()) joint[key(layer)][layer] = scale;
        else put(key(layer) + ".ia3_l", scale.unsqueeze(is_input ? 0 : 1));
      }
    }
    config_["target_modules"] = names_node(target_names(layers));
    for (const auto& [to, own] : joint) {
      std::vector<Tensor> all;
      for (const std::string& piece : modules_.by_name(own.begin()->first).pieces) {
        const auto found = own.find(piece);
        all.push_back(found == own.end() ? at::ones({model_.sites.at(piece).output_width}) : found->second.detach());
      }
      put(to + ".ia3_l", at::cat(all).unsqueeze(1));
    }
    config_["feedforward_modules"] = names_node(target_names(inputs));
  }

  // ---- prefix and prompt
  void write_shape(int64_t length) {
    config_["num_virtual_tokens"] = Node::integer(length);
    const ModelConfig& c = model_.config;
    const bool is_prefix = config_.find("prefix_projection") != nullptr;   // whose rows are keys, of as many heads as there are
    config_["num_layers"] = Node::integer(c.layers + c.decoder_layers);
    config_["num_attention_heads"] = Node::integer(is_prefix ? c.key_heads : c.heads);
    config_["token_dim"] = Node::integer(is_prefix ? c.key_width() : c.width);
  }

  void write_prefix() {
    config_ = parse_json(kPrefixFields, "PEFT's fields");
    const Part& part = parts_.front();
    const int64_t layers = model_.config.layers + model_.config.decoder_layers;
    if (static_cast<int64_t>(part.spec->sites.size()) != layers) refuse(part.path, "PEFT's prefix stands in every layer, found " + std::to_string(part.spec->sites.size()) + " of " + std::to_string(layers));
    if (!is_true(part.options, "counts_positions")) refuse(part.path, "PEFT counts the rows of a prefix as positions before the tokens': expected counts_positions: true, as it must be trained");
    std::vector<Tensor> rows;
    for (const Site& site : part.spec->sites) {
      for (const char* name : {".keys", ".values"}) rows.push_back(stored(part.path + site.name + name));
    }
    write_shape(rows.front().size(0));
    config_["encoder_hidden_size"] = Node::integer(model_.config.width);
    put(kPeftPromptTensor, at::cat(rows, 1));
  }

  void write_prompt() {
    config_ = parse_json(kPromptFields, "PEFT's fields");
    const Part& part = parts_.front();
    if (part.options.find("position")->scalar != "before") refuse(part.path, "PEFT's prompt stands before all tokens: expected position before, found " + part.options.find("position")->scalar);
    const Tensor& prompt = stored(part.path + "embed.word.prompt");
    write_shape(prompt.size(0));
    put(kPeftPromptTensor, prompt);
  }

  // ---- the head
  bool trains_pooler() const { return tensors_.contains(std::string(Adapter::kHeadPath) + "pooler.weight"); }

  void write_head() {
    if (adapter_.head() == nullptr) return;
    std::vector<std::string> saved = {"classifier"};
    for (const ParamSpec& param : adapter_.head()->params()) {
      const size_t dot = param.name.rfind('.');
      const std::string layer = param.name.substr(0, dot), tensor = param.name.substr(dot);
      put(key(layer == "pooler" ? layer : "head/" + layer) + tensor, stored(Adapter::kHeadPath + param.name));
    }
    if (trains_pooler()) saved.emplace_back("pooler");
    saved.emplace_back("score");   // as PEFT lists it for every classifier
    config_["modules_to_save"] = names_node(saved);
  }

  const Adapter& adapter_;
  const NamedTensors& tensors_;
  const Model& model_;
  const Family& family_;
  std::string prefix_, root_, biases_;   // biases_: the path of a bitfit edit
  Modules modules_;
  std::vector<Part> parts_;
  Node config_;
  NamedTensors out_;
};

}  // namespace

void write_peft(const Path& dir, const Adapter& adapter, const NamedTensors& tensors, const Model& model) {
  const PlainAdapter flat = flat_adapter(adapter, tensors, model);
  Writer writer(flat.adapter, flat.tensors, model);
  writer.build();
  make_directories(dir);
  save_safetensors(dir / "adapter_model.safetensors", writer.tensors(), {{"format", "pt"}});
  write_file_atomically(dir / "adapter_config.json", to_json(writer.config()) + "\n");
}

}  // namespace graft
