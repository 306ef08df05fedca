// What a folder of PEFT is given of each method: LoRA and DoRA, (IA)^3, VeRA, prefix and prompt.
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "interop/peft.h"
#include "interop/peft_writer.h"

namespace graft {

namespace {

using at::Tensor;

// What PEFT writes of each kind of adapter when nothing is chosen; keys sorted, as it sorts them.
constexpr const char* kPeftLoraFields =
    R"({"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
  "base_model_name_or_path": null, "bias": "none", "corda_config": null, "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null,
  "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
  "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0, "lora_ga_config": null,
  "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null, "monteclora_config": null, "peft_type": "LORA",
  "peft_version": null, "qalora_group_size": 16, "r": 8, "rank_pattern": {}, "revision": null, "target_modules": null, "target_parameters": null,
  "task_type": null, "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false, "use_rslora": false,
  "velora_config": null})";
constexpr const char* kPeftIa3Fields =
    R"({"auto_mapping": null, "base_model_name_or_path": null, "exclude_modules": null, "fan_in_fan_out": false,
  "feedforward_modules": [], "inference_mode": true, "init_ia3_weights": true, "modules_to_save": null, "peft_type": "IA3", "peft_version": null,
  "revision": null, "target_modules": null, "task_type": null})";
constexpr const char* kPeftVeraFields =
    R"({"auto_mapping": null, "base_model_name_or_path": null, "bias": "none", "d_initial": 0.1, "fan_in_fan_out": false,
  "inference_mode": true, "init_weights": true, "layers_pattern": null, "layers_to_transform": null, "modules_to_save": null,
  "peft_type": "VERA", "peft_version": null, "projection_prng_key": 0, "r": 256, "revision": null, "save_projection": true,
  "target_modules": null, "task_type": null, "vera_dropout": 0.0})";
constexpr const char* kPeftPrefixFields =
    R"({"auto_mapping": null, "base_model_name_or_path": null, "encoder_hidden_size": null, "inference_mode": true,
  "init_weights": null, "modules_to_save": null, "num_attention_heads": 0, "num_layers": 0, "num_transformer_submodules": 1, "num_virtual_tokens": 0,
  "peft_type": "PREFIX_TUNING", "peft_version": null, "prefix_projection": false, "revision": null, "task_type": null, "token_dim": 0})";
constexpr const char* kPeftPromptFields =
    R"({"auto_mapping": null, "base_model_name_or_path": null, "inference_mode": true, "modules_to_save": null,
  "num_attention_heads": 0, "num_layers": 0, "num_transformer_submodules": 1, "num_virtual_tokens": 0, "peft_type": "PROMPT_TUNING",
  "peft_version": null, "prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": null, "revision": null, "task_type": null, "token_dim": 0,
  "tokenizer_kwargs": null, "tokenizer_name_or_path": null})";

}  // namespace

// ---- LoRA and DoRA
struct PeftWriter::Scale {
  int64_t rank;
  double alpha;
  bool operator==(const Scale&) const = default;
};

struct PeftWriter::Branch {
  const Site* site;
  const Part* part;
};

