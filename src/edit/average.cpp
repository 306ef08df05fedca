#include "edit/average.h"

#include <map>

#include "base/error.h"
#include "edit/stochastic.h"

namespace graft {

using at::Tensor;

namespace {

constexpr const char* kMixture = "stochastic";

const Node& of_mixture(const Node& entry) {
  const Node* of = entry.find("of");
  ensure(of != nullptr, "a combinator has an edit");
  return *of;
}

Node plain_entry(const Node& entry) {
  if (entry.find(kMixture) != nullptr) return plain_entry(of_mixture(entry));
  Node out = entry;
  for (auto& [key, value] : out.members) {
    if (key != "of") continue;
    if (value.kind == Node::Kind::kList) {
      for (Node& item : value.items) item = plain_entry(item);
    } else {
      value = plain_entry(value);
    }
  }
  return out;
}

// "0.stochastic/expert.2/enc.0.attn.q.lora_a" -> "enc.0.attn.q.lora_a" behind the path that the
// plain part has.
std::string plain_name(const std::string& name, const std::vector<Adapter::Part>& old_parts,
                       const std::vector<Adapter::Part>& new_parts) {
  for (size_t i = 0; i < old_parts.size(); ++i) {
    if (name.starts_with(old_parts[i].path))
      return new_parts[i].path + name_without_members(name.substr(old_parts[i].path.size()));
  }
  return name;  // of the head
}

// sum_i weights_i tensors_i, summed in float64.
Tensor weighted_sum(const std::vector<Tensor>& tensors, const std::vector<double>& weights) {
  Tensor sum = at::zeros_like(tensors.front(), tensors.front().options().dtype(at::kDouble));
  for (size_t i = 0; i < tensors.size(); ++i) sum.add_(tensors[i].to(at::kDouble), weights[i]);
  return sum.to(at::kFloat);
}

void check_alike(const std::vector<LoadedAdapter>& adapters,
                 const std::vector<std::string>& names) {
  const LoadedAdapter& first = adapters.front();
  for (size_t i = 1; i < adapters.size(); ++i) {
    if (to_yaml(adapters[i].adapter.describe()) != to_yaml(first.adapter.describe())) {
      throw InputError("'" + names[i] + "' and '" + names[0] +
                       "' are not of one shape: their edits or heads differ; compare them with "
                       "graft inspect adapter");
    }
    if (adapters[i].adapter.task() != first.adapter.task()) {
      throw InputError("'" + names[i] + "' and '" + names[0] +
                       "' were trained on different tasks or labels");
    }
  }
}

}  // namespace

NamedTensors average_adapters(const std::vector<LoadedAdapter>& adapters,
                              const std::vector<double>& weights,
                              const std::vector<std::string>& names) {
  ensure(!adapters.empty() && adapters.size() == weights.size() && adapters.size() == names.size(),
         "a weight and a name per adapter");
  check_alike(adapters, names);
  double sum = 0;
  for (const double weight : weights) sum += weight;
  std::vector<double> shares;
  for (const double weight : weights) shares.push_back(weight / sum);
  const at::NoGradGuard no_grad;
  NamedTensors out;
  for (const ParamSpec& param : adapters.front().adapter.params()) {
    const Tensor& first = adapters.front().tensors.at(param.name);
    if (param.role != Role::kTrained) {
      for (size_t i = 1; i < adapters.size(); ++i) {
        if (adapters[i].tensors.at(param.name).equal(first)) continue;
        throw InputError("'" + names[i] + "' and '" + names[0] +
                         "' are relative to different fixed tensors ('" + param.name +
                         "'), such as rotations in different frames: their mean means nothing; "
                         "train them from one start (start_from)");
      }
      out[param.name] = first;
      continue;
    }
    std::vector<Tensor> tensors;
    for (const LoadedAdapter& each : adapters) tensors.push_back(each.tensors.at(param.name));
    out[param.name] = weighted_sum(tensors, shares);
  }
  return out;
}

Node without_mixtures(const Node& definition) {
  Node out = definition;
  for (auto& [key, value] : out.members) {
    if (key != "edits") continue;
    for (Node& entry : value.items) entry = plain_entry(entry);
  }
  return out;
}

PlainAdapter average_experts(const LoadedAdapter& loaded, const std::string& name,
                             const EditTarget& target) {
  const Node definition = loaded.adapter.describe(), plain = without_mixtures(definition);
  if (to_yaml(plain) == to_yaml(definition)) {
    throw InputError("'" + name +
                     "' has no stochastic mixture, so no experts to average; give several adapters "
                     "to average those");
  }
  PlainAdapter out{Adapter(plain, name, target, loaded.adapter.task()), {}};
  std::map<std::string, std::vector<Tensor>> members;
  for (const auto& [stored, tensor] : loaded.tensors)
    members[plain_name(stored, loaded.adapter.parts(), out.adapter.parts())].push_back(
        tensor.detach());
  for (const ParamSpec& param : out.adapter.params()) {
    const auto found = members.find(param.name);
    ensure(found != members.end(), "every plain tensor has its experts: " + param.name);
    const size_t count = found->second.size();
    out.tensors[param.name] =
        weighted_sum(found->second, std::vector<double>(count, 1.0 / static_cast<double>(count)));
  }
  return out;
}

}  // namespace graft
