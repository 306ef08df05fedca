#include <algorithm>
#include <set>

#include "base/error.h"
#include "interop/peft.h"
#include "interop/peft_reader.h"

namespace graft {

namespace {

const std::vector<std::string> kTypes = {"LORA",          "IA3",           "VERA",
                                         "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"};

// A field of PEFT that is null has its default, like one that is not there.
Node without_nulls(Node json) {
  std::erase_if(json.members,
                [](const auto& member) { return member.second.kind == Node::Kind::kNull; });
  return json;
}

// The name that PEFT gives an adapter in memory stands in a file whose tensors were not saved by
// PEFT itself; so does the wrapper of a saved module.
std::string plain_name(std::string name) {
  for (const char* kept :
       {".lora_A", ".lora_B", ".lora_magnitude_vector", ".ia3_l", ".vera_lambda_d",
        ".vera_lambda_b", ".vera_A", ".vera_B", ".modules_to_save"}) {
    const std::string named = std::string(kept) + ".default";
    const size_t at = name.find(named);
    if (at != std::string::npos)
      name.erase(at + std::string_view(kept).size(), std::string_view(".default").size());
  }
  const std::string magnitude = ".lora_magnitude_vector.weight";
  if (name.ends_with(magnitude)) name.erase(name.size() - std::string_view(".weight").size());
  return name;
}

ForeignTensors without_adapter_name(const ForeignTensors& file) {
  NamedTensors out;
  for (const auto& [name, tensor] : file.all()) {
    const std::string plain = plain_name(name);
    if (!out.emplace(plain, tensor).second)
      throw InputError(file.source() + ": holds " + quote(plain) +
                       " twice, with and without the adapter's name");
  }
  const std::string wrapper = ".modules_to_save";
  for (const auto& [name, tensor] :
       NamedTensors(out)) {  // a wrapped copy without the plain one is the module itself
    const size_t at = name.find(wrapper + ".");
    if (at == std::string::npos) continue;
    const std::string plain = name.substr(0, at) + name.substr(at + wrapper.size());
    if (out.emplace(plain, tensor).second) out.erase(name);
  }
  return {std::move(out), file.source()};
}

}  // namespace

PeftReader::PeftReader(const Path& dir, const Model& model, const Node& json, std::string type)
    : model_(model),
      family_(family_of(model.config)),
      json_(without_nulls(json)),
      config_(json_, (dir / "adapter_config.json").string()),
      tensors_(without_adapter_name(
          load_foreign_tensors(dir, "adapter_model.safetensors", "adapter_model.bin"))),
      type_(std::move(type)),
      root_(type_ == "LORA" || type_ == "IA3" || type_ == "VERA" ? kPeftLayersRoot
                                                                 : kPeftPromptRoot),
      has_head_(read_task_type()),
      modules_(model, prefix(), has_head_) {}

ForeignAdapter PeftReader::read() {
  ignore_fields(config_, {"peft_type", "auto_mapping", "base_model_name_or_path", "revision",
                          "inference_mode", "runtime_config"});
  read_modules_to_save();
  read_head();
  if (type_ == "LORA") read_lora();
  else if (type_ == "IA3") read_ia3();
  else if (type_ == "VERA") read_vera();
  else read_prompt();
  drop_wrappers();
  foreign_.origin = "peft " + config_.text("peft_version", "of an unknown version") + " (" + type_ +
                    notes_text(notes_) + ")";
  ignore_unused(config_, json_);
  refuse_unknown();
  tensors_.finish(faults_of(config_));
  return std::move(foreign_);
}

// What a field that is not known here does cannot be told: the user may.
void PeftReader::refuse_unknown() {
  const std::vector<std::string> known = config_.known();
  for (const std::string& name : config_.unread()) {
    config_.fault(name, "unknown key" + did_you_mean(name, known) +
                            "; if the adapter computes the same without it, take it out of the "
                            "file");
    config_.ignore(name);
  }
}

bool PeftReader::holds_any(const std::string& start) const {
  const auto found = tensors_.all().lower_bound(start);
  return found != tensors_.all().end() && found->first.starts_with(start);
}

// True where the model has a classifier.
bool PeftReader::read_task_type() {
  const Node* node = config_.raw("task_type");
  const std::string type = is_unused(node) ? "" : config_.text("task_type", "");
  std::vector<std::string> known = {"SEQ_CLS", "FEATURE_EXTRACTION"};
  if (model_.config.has_decoder())
    known.insert(known.begin(), model_.config.has_encoder() ? "SEQ_2_SEQ_LM" : "CAUSAL_LM");
  if (type.empty()) return holds_any(root_ + head_module(family_) + ".");
  if (std::find(known.begin(), known.end(), type) == known.end()) {
    known.emplace_back("null");
    config_.fault("task_type", "expected " + joined(known, "or") + ", found " + quote(type) +
                                   ": heads for other tasks have no place here");
  }
  return type == "SEQ_CLS" ||
         (!model_.config.has_decoder() && holds_any(root_ + head_module(family_) + "."));
}

std::string PeftReader::prefix() const {
  for (const std::string& prefix : family_.prefixes) {
    if (!prefix.empty() && holds_any(root_ + prefix)) return prefix;
  }
  return has_head_ ? family_.trunk_prefix(true) : "";
}

// The bare class of a family without a pooler has one that its checkpoints lack.
bool PeftReader::is_unread(const Modules::Layer& layer) const {
  return layer.is_linear && layer.name.empty() && layer.pieces.empty();
}

bool PeftReader::has_sites(const Modules::Layer& layer) const {
  const std::vector<Site>& all = model_.sites.all();
  return !layer.pieces.empty() || std::any_of(all.begin(), all.end(), [&](const Site& site) {
    return site.name == layer.name;
  });
}

bool PeftReader::is_changed(const PeftTargets& targets, const Modules::Layer& layer,
                            const std::string& suffix) {
  const bool is_chosen = targets.chooses(layer), is_held = tensors_.has(key(layer) + suffix);
  if (is_chosen && is_held && is_unread(layer)) {
    notes_.push_back("the change of " + layer.path + " left out, which nothing here reads");
    for (const auto& [name, tensor] : tensors_.all()) {
      if (name.starts_with(key(layer) + ".")) tensors_.drop(name);
    }
    return false;
  }
  if (is_chosen && !is_held)
    tensors_.fault("holds no " + quote(key(layer) + suffix) + ", although target_modules choose " +
                   layer.path);
  if (!is_chosen && is_held)
    tensors_.fault("tensor " + quote(key(layer) + suffix) +
                   " changes a module that target_modules do not choose");
  if (is_held && !has_sites(layer)) {
    tensors_.fault("tensor " + quote(key(layer) + suffix) + ": " + layer.path +
                   " is no site of a model, so it cannot be changed here");
    return false;
  }
  return is_chosen && is_held;
}

ForeignAdapter read_peft(const Path& dir, const Model& model) {
  const Path file = dir / "adapter_config.json";
  const Node json = parse_json(read_file(file), file.string());
  Options config(json, file.string());
  const std::string type = config.text("peft_type", std::nullopt);
  if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) {
    throw InputError(file.string() + ": /peft_type: expected " + joined(kTypes, "or") + ", found " +
                     (type.empty() ? "nothing" : quote(type)) + did_you_mean(type, kTypes));
  }
  return PeftReader(dir, model, json, type).read();
}

