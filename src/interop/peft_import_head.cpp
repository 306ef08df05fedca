// The head in a folder of PEFT: what it saved, what is the model's own, and changes of its layers,
// which become a part of them.
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/head.h"
#include "edit/own_head.h"
#include "interop/peft.h"
#include "interop/peft_reader.h"

namespace graft {

using at::Tensor;

std::string module_under_head(const ModelConfig& config) {
  if (has_pooler(config)) return "pooler";
  if (config.head_style != HeadStyle::kMaskStates) return "";
  const std::string path = checkpoint_name(family_of(config), weight_of(kMaskDensePlace)).value();
  return path.substr(0, path.find('.'));
}

bool PeftReader::trains_pooler() const {
  const std::string module = module_under_head(model_.config);
  return !module.empty() && std::find(saved_.begin(), saved_.end(), module) != saved_.end();
}

// PEFT keeps a copy of the layer, or of a module around it.
bool PeftReader::is_saved(const std::string& path) const {
  for (size_t end = path.find('.');; end = path.find('.', end + 1)) {
    const std::string around = path.substr(0, end);
    if (std::any_of(saved_.begin(), saved_.end(),
                    [&](const std::string& name) { return around.ends_with(name); }))
      return true;
    if (end == std::string::npos) return false;
  }
}

// The head's module, its layers and what lies under them have a place in the head. A name that no
// module of the model has (PEFT always lists "classifier" and "score") changes nothing.
void PeftReader::read_modules_to_save() {
  if (is_unused(config_.raw("modules_to_save"))) return;
  const std::string module = head_module(family_);
  const std::string under = module_under_head(model_.config);
  for (const std::string& name : config_.texts("modules_to_save", std::nullopt)) {
    bool is_there = false, has_place = true;
    for (const std::string& path : modules_.paths()) {
      if (!path.ends_with(name)) continue;  // PEFT compares letters here, not steps
      is_there = true;
      const bool is_of_head = path == module || path.starts_with(module + ".");
      has_place &= has_head_ && (is_of_head || (!under.empty() && has_suffix(path, under)));
    }
    if (!has_place) {
      config_.fault("modules_to_save", "expected " + module +
                                           (under.empty() ? "" : " or " + under) +
                                           " (of a model with a classifier), found " + quote(name) +
                                           ": a trained copy of other modules has no place here");
    }
    if (is_there && has_place) saved_.push_back(name);
  }
}

void PeftReader::read_head() {
  if (!has_head_) return;
  std::vector<const Modules::Layer*> absent;
  for (const Modules::Layer& layer : modules_.layers()) {
    if (!layer.name.starts_with("head/")) continue;
    const std::string theirs = key(layer);
    const bool is_held = tensors_.has(theirs + ".weight") || tensors_.has(theirs + ".bias") ||
                         holds_any(theirs + ".base_layer.");
    if (is_held || is_saved(layer.path)) read_head_layer(theirs, layer.name);
    else absent.push_back(&layer);
  }
  if (!absent.empty()) take_own_layers(absent);
  if (!trains_pooler()) return;
  foreign_.head["pooler"] = Node::text("trained");
  if (has_pooler(model_.config)) read_head_layer(key(modules_.by_name("pooler")), "head/pooler");
  else read_mask_head();
}

// The head for masks under the trunk's names.
void PeftReader::read_mask_head() {
  for (const TensorSlot& slot : mask_head_slots(model_.config)) {
    if (!is_under_head(slot.id.place, model_.config)) continue;
    const char* const tensor = slot.id.kind == TensorKind::kWeight ? ".weight" : ".bias";
    foreign_.put(Adapter::kHeadPath + slot.name(),
                 tensors_.take(key(modules_.by_name(to_name(slot.id.place))) + tensor, slot.shape));
  }
}

void PeftReader::read_head_layer(const std::string& theirs, const std::string& ours) {
  const std::string within =
      tensors_.has(theirs + ".base_layer.weight") ? ".base_layer" : "";  // of a layer with a branch
  foreign_.put_head_layer(ours, theirs + within, model_.config, tensors_);
}

// Layers that PEFT did not save are those of the model: T5's and BART's, which have other names
// than those that it saves for every classifier, and any below a prompt of version 0.16.
void PeftReader::take_own_layers(const std::vector<const Modules::Layer*>& layers) {
  const std::optional<OwnHead> own = read_own_head(model_.source, model_.config);
  if (!own || !own->refusal.empty()) {
    tensors_.fault("holds no " + quote(key(*layers.front()) + ".weight") +
                   ", so the head is the model's own, and '" + model_.source + "' brings none" +
                   (own ? " that is known here: " + own->refusal : "") + "; give " +
                   option_name("model") + " the classifier that the adapter was trained on");
    return;
  }
  for (const Modules::Layer* layer : layers) {
    for (const std::string tensor : {".weight", ".bias"}) {
      const auto found = own->tensors.find(layer->name + tensor);
      if (found != own->tensors.end()) foreign_.put(found->first, found->second.clone());
    }
    if (layer->name != "head/out") continue;
    foreign_.head_outputs = own->tensors.at("head/out.weight").size(0);
    if (own->has_names || own->task.kind() == TaskKind::kRegression) foreign_.task = own->task;
  }
  notes_.push_back("with the model's own head");
}

// What a change of a layer of the head becomes a part of; null where its weight is missing, which
// is told already.
Tensor* PeftReader::changed_weight(const Modules::Layer& layer) {
  const auto found = foreign_.tensors.find(layer.name + ".weight");
  if (found != foreign_.tensors.end()) return &found->second;  // [rows, C]
  for (const char* change :
       {".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", ".ia3_l"})
    tensors_.drop(key(layer) + change);
  return nullptr;
}

// A branch: versions 0.1 to 0.17 put one into the saved copy of a classifier that the targets
// reach, and all of them reach a head that is not saved.
void PeftReader::read_head_branch(const Modules::Layer& layer, int64_t rank, double alpha,
                                  bool is_dora) {
  const std::string theirs = key(layer);
  Tensor* const weight = changed_weight(layer);
  if (weight == nullptr) return;
  const int64_t rows = weight->size(0);
  const Tensor a = tensors_.take(theirs + ".lora_A.weight", {rank, weight->size(1)}),
               b = tensors_.take(theirs + ".lora_B.weight", {rows, rank});
  const Tensor magnitude =
      is_dora ? tensors_.take(theirs + ".lora_magnitude_vector", {rows}) : Tensor();
  if (!a.defined() || !b.defined()) return;
  const auto r = static_cast<double>(rank);
  const double factor = alpha / (config_.boolean("use_rslora", false) ? std::sqrt(r) : r);
  *weight = *weight + at::mm(b, a) * factor;
  if (magnitude.defined()) *weight = *weight * (magnitude / weight->norm(2, 1)).unsqueeze(1);
  notes_.push_back("the branch of " + layer.path + " added to its weight");
}

// (IA)^3 scales what leaves a layer, its bias included, or what enters it.
void PeftReader::read_head_scale(const Modules::Layer& layer, bool scales_input) {
  Tensor* const weight = changed_weight(layer);
  if (weight == nullptr) return;
  const std::vector<int64_t> shape = scales_input ? std::vector<int64_t>{1, weight->size(1)}
                                                  : std::vector<int64_t>{weight->size(0), 1};
  const Tensor scale = tensors_.take(key(layer) + ".ia3_l", shape);
  if (!scale.defined()) return;
  *weight = *weight * scale;
  const auto bias = foreign_.tensors.find(layer.name + ".bias");
  if (!scales_input && bias != foreign_.tensors.end())
    bias->second = bias->second * scale.flatten();
  notes_.push_back("the scale of " + layer.path + " multiplied into its weight");
}

// With bias="all" PEFT also writes the biases inside its wrapper of a saved module, of the frozen
// original, and of the copy once more; of a saved module with a branch inside, the branch.
void PeftReader::drop_wrappers() {
  if (!has_head_) return;
  const std::string beside = has_pooler(model_.config) ? prefix() : "";
  for (const std::string& wrapped : {root_ + head_module(family_) + ".",
                                     root_ + beside + module_under_head(model_.config) + "."}) {
    for (const auto& [name, tensor] : tensors_.all()) {
      if (!name.starts_with(wrapped)) continue;
      std::string rest = name.substr(wrapped.size());
      if (rest.starts_with("original_module.")) tensors_.drop(name);
      if (!rest.starts_with("modules_to_save.")) continue;
      rest = rest.substr(std::string("modules_to_save.").size());
      const auto first = tensors_.all().find(wrapped + rest);
      const bool is_copy = first != tensors_.all().end() && first->second.equal(tensor);
      if (is_copy) tensors_.drop(name);
      if (is_copy) continue;
      tensors_.fault("tensor " + quote(name) + " differs from " + quote(wrapped + rest) +
                     ", of which it is a second copy");
    }
  }
}

}  // namespace graft
