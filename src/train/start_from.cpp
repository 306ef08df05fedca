#include "train/start_from.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/adapter_file.h"

namespace graft {

namespace {

std::string shown(const Node* node) {
  if (node == nullptr) return "none";
  return node->kind == Node::Kind::kScalar ? node->scalar : to_json(*node, -1);
}

void compare(const Node* there, const Node* here, const std::string& path,
             std::vector<std::string>& out) {
  if (there != nullptr && here != nullptr && *there == *here) return;
  if (there != nullptr && here != nullptr && there->kind == Node::Kind::kMap &&
      here->kind == Node::Kind::kMap) {
    for (const auto& [key, value] : there->members)
      compare(&value, here->find(key), path + "." + key, out);
    for (const auto& [key, value] : here->members) {
      if (there->find(key) == nullptr) compare(nullptr, &value, path + "." + key, out);
    }
    return;
  }
  out.push_back(path.substr(1) + " " + shown(there) + " there, " + shown(here) + " here");
}

// The edits one by one, without their numbers where each has only one.
void compare_edits(const Node& there, const Node& here, std::vector<std::string>& out) {
  const auto size = [](const Node& list) { return list.items.size(); };
  for (size_t i = 0; i < std::max(size(there), size(here)); ++i) {
    const bool is_one = size(there) == 1 && size(here) == 1;
    compare(i < size(there) ? &there.items[i] : nullptr, i < size(here) ? &here.items[i] : nullptr,
            is_one ? "" : "." + std::to_string(i), out);
  }
}

std::vector<std::string> differences(const Adapter& there, const Adapter& here) {
  const Node a = there.describe(), b = here.describe();
  std::vector<std::string> out;
  const auto part = [](const Node& definition, const char* key) {
    const Node* found = definition.find(key);
    return found != nullptr ? *found : Node::null();
  };
  compare_edits(part(a, "edits"), part(b, "edits"), out);
  const Node head_there = part(a, "head"), head_here = part(b, "head");
  compare(&head_there, &head_here, ".head", out);
  const auto outputs = [](const Adapter& adapter) {
    return adapter.head() != nullptr ? adapter.head()->outputs() : 0;
  };
  if (outputs(there) != outputs(here)) {
    out.push_back("outputs of the head " + std::to_string(outputs(there)) + " there, " +
                  std::to_string(outputs(here)) + " here");
  }
  return out;
}

bool is_of_shape(const NamedTensors& tensors, const std::vector<ParamSpec>& params) {
  return tensors.size() == params.size() &&
         std::all_of(params.begin(), params.end(), [&](const ParamSpec& param) {
           const auto found = tensors.find(param.name);
           return found != tensors.end() && found->second.sizes() == at::IntArrayRef(param.shape);
         });
}

}  // namespace

NamedTensors start_values(const RunInputs& inputs, const Adapter& own) {
  const RunConfig& config = inputs.config;
  const Model& model = *inputs.model;
  if (config.start_from.empty()) {
    NamedTensors tensors = own.init(model.weights, key_of(config, Draws::kInitialValues));
    model.weights.release_pages();  // copies of the trunk's tensors may have been made
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : inputs.head_start) tensors.at(name).copy_(tensor);
    return tensors;
  }
  LoadedAdapter loaded = load_adapter(config.start_from, model);
  if (is_of_shape(loaded.tensors, own.params())) return std::move(loaded.tensors);
  throw InputError(
      "start_from: the adapter in '" + config.start_from +
      "' is not of this run's shape: " + joined_first(differences(loaded.adapter, own), 6) +
      "; without " + option_name("adapter") + " a run takes the definition that lies there");
}

}  // namespace graft