Node site_options(const std::vector<Site>& chosen, const Sites& all) {
  std::vector<std::string> parts;
  std::vector<int64_t> layers;
  std::set<int64_t> every;
  for (const Site& site : all.all()) {
    if (site.layer >= 0) every.insert(site.layer);
  }
  size_t in_blocks = 0;
  for (const Site& site : chosen) {
    if (std::find(parts.begin(), parts.end(), part_name(site.part)) == parts.end())
      parts.emplace_back(part_name(site.part));
    if (site.layer < 0) continue;  // the pooler is chosen whatever the layers
    ++in_blocks;
    if (std::find(layers.begin(), layers.end(), site.layer) == layers.end())
      layers.push_back(site.layer);
  }
  const size_t block_parts = parts.size() - (chosen.size() - in_blocks);
  // Sites are distinct. With two stacks a part's name would mean both.
  const bool has_two_stacks =
      all.all().back().stack == StackId::kDecoder && all.all()[2].stack == StackId::kEncoder;
  const bool is_rectangle = !has_two_stacks && in_blocks == block_parts * layers.size();
  std::vector<Node> names, numbers;
  if (is_rectangle) {
    for (const std::string& part : parts) names.push_back(Node::text(part));
    if (layers.size() < every.size()) {
      for (const int64_t layer : layers) numbers.push_back(Node::integer(layer));
    }
  } else {
    for (const Site& site : chosen) names.push_back(Node::text(site.name));
  }
  return Node::map(
      {{"sites", Node::list(std::move(names))}, {"layers", Node::list(std::move(numbers))}});
}

}  // namespace graft
