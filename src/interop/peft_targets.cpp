#include "interop/peft_targets.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/error.h"
#include "interop/foreign.h"

namespace graft {

namespace {

constexpr const char* kAllLinear = "all-linear";

std::string place(Options& options, const char* key) { return options.source() + ": /" + key; }

bool is_all_linear(const std::optional<std::string>& text) {
  return text && lower_ascii(*text) == kAllLinear;
}

}  // namespace

NameChoice::NameChoice(Options& options, const char* key, Ending ending) : ending_(ending) {
  const Node* node = options.raw(key);
  if (is_unused(node)) return;
  if (node->kind == Node::Kind::kScalar && node->is_string) {
    text_ = node->scalar;
    if (is_all_linear(text_)) return;
    try {
      pattern_.emplace(*text_, place(options, key));
    } catch (const InputError& error) {
      options.fault(key, error.what());
    }
    return;
  }
  if (node->kind == Node::Kind::kList) names_ = options.texts(key, std::nullopt);
  else options.fault(key, "expected a list of module names or a regular expression");
}

bool NameChoice::names_whole(const std::string& path) const {
  return std::find(names_.begin(), names_.end(), path) != names_.end();
}

bool NameChoice::chooses(const std::string& path) const {
  if (pattern_) return pattern_->matches(path);
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) {
    return ending_ == Ending::kAny ? path.ends_with(name) : has_suffix(path, name);
  });
}

PeftTargets::PeftTargets(Options& options, const std::vector<std::string>& modules_to_save,
                         const std::vector<std::string>& defaults, bool by_layer)
    : targets_(options.has("target_modules") ? NameChoice(options, "target_modules")
                                             : NameChoice(defaults)),
      excluded_(options, "exclude_modules"),
      saved_(modules_to_save) {
  if (!targets_.is_given() && !is_all_linear(targets_.pattern_text()))
    options.fault("target_modules", "expected a list of module names or a regular expression");
  if (!by_layer) return;
  if (!is_unused(options.raw("layers_to_transform")))
    layers_ = options.integers("layers_to_transform", std::nullopt, 0, 1 << 20);
  if (is_unused(options.raw("layers_pattern"))) return;
  for (const std::string& pattern : options.texts("layers_pattern", std::nullopt)) {
    try {
      layer_patterns_.emplace_back("(?:^|.*?\\.)" + pattern + "\\.\\d+\\..*",
                                   place(options, "layers_pattern"));
    } catch (const InputError& error) {
      options.fault("layers_pattern", error.what());
    }
  }
}

bool PeftTargets::is_in_layers(const Modules::Layer& layer) const {
  if (layers_.empty()) return true;
  const bool is_named =
      layer_patterns_.empty() ||
      std::any_of(layer_patterns_.begin(), layer_patterns_.end(),
                  [&](const ModulePattern& pattern) { return pattern.matches(layer.path); });
  const std::optional<Place> place =
      parse_place(layer.pieces.empty() ? layer.name : layer.pieces.front());
  return is_named &&
         std::find(layers_.begin(), layers_.end(), place ? place->layer : -1) != layers_.end();
}

bool PeftTargets::chooses(const Modules::Layer& layer) const {
  const std::string dotted = "." + layer.path + ".";
  const bool is_saved = std::any_of(saved_.begin(), saved_.end(), [&](const std::string& name) {
    return dotted.find("." + name + ".") != std::string::npos;
  });
  if (is_saved || excluded_.chooses(layer.path)) return false;
  if (is_all_linear(targets_.pattern_text())) return layer.is_linear;
  if (targets_.pattern_text()) return targets_.chooses(layer.path);
  return targets_.names_whole(layer.path) || (targets_.chooses(layer.path) && is_in_layers(layer));
}

PeftPattern::PeftPattern(Options& options, const char* key) {
  const Node* node = options.raw(key);
  if (is_unused(node)) return;
  if (node->kind != Node::Kind::kMap) {
    options.fault(key, "expected numbers by pattern");
    return;
  }
  Options& section = options.section(key);
  for (const auto& [pattern, value] : node->members) {
    const double number = section.number(pattern, std::nullopt, 0, 1e6);
    try {
      entries_.emplace_back(ModulePattern("(.*\\.)?(" + pattern + ")", place(options, key)),
                            number);
    } catch (const InputError& error) {
      options.fault(key, error.what());
    }
  }
}

double PeftPattern::number_for(const std::string& path, double otherwise) const {
  for (const auto& [pattern, number] : entries_) {
    if (pattern.matches(path)) return number;
  }
  return otherwise;
}

}  // namespace graft
