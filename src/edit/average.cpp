#include "edit/average.h"

#include <cmath>

#include "base/error.h"
#include "base/spelling.h"

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

// sum_i weights_i tensors_i, summed in float64.
Tensor weighted_sum(const std::vector<Tensor>& tensors, const std::vector<double>& weights) {
  Tensor sum = at::zeros_like(tensors.front(), tensors.front().options().dtype(at::kDouble));
  for (size_t i = 0; i < tensors.size(); ++i) sum.add_(tensors[i].to(at::kDouble), weights[i]);
  return sum.to(at::kFloat);
}

// Shares of their sum must be numbers.
void check_weights(const std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) {
    sum += weight;
    if (!std::isfinite(sum))
      throw InputError(option_name("weights") + ": expected numbers with a finite sum, found " +
                       std::to_string(weight));
  }
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
  check_weights(weights);
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
  const at::NoGradGuard no_grad;
  NamedTensors wide;
  for (const auto& [stored, tensor] : loaded.tensors) wide[stored] = tensor.to(at::kDouble);
  for (size_t i = 0; i < loaded.adapter.parts().size(); ++i) {
    const TensorList stored = loaded.adapter.stored_of(i, wide),
                     mean = loaded.adapter.parts()[i].edit->averaged(Params(stored));
    const std::vector<std::string>& names = out.adapter.parts()[i].names;
    ensure(names.size() == mean.size(), "every plain tensor has its experts");
    for (size_t k = 0; k < names.size(); ++k)
      out.tensors[names[k]] = mean[param_at(k)].to(at::kFloat);
  }
  for (const auto& [stored, tensor] : loaded.tensors) {
    if (stored.starts_with(Adapter::kHeadPath)) out.tensors[stored] = tensor.detach();
  }
  return out;
}

}  // namespace graft
