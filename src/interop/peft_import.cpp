#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "interop/peft.h"
#include "interop/peft_reader.h"

namespace graft {

namespace {

const std::vector<std::string> kTypes = {"LORA", "IA3", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"};

// A field of PEFT that is null has its default, like one that is not there.
Node without_nulls(Node json) {
  std::erase_if(json.members, [](const auto& member) { return member.second.kind == Node::Kind::kNull; });
  return json;
}

// The name that PEFT gives an adapter in memory stands in a file whose tensors were not saved by PEFT itself; so does the wrapper
// of a saved module.
std::string plain_name(std::string name) {
  for (const char* kept : {".lora_A", ".lora_B", ".lora_magnitude_vector", ".ia3_l", ".modules_to_save"}) {
    const std::string named = std::string(kept) + ".default";
    const size_t at = name.find(named);
    if (at != std::string::npos) name.erase(at + std::string_view(kept).size(), std::string_view(".default").size());
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
      throw InputError(file.source() + ": holds " + quote(plain) + " twice, with and without the adapter's name");
  }
  const std::string wrapper = ".modules_to_save";
  for (const auto& [name, tensor] : NamedTensors(out)) {  // a wrapped copy without the plain one is the module itself
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
      tensors_(without_adapter_name(load_foreign_tensors(dir, "adapter_model.safetensors", "adapter_model.bin"))),
      type_(std::move(type)),
      root_(type_ == "LORA" || type_ == "IA3" ? kPeftLayersRoot : kPeftPromptRoot),
      has_head_(read_task_type()),
      modules_(model, prefix(), has_head_) {}

ForeignAdapter PeftReader::read() {
  ignore_fields(config_,
                {"peft_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "runtime_config"});
  read_modules_to_save();
  if (type_ == "LORA") read_lora();
  else if (type_ == "IA3") read_ia3();
  else read_prompt();
  read_head();
  std::string notes;
  for (const std::string& note : notes_) notes += "; " + note;
  foreign_.origin = "peft " + config_.text("peft_version", "of an unknown version") + " (" + type_ + notes + ")";
  ignore_unused(config_, json_);
  tensors_.finish(faults_of(config_));
  return std::move(foreign_);
}

bool PeftReader::holds_any(const std::string& start) const {
  const auto found = tensors_.all().lower_bound(start);
  return found != tensors_.all().end() && found->first.starts_with(start);
}

// True where the model has a classifier.
bool PeftReader::read_task_type() {
  const Node* node = config_.raw("task_type");
  const std::string type = is_unused(node) ? "" : config_.text("task_type", "");
  if (model_.config.has_decoder()) {  // whose heads are neither read nor written; the vocabulary's output layer is none
    const std::string own = model_.config.has_encoder() ? "SEQ_2_SEQ_LM" : "CAUSAL_LM";
    if (!type.empty() && type != own && type != "FEATURE_EXTRACTION")
      config_.fault("task_type", "expected " + own + ", FEATURE_EXTRACTION or null, found " + quote(type) +
                                     ": the head of a " + model_.config.model_type + " model is not read from PEFT");
    return false;
  }
  const bool is_known = type.empty() || type == "SEQ_CLS" || type == "FEATURE_EXTRACTION";
  if (!is_known)
    config_.fault("task_type", "expected SEQ_CLS, FEATURE_EXTRACTION or null, found " + quote(type) +
                                   ": heads for other tasks have no place here");
  return type == "SEQ_CLS" || holds_any(root_ + "classifier.");
}

std::string PeftReader::prefix() const {
  for (const std::string& prefix : family_.prefixes) {
    if (!prefix.empty() && holds_any(root_ + prefix)) return prefix;
  }
  return has_head_ ? family_.trunk_prefix(true) : "";
}

bool PeftReader::trains_pooler() const { return std::find(saved_.begin(), saved_.end(), "pooler") != saved_.end(); }

// classifier and pooler have a place in the head. A name that no module of the model has (PEFT
// always lists "score") changes nothing.
void PeftReader::read_modules_to_save() {
  if (is_unused(config_.raw("modules_to_save"))) return;
  for (const std::string& name : config_.texts("modules_to_save", std::nullopt)) {
    bool is_there = false, has_place = true;
    for (const std::string& path : modules_.paths()) {
      if (!path.ends_with(name)) continue;  // PEFT compares letters here, not steps
      is_there = true;
      has_place &= path == "classifier" || (has_suffix(path, "pooler") && family_.head_style == HeadStyle::kPooler && has_head_);
    }
    if (!has_place)
      config_.fault("modules_to_save", "expected classifier or pooler (of a model with a classifier), found " + quote(name) +
                                           ": a trained copy of other modules has no place here");
    if (is_there && has_place) saved_.push_back(name);
  }
}

void PeftReader::read_head() {
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

void PeftReader::read_head_layer(const std::string& theirs, const std::string& ours) {
  const int64_t width = model_.config.width;
  const bool is_last = ours == "head/out";
  const std::string within = tensors_.has(theirs + ".base_layer.weight") ? ".base_layer" : "";  // of a layer with a branch
  const auto found = tensors_.all().find(theirs + within + ".weight");
  const int64_t rows = is_last && found != tensors_.all().end() && found->second.dim() > 0 ? found->second.size(0) : width;
  if (is_last) foreign_.head_outputs = rows;
  at::Tensor weight = tensors_.take(theirs + within + ".weight", {rows, width});
  const auto branch = head_branches_.find(ours);
  const bool has_branch = branch != head_branches_.end() && weight.defined() && branch->second.sizes() == weight.sizes();
  if (has_branch) weight = weight + branch->second;
  put(ours + ".weight", weight);
  put(ours + ".bias", tensors_.take(theirs + within + ".bias", {rows}));
}

// Versions 0.1 to 0.17 put a branch into the saved copy of a classifier that the targets reach: the layer is trained anyway, so
// the branch becomes a part of its weight.
void PeftReader::read_head_branch(const Modules::Layer& layer, int64_t rank, double alpha) {
  const std::string theirs = key(layer);
  const auto found = tensors_.all().find(theirs + ".lora_B.weight");
  const int64_t rows = found != tensors_.all().end() && found->second.dim() > 0 ? found->second.size(0) : 0;
  const at::Tensor a = tensors_.take(theirs + ".lora_A.weight", {rank, model_.config.width}),
                   b = tensors_.take(theirs + ".lora_B.weight", {rows, rank});
  if (!a.defined() || !b.defined()) return;
  const auto r = static_cast<double>(rank);
  head_branches_[layer.name] = at::mm(b, a) * (alpha / (config_.boolean("use_rslora", false) ? std::sqrt(r) : r));
  notes_.push_back("the branch of " + layer.path + " added to its weight");
}

// With bias="all" PEFT also writes the biases inside its wrapper of a saved module:
// of the frozen original, and of the copy once more.
void PeftReader::drop_wrappers() {
  for (const std::string& wrapped : {root_ + "classifier.", root_ + prefix() + "pooler."}) {
    for (const auto& [name, tensor] : tensors_.all()) {
      if (!name.starts_with(wrapped)) continue;
      std::string rest = name.substr(wrapped.size());
      if (rest.starts_with("original_module.")) tensors_.drop(name);
      if (!rest.starts_with("modules_to_save.")) continue;
      rest = rest.substr(std::string("modules_to_save.").size());
      const auto first = tensors_.all().find(wrapped + rest);
      if (first != tensors_.all().end() && first->second.equal(tensor)) tensors_.drop(name);
      else tensors_.fault("tensor " + quote(name) + " differs from " + quote(wrapped + rest) + ", of which it is a second copy");
    }
  }
}

void PeftReader::put(const std::string& name, at::Tensor tensor) {
  if (tensor.defined()) foreign_.tensors[name] = std::move(tensor);
}

// The bare class of a family without a pooler has one that its checkpoints lack.
bool PeftReader::is_unread(const Modules::Layer& layer) const {
  return layer.is_linear && layer.name.empty() && layer.pieces.empty();
}

bool PeftReader::has_sites(const Modules::Layer& layer) const {
  const std::vector<Site>& all = model_.sites.all();
  return !layer.pieces.empty() ||
         std::any_of(all.begin(), all.end(), [&](const Site& site) { return site.name == layer.name; });
}

bool PeftReader::is_changed(const PeftTargets& targets, const Modules::Layer& layer, const std::string& suffix) {
  const bool is_chosen = targets.chooses(layer), is_held = tensors_.has(key(layer) + suffix);
  if (is_chosen && is_held && is_unread(layer)) {
    notes_.push_back("the change of " + layer.path + " left out, which nothing here reads");
    for (const auto& [name, tensor] : tensors_.all()) {
      if (name.starts_with(key(layer) + ".")) tensors_.drop(name);
    }
    return false;
  }
  if (is_chosen && !is_held)
    tensors_.fault("holds no " + quote(key(layer) + suffix) + ", although target_modules choose " + layer.path);
  if (!is_chosen && is_held)
    tensors_.fault("tensor " + quote(key(layer) + suffix) + " changes a module that target_modules do not choose");
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
    if (std::find(parts.begin(), parts.end(), site.part) == parts.end()) parts.push_back(site.part);
    if (site.layer < 0) continue;  // the pooler is chosen whatever the layers
    ++in_blocks;
    if (std::find(layers.begin(), layers.end(), site.layer) == layers.end()) layers.push_back(site.layer);
  }
  const size_t block_parts = parts.size() - (chosen.size() - in_blocks);
  // Sites are distinct. With two stacks a part's name would mean both.
  const bool has_two_stacks = all.all().back().stack == "dec" && all.all()[2].stack == "enc";
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
  return Node::map({{"sites", Node::list(std::move(names))}, {"layers", Node::list(std::move(numbers))}});
}

}  // namespace graft