void PeftWriter::write_lora(bool is_dora) {
  config_ = parse_json(kPeftLoraFields, "PEFT's fields");
  const auto stabilised = std::count_if(parts_.begin(), parts_.end(), [](const Part& part) {
    return is_true(part.options, "rslora");
  });
  const bool all_stabilised = stabilised == static_cast<std::ptrdiff_t>(parts_.size());
  std::map<std::string, Scale> scales;
  std::vector<std::string> layers;
  std::map<std::string, std::vector<Branch>> joint;  // of layers that PEFT has as one
  for (const Part& part : parts_) {
    Scale scale{integer_in(part.options, "rank"), number_in(part.options, "alpha")};
    // rsLoRA is one switch in PEFT: where only some edits have it, their alpha carries it.
    if (is_true(part.options, "rslora") && !all_stabilised)
      scale.alpha *= std::sqrt(static_cast<double>(scale.rank));
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
  config_["target_modules"] = Node::texts(target_names(layers));
  if (!biases_.empty()) write_biases(scales);
}

// Branches of several of our layers as one over all outputs of theirs: where they share an A its
// B's lie end to end, else the ranks add up, and each A reaches its own outputs only. With alpha' =
// alpha R' / R the product keeps its weight alpha / R.
void PeftWriter::write_joint(const std::string& to, const std::vector<Branch>& branches,
                             bool is_dora, std::map<std::string, Scale>& scales) {
  const std::vector<std::string>& pieces = modules_.by_name(branches.front().site->name).pieces;
  const auto path = [](const Branch& branch) { return branch.part->path + branch.site->name; };
  const Branch& first = branches.front();
  const Scale scale = scales.at(first.site->name);
  bool shares = true;
  for (const Branch& branch : branches) {
    if (scales.at(branch.site->name) != scale)
      refuse(branch.part->path, "PEFT has " + joined(pieces) +
                                    " as one layer, with one rank and alpha: expected those of " +
                                    first.site->name + " for " + branch.site->name);
    shares &= stored(path(branch) + ".lora_a").equal(stored(path(first) + ".lora_a"));
  }
  if (is_dora && (!shares || branches.size() != pieces.size()))
    refuse(first.part->path, "PEFT has " + joined(pieces) +
                                 " as one layer: DoRA there needs all of them, with one lora_a");
  const bool is_stabilised = is_true(first.part->options, "rslora");
  if (is_stabilised && !shares)
    refuse(first.part->path,
           "PEFT has " + joined(pieces) +
               " as one layer, whose joint rank rslora would count: expected rslora: false");
  std::vector<Tensor> a, b, magnitudes;
  const int64_t rank = shares ? scale.rank : scale.rank * static_cast<int64_t>(branches.size());
  for (const std::string& piece : pieces) {
    const auto found = std::find_if(branches.begin(), branches.end(), [&](const Branch& branch) {
      return branch.site->name == piece;
    });
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
  for (const Branch& branch : branches)
    scales[branch.site->name] = {
        rank, scale.alpha * static_cast<double>(rank) / static_cast<double>(scale.rank)};
}

// The most frequent rank and alpha stand in r and lora_alpha, the others in patterns.
void PeftWriter::write_scales(const std::map<std::string, Scale>& scales) {
  std::map<int64_t, int> ranks;
  std::map<double, int> alphas;
  for (const auto& [layer, scale] : scales) ++ranks[scale.rank], ++alphas[scale.alpha];
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  const Scale usual{std::max_element(ranks.begin(), ranks.end(), fewer)->first,
                    std::max_element(alphas.begin(), alphas.end(), fewer)->first};
  config_["r"] = Node::integer(usual.rank);
  config_["lora_alpha"] = Node::number(usual.alpha);
  for (const auto& [layer, scale] : scales) {
    const std::string& path = modules_.by_name(layer).path;
    if (scale.rank != usual.rank) config_["rank_pattern"][path] = Node::integer(scale.rank);
    if (scale.alpha != usual.alpha) config_["alpha_pattern"][path] = Node::number(scale.alpha);
  }
}

void PeftWriter::write_biases(const std::map<std::string, Scale>& adapted) {
  config_["bias"] = Node::text("all");
  for (const TensorSlot& slot : tensor_slots(model_.config)) {
    if (slot.id.kind != TensorKind::kBias) continue;
    const std::string name = slot.name(), layer = to_name(slot.id.place);
    if (!tensors_.contains(biases_ + name)) {
      if (trains_pooler()) continue;  // the pooler's, which the head holds
      refuse(biases_, "bias: all holds every bias of the model, but " + name + " was not trained");
    }
    put(key(layer) + (adapted.contains(layer) ? ".base_layer.bias" : ".bias"),
        stored(biases_ + name));
  }
}

// ---- (IA)^3
void PeftWriter::write_ia3() {
  config_ = parse_json(kPeftIa3Fields, "PEFT's fields");
  std::vector<std::string> layers, inputs;
  std::map<std::string, std::map<std::string, Tensor>>
      joint;  // of layers that PEFT has as one: our layer -> its scales
  for (const Part& part : parts_) {
    if (is_true(part.options, "shift") || !is_true(part.options, "scale"))
      refuse(part.path, "PEFT's (IA)^3 scales and does not shift");
    for (const Site& site : part.spec->sites) {
      const Site& target = site.kind == SiteKind::kActivation ? model_.sites.reader_of(site) : site;
      const bool is_input =
          site.kind == SiteKind::kActivation && model_.sites.input_of(target)->index == site.index;
      if (!is_input && site.kind != SiteKind::kLinear)
        refuse(part.path,
               "PEFT's (IA)^3 scales what leaves a linear layer or all that enters it; " +
                   site.name + " is neither");
      const std::string& layer = target.name;
      if (std::find(layers.begin(), layers.end(), layer) != layers.end())
        refuse(part.path, "PEFT's (IA)^3 scales what enters or what leaves " +
                              modules_.by_name(layer).path + ", not both");
      layers.push_back(layer);
      if (is_input) inputs.push_back(layer);
      const Tensor& scale = stored(part.path + site.name + ".scale");
      if (!modules_.by_name(layer).pieces.empty()) joint[key(layer)][layer] = scale;
      else put(key(layer) + ".ia3_l", scale.unsqueeze(is_input ? 0 : 1));
    }
  }
  config_["target_modules"] = Node::texts(target_names(layers));
  for (const auto& [to, own] : joint) {
    std::vector<Tensor> all;
    for (const std::string& piece : modules_.by_name(own.begin()->first).pieces) {
      const auto found = own.find(piece);
      all.push_back(found == own.end() ? at::ones({model_.sites.at(piece).output_width})
                                       : found->second.detach());
    }
    put(to + ".ia3_l", at::cat(all).unsqueeze(1));
  }
  config_["feedforward_modules"] = Node::texts(target_names(inputs));
}

// ---- VeRA
void PeftWriter::write_vera() {
  config_ = parse_json(kPeftVeraFields, "PEFT's fields");
  const Part& part = parts_.front();
  if (parts_.size() > 1)
    refuse(parts_[1].path,
           "PEFT keeps one pair of projections, as wide as all layers need: give "
           "one vera edit all of the sites");
  std::vector<std::string> layers;
  for (const Site& site : part.spec->sites) {
    if (!modules_.by_name(site.name).pieces.empty())
      refuse(part.path, "PEFT has " + joined(modules_.by_name(site.name).pieces) +
                            " as one layer, with one pair of vectors");
    layers.push_back(site.name);
    put(key(site.name) + ".vera_lambda_d", stored(part.path + site.name + ".vera_d"));
    put(key(site.name) + ".vera_lambda_b", stored(part.path + site.name + ".vera_b"));
  }
  const bool is_saved = is_true(part.options, "save_projection");
  if (is_saved) {
    put(kPeftVeraA, stored(part.path + "projection_a"));
    put(kPeftVeraB, stored(part.path + "projection_b"));
  }
  config_["r"] = *part.options.find("rank");
  config_["d_initial"] = *part.options.find("d_initial");
  config_["vera_dropout"] = *part.options.find("dropout");
  config_["projection_prng_key"] = *part.options.find("projection_seed");
  config_["save_projection"] = Node::boolean(is_saved);
  config_["target_modules"] = Node::texts(target_names(layers));
}

// ---- prefix and prompt
void PeftWriter::write_shape(int64_t length) {
  config_["num_virtual_tokens"] = Node::integer(length);
  const ModelConfig& c = model_.config;
  const bool is_prefix = config_.find("prefix_projection") !=
                         nullptr;  // whose rows are keys, of as many heads as there are
  config_["num_layers"] = Node::integer(c.all_layers());
  config_["num_attention_heads"] = Node::integer(is_prefix ? c.last().key_heads : c.last().heads);
  config_["token_dim"] = Node::integer(is_prefix ? c.last().key_width() : c.width);
}

void PeftWriter::write_prefix() {
  config_ = parse_json(kPeftPrefixFields, "PEFT's fields");
  const Part& part = parts_.front();
  const int64_t layers = model_.config.all_layers();
  if (static_cast<int64_t>(part.spec->sites.size()) != layers)
    refuse(part.path, "PEFT's prefix stands in every layer, found " +
                          std::to_string(part.spec->sites.size()) + " of " +
                          std::to_string(layers));
  if (!is_true(part.options, "counts_positions"))
    refuse(part.path,
           "PEFT counts the rows of a prefix as positions before the tokens': expected "
           "counts_positions: true, as it must be "
           "trained");
  std::vector<Tensor> rows;
  for (const Site& site : part.spec->sites) {
    for (const char* name : {".keys", ".values"})
      rows.push_back(stored(part.path + site.name + name));
  }
  write_shape(rows.front().size(0));
  config_["encoder_hidden_size"] = Node::integer(model_.config.width);
  put(kPeftPromptTensor, at::cat(rows, 1));
}

void PeftWriter::write_prompt() {
  config_ = parse_json(kPeftPromptFields, "PEFT's fields");
  const Part& part = parts_.front();
  if (word_in(part.options, "position") != "before")
    refuse(part.path, "PEFT's prompt stands before all tokens: expected position before, found " +
                          word_in(part.options, "position"));
  const Tensor& prompt = stored(part.path + "embed.word.prompt");
  write_shape(prompt.size(0));
  put(kPeftPromptTensor, prompt);
}

}  // namespace graft
