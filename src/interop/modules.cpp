#include "interop/modules.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "edit/head.h"
#include "model/sites.h"
#include "text/icu_regex.h"

namespace graft {

namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;

// Python's named groups, which ICU writes without the P.
std::string for_icu(std::string pattern) {
  for (size_t at = 0; (at = pattern.find("(?P<", at)) != std::string::npos;)
    pattern.erase(at + 2, 1);
  return pattern;
}

// The module whose weight a tensor is.
std::string module_of(std::string weight) {
  return weight.erase(weight.size() - std::string_view(".weight").size());
}

}  // namespace

struct ModulePattern::Compiled {
  std::unique_ptr<icu::RegexPattern> pattern;
  std::string where;
};

ModulePattern::ModulePattern(const std::string& pattern, const std::string& where)
    : compiled_(std::make_unique<Compiled>()) {
  check_regex_size(pattern, kMaxPatternBytes, where);
  compiled_->pattern = compile_regex(for_icu(pattern), 0, pattern, where);
  compiled_->where = where;
}

ModulePattern::~ModulePattern() = default;
ModulePattern::ModulePattern(ModulePattern&&) noexcept = default;

bool ModulePattern::matches(const std::string& path) const {
  const icu::UnicodeString text = icu::UnicodeString::fromUTF8(path);
  const std::unique_ptr<icu::RegexMatcher> matcher = bounded_matcher(*compiled_->pattern, text);
  UErrorCode status = U_ZERO_ERROR;
  const bool found = matcher->matches(status) != 0;
  if (U_FAILURE(status) != 0)
    throw InputError(compiled_->where + ": the regular expression takes too many steps on " +
                     quote(path));
  return found;
}

std::string head_module(const Family& family) {
  const std::string& path = family.head_names.front().second;
  return path.substr(0, path.find('.'));
}

bool has_suffix(const std::string& path, const std::string& name) {
  return path == name || path.ends_with("." + name);
}

Modules::Modules(const Model& model, const std::string& prefix, bool has_head) {
  const Family& family = family_of(model.config);
  for (const TensorSlot& slot : tensor_slots(model.config)) {
    if (slot.id.kind != TensorKind::kWeight) continue;
    const std::string name = to_name(slot.id.place);
    const CheckpointPiece piece = piece_of(checkpoint_name(family, slot.id).value());
    const bool is_output = slot.id == kOutputTable;  // which stands beside the trunk
    const std::string path = (is_output ? "" : prefix) + module_of(piece.tensor);
    if (piece.count > 1) {
      if (layers_.back().path != path) layers_.push_back({"", path, true});
      layers_.back().pieces.push_back(name);
      continue;
    }
    const bool is_matrix = slot.shape.size() == 2,
               is_layer = slot.id.place.layer >= 0 ||
                          slot.id.place == kPoolerPlace;  // else a table, or the output layer
    layers_.push_back({is_matrix && !is_layer ? "" : name, path, is_matrix && is_layer});
  }
  // A layer under the classifier may stand beside the trunk.
  for (const TensorSlot& slot : mask_head_slots(model.config)) {
    const bool is_there = has_head && is_under_head(slot.id.place, model.config);
    if (!is_there || slot.id.kind != TensorKind::kWeight) continue;
    layers_.push_back({to_name(slot.id.place), module_of(checkpoint_name(family, slot.id).value()),
                       slot.shape.size() == 2});
  }
  for (const auto& [ours, theirs] : family.head_names) {
    if (has_head) layers_.push_back({"head/" + ours, theirs, true});
  }
  if (!has_head && !family.bare_layer.empty())
    layers_.push_back({"", prefix + family.bare_layer, true});
  std::set<std::string> all;
  for (const Layer& layer : layers_) {
    for (size_t end = layer.path.find('.'); end != std::string::npos;
         end = layer.path.find('.', end + 1))
      all.insert(layer.path.substr(0, end));
    all.insert(layer.path);
  }
  paths_.assign(all.begin(), all.end());
}

const Modules::Layer& Modules::by_name(const std::string& name) const {
  const auto found = std::find_if(layers_.begin(), layers_.end(), [&](const Layer& layer) {
    return layer.name == name ||
           std::find(layer.pieces.begin(), layer.pieces.end(), name) != layer.pieces.end();
  });
  ensure(found != layers_.end(), "a layer of the model: " + name);
  return *found;
}

}  // namespace graft
