#include "edit/average.h"

#include <map>

#include "base/error.h"

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

// "0.stochastic/expert.2/enc.0.attn.q.lora_a" -> "enc.0.attn.q.lora_a" behind the path that the plain part has.
std::string plain_name(const std::string& name, const std::vector<Adapter::Part>& old_parts, const std::vector<Adapter::Part>& new_parts) {
  std::string rest = name, path;
  for (size_t i = 0; i < old_parts.size(); ++i) {
    if (!name.starts_with(old_parts[i].path)) continue;
    path = new_parts[i].path;
    rest = name.substr(old_parts[i].path.size());
  }
  std::string out;
  for (size_t begin = 0; begin < rest.size();) {
    const size_t end = std::min(rest.find('/', begin), rest.size());
    const std::string step = rest.substr(begin, end - begin);
    const bool is_member = end < rest.size() && (step == "shared" || step.starts_with("expert."));
    if (!is_member) out += rest.substr(begin, end - begin + 1);
    begin = end + 1;
  }
  return path + out;
}

void check_alike(const std::vector<LoadedAdapter>& adapters, const std::vector<std::string>& names) {
  const LoadedAdapter& first = adapters.front();
  for (size_t i = 1; i < adapters.size(); ++i) {
    if (to_yaml(adapters[i].adapter.describe()) != to_yaml(first.adapter.describe())) {
      throw InputError("'" + names[i] + "' and '" + names[0] + "' are not of one shape: their edits or heads differ; compare them with graft inspect adapter");
    }
    if (adapters[i].adapter.task() != first.adapter.task()) {
      throw InputError("'" + names[i] + "' and '" + names[0] + "' were trained on different tasks or labels");
    }
  }
}

}  // namespace

NamedTensors average_adapters(const std::vector<LoadedAdapter>& adapters, const std::vector<double>& weights, const std::vector<std::string>& names) {
  ensure(!adapters.empty() && adapters.size() == weights.size() && adapters.size() == names.size(), "a weight and a name per adapter");
  check_alike(adapters, names);
  double sum = 0;
  for (const double weight : weights) sum += weight;
  const at::NoGradGuard no_grad;
  NamedTensors out;
  for (const ParamSpec& param : adapters.front().adapter.params()) {
    const Tensor& first = adapters.front().tensors.at(param.name);
    if (param.role == Role::kBuffer) {
      for (size_t i = 1; i < adapters.size(); ++i) {
        if (adapters[i].tensors.at(param.name).equal(first)) continue;
        throw InputError("'" + names[i] + "' and '" + names[0] + "' have rotations in different frames ('" + param.name + "'), whose mean means nothing; train them from one start (start_from)");
      }
      out[param.name] = first;
      continue;
    }
    Tensor mean = at::zeros_like(first, first.options().dtype(at::kDouble));
    for (size_t i = 0; i < adapters.size(); ++i) mean.add_(adapters[i].tensors.at(param.name).to(at::kDouble), weights[i] / sum);
    out[param.name] = mean.to(at::kFloat);
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

PlainAdapter average_experts(const LoadedAdapter& loaded, const std::string& name, const EditTarget& target) {
  const Node definition = loaded.adapter.describe(), plain = without_mixtures(definition);
  if (to_yaml(plain) == to_yaml(definition)) {
    throw InputError("'" + name + "' has no stochastic mixture, so no experts to average; give several adapters to average those");
  }
  PlainAdapter out{Adapter(plain, name, target, loaded.adapter.task()), {}};
  std::map<std::string, std::vector<Tensor>> members;
  for (const auto& [stored, tensor] : loaded.tensors) members[plain_name(stored, loaded.adapter.parts(), out.adapter.parts())].push_back(tensor.detach());
  for (const ParamSpec& param : out.adapter.params()) {
    const auto found = members.find(param.name);
    ensure(found != members.end(), "every plain tensor has its experts: " + param.name);
    Tensor mean = at::zeros_like(found->second.front(), found->second.front().options().dtype(at::kDouble));
    for (const Tensor& member : found->second) mean.add_(member.to(at::kDouble), 1.0 / static_cast<double>(found->second.size()));
    out.tensors[param.name] = mean.to(at::kFloat);
  }
  return out;
}

}  // namespace graft
