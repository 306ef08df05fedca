// Which modules a PEFT config chooses: target_modules less exclude_modules, narrowed by layers.
//
// The rules are PEFT's (0.21): a list holds whole paths or dotted endings; a text is a regular
// expression over the whole path, or "all-linear"; modules_to_save are never targets;
// layers_to_transform narrows a list's endings, not its whole paths.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "interop/modules.h"

namespace graft {

// A field that is a list of names or one regular expression. Nothing is chosen when it is unused.
class NameChoice {
 public:
  enum class Ending { kDotted, kAny };  // "dense" ends "output.dense" as a step, or as letters

  explicit NameChoice(std::vector<std::string> names, Ending ending = Ending::kDotted)
      : ending_(ending), names_(std::move(names)) {}
  // Reads options[key]; a value of another kind is a fault.
  NameChoice(Options& options, const char* key, Ending ending = Ending::kDotted);

  bool is_given() const { return pattern_ || !names_.empty(); }
  bool names_whole(const std::string& path) const;  // the list holds this very path
  bool chooses(const std::string& path) const;
  const std::optional<std::string>& pattern_text() const { return text_; }

 private:
  Ending ending_;
  std::vector<std::string> names_;
  std::optional<std::string> text_;
  std::optional<ModulePattern> pattern_;
};

class PeftTargets {
 public:
  // Reads target_modules, exclude_modules, and with `by_layer` layers_to_transform and
  // layers_pattern. `defaults`: the targets where the config names none.
  PeftTargets(Options& options, const std::vector<std::string>& modules_to_save,
              const std::vector<std::string>& defaults, bool by_layer);

  bool chooses(const Modules::Layer& layer) const;

 private:
  bool is_in_layers(const Modules::Layer& layer) const;

  NameChoice targets_, excluded_;
  std::vector<std::string> saved_;
  std::vector<int64_t> layers_;
  std::vector<ModulePattern> layer_patterns_;
};

// PEFT's rank_pattern and alpha_pattern: the first key that matches the end of a path gives its
// number.
class PeftPattern {
 public:
  PeftPattern(Options& options, const char* key);
  double number_for(const std::string& path, double otherwise) const;

 private:
  std::vector<std::pair<ModulePattern, double>> entries_;
};

}  // namespace graft
