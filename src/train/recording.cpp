#include "train/recording.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <map>

namespace graft {

using at::Tensor;

namespace {

double square_of(const Tensor& gradient) {
  return gradient.defined() ? gradient.to(at::kDouble).square().sum().item<double>() : 0.0;
}

// Of a name "0.stochastic/expert.2/enc.0.attn.q.lora_a" the same without "expert.2/".
std::string without_expert(const ParamSpec& param) {
  const std::string part = "expert." + std::to_string(*param.expert) + "/";
  std::string name = param.name;
  const size_t at = name.find(part);
  return at == std::string::npos ? name : name.erase(at, part.size());
}

// values: [E, ...], at least two experts.
double mean_cosine(const Tensor& values) {
  const Tensor flat = values.to(at::kDouble).flatten(1);
  const Tensor norms = flat.norm(2, 1, true);
  const Tensor unit = flat / norms.clamp_min(1e-30);
  const auto experts = static_cast<double>(flat.size(0));
  const double all = unit.sum(0).square().sum().item<double>();  // every pair twice, and itself
  const double own = unit.square().sum().item<double>();
  return (all - own) / (experts * (experts - 1));
}

}  // namespace

Node gradient_norms(const Adapter& adapter, const NamedTensors& tensors) {
  Node out = Node::map();
  for (const Adapter::Part& part : adapter.parts()) {
    double square = 0;
    for (const std::string& name : part.names) square += square_of(tensors.at(name).grad());
    out[part.path.substr(0, part.path.size() - 1)] = Node::number(std::sqrt(square));
  }
  double head = 0;
  bool has_head = false;
  for (const auto& [name, tensor] : tensors) {
    if (!name.starts_with(Adapter::kHeadPath)) continue;
    has_head = true;
    head += square_of(tensor.grad());
  }
  if (has_head) out["head"] = Node::number(std::sqrt(head));
  return out;
}

Node drawn_node(const DrawnExperts& drawn) {
  Node out = Node::map();
  for (const auto& [name, experts] : drawn) {
    std::vector<Node> items;
    for (const int64_t expert : experts) items.push_back(Node::integer(expert));
    out[name] = Node::list(std::move(items));
  }
  return out;
}

NamedTensors expert_cosines(const Adapter& adapter, const NamedTensors& tensors) {
  const at::NoGradGuard no_grad;
  std::map<std::string, std::vector<Tensor>> apart;  // of mixtures that store each expert
  NamedTensors out;
  const auto keep = [&](const std::string& name, const Tensor& values) {
    if (values.size(0) > 1)
      out[name + ".cosine"] = at::tensor({mean_cosine(values)}, at::kFloat).view({1, 1});
  };
  for (const ParamSpec& param : adapter.params()) {
    if (param.use != ParamUse::kExpert || param.role != Role::kTrained) continue;
    const double start = param.effect == Effect::kScalesY ? 1.0 : 0.0;
    const Tensor values = tensors.at(param.name).detach() - start;
    if (param.expert) apart[without_expert(param)].push_back(values);
    else if (param.name.find("/shared/") == std::string::npos) keep(param.name, values);
  }
  for (const auto& [name, experts] : apart) keep(name, at::stack(experts));
  return out;
}

void ask_for(const RecordConfig& record, PredictOptions& options) {
  options.keep_records = record.of_rows();
  options.recording = {.tokens = record.tokens, .changes = record.changes};
}

void write_records(const Path& dir, const std::string& side, const Dataset& data,
                   const Records& records, Node& all) {
  if (records.empty()) return;
  make_directories(dir / "records");
  write_file_atomically(dir / "records" / (side + ".jsonl"), record_lines(data, records));
  all[side] = records_summary(records);
}

}  // namespace graft
