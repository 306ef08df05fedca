#include "interop/adapterhub.h"

#include <algorithm>
#include <cmath>

#include "base/ascii.h"

namespace graft {

namespace {

std::string without_last_step(const std::string& path) { return path.substr(0, path.rfind('.')); }

// Theirs, ours. The first of ours is the one that is written.
constexpr std::pair<const char*, const char*> kActivations[] = {
    {"relu", "relu"},          {"gelu", "gelu"},
    {"gelu_new", "gelu_tanh"}, {"gelu_pytorch_tanh", "gelu_tanh"},
    {"swish", "swish"},        {"silu", "swish"},
    {"tanh", "tanh"},          {"linear", "linear"}};

}  // namespace

std::string HubNames::parent(int64_t layer, Part part) const {
  return without_last_step(
      modules_.by_name(to_name(Place{StackId::kEncoder, static_cast<int16_t>(layer), part})).path);
}

std::string HubNames::block(int64_t layer) const {
  return without_last_step(parent(layer, Part::kFfnDown));
}

std::string HubNames::of_sublayer(const Site& site) const {
  const bool is_attention = site.part == Part::kAttnOut || site.part == Part::kAttnNorm;
  return parent(site.layer, is_attention ? Part::kAttnO : Part::kFfnDown) + ".adapters." +
         adapter_ + ".";
}

std::string hub_activation_to_ours(const std::string& theirs) {
  const std::string lower = lower_ascii(theirs);
  for (const auto& [name, ours] : kActivations) {
    if (lower == name) return ours;
  }
  return "";
}

std::string our_activation_to_hub(const std::string& ours) {
  for (const auto& [theirs, name] : kActivations) {
    if (ours == name) return theirs;
  }
  return "";
}

int64_t hub_units(int64_t width, double factor) {
  const auto whole = static_cast<double>(width);
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::round((whole - std::fmod(whole, factor)) / factor)));
}

}  // namespace graft
