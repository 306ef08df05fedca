#include "train/recording.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"

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

bool is_trained_expert(const ParamSpec& param) {
  return param.use == ParamUse::kExpert && param.role == Role::kTrained;
}

// A mixture that stores each expert apart says which one a tensor is of; one that stacks them has
// tensors that all experts share beside them.
bool is_stack(const ParamSpec& param) {
  return !param.expert && param.name.find("/shared/") == std::string::npos &&
         param.shape.front() > 1;
}

bool has_experts(const Adapter& adapter) {
  const std::vector<ParamSpec> params = adapter.params();
  return std::any_of(params.begin(), params.end(), [](const ParamSpec& param) {
    return is_trained_expert(param) && (param.expert || is_stack(param));
  });
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

void check_recording(const RunConfig& config, const Adapter& adapter) {
  const RecordConfig& record = config.record;
  const std::string name = "adapter " + quote(config.adapter_name), out = "; leave it out";
  std::string faults;
  const auto check = [&](const char* key, bool is_asked, bool has_some, const std::string& reason) {
    const std::string setting = std::string("record.") + key;
    if (!is_asked || has_some || config.is_suggested(setting)) return;
    faults += (faults.empty() ? "" : "\n") + setting + ": found true, and " + reason + out;
  };
  const Traits traits = adapter.traits();
  const bool has_changes = adapter.changes_rows();
  const std::string no_gate =
      name + " has neither a gate nor a router, so that there is nothing to record of rows" +
      (has_changes ? " but how large changes are (record.changes)" : "");
  check("rows", record.rows, traits.gives_records, no_gate);
  check("tokens", record.tokens, traits.gives_records, no_gate);
  check("changes", record.changes, has_changes,
        name +
            " changes nothing that leaves a site of the model: it is a head, a prefix or new "
            "weights, whose change has no size by row");
  check("routes", record.routes, traits.is_stochastic,
        name + " draws no experts, which a stochastic mixture does");
  check("experts", record.experts, has_experts(adapter),
        name + " has no mixture, whose experts could be compared");
  if (!faults.empty()) throw InputError(faults);
}

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
    if (!is_trained_expert(param)) continue;
    const double start = param.effect == Effect::kScalesY ? 1.0 : 0.0;
    const Tensor values = tensors.at(param.name).detach() - start;
    if (param.expert) apart[without_expert(param)].push_back(values);
    else if (is_stack(param)) keep(param.name, values);
  }
  for (const auto& [name, experts] : apart) keep(name, at::stack(experts));
  return out;
}

void ask_for(const RecordConfig& record, PredictOptions& options) {
  options.keep_records = record.of_rows();
  options.recording = {.tokens = record.tokens, .changes = record.changes};
}

Path records_file(const Path& dir, const std::string& side) {
  return dir / "records" / (side + ".jsonl");
}

void write_records(const Path& dir, const std::string& side, const Dataset& data,
                   const Records& records, Node& all) {
  if (records.empty()) return;
  const Path file = records_file(dir, side);
  make_directories(file.parent_path());
  write_file_atomically(file, record_lines(data, records));
  all[side] = records_summary(records);
}

}  // namespace graft
