#include "train/plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "model/families.h"
#include "model/sites.h"

namespace graft {

namespace {

// Measured once (doc/performance.md): libtorch, its libraries and the program's own text and heap, before a model is loaded.
constexpr int64_t kProcessBytes = 260'000'000;

int64_t count_of(const std::vector<int64_t>& shape) { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }

// A param's name, taken apart: edit "0.gate", steps "of/expert.2/", own name "enc.3.attn.q.lora_a".
struct ParamPath {
  std::string edit, steps, own;
};

ParamPath path_of(const std::string& name) {
  const size_t first = name.find('/'), last = name.rfind('/');
  return {name.substr(0, first), name.substr(first + 1, last - first), name.substr(last + 1)};
}

// "attn.q": the part of the site that the tensor belongs to; of one that several sites share, its own name without "weight".
std::string part_of(const ParamSpec& param, const std::string& own) {
  if (!param.site.empty()) return place_of(param.site).rest;
  const std::string rest = place_of(own).rest;
  const size_t last = rest.rfind('.');
  return last == std::string::npos ? rest : rest.substr(0, last);
}

// Of "expert.2/" among the steps: 2; -1 outside of a stochastic mixture's banks, which come `experts` times.
int64_t bank_member(const std::string& steps) {
  constexpr std::string_view kExpert = "expert.";
  const size_t found = steps.find(kExpert);
  return found == std::string::npos ? -1 : std::stoll(steps.substr(found + kExpert.size()));
}

// `routed`: the paths below which a router keeps its experts, "0.router/of/".
PlanGroup group_of(const ParamSpec& param, const ParamPath& path, const std::set<std::string>& routed) {
  if (path.edit == "head") return PlanGroup::kHead;
  if (param.group == "router") return PlanGroup::kRouters;
  if (param.group == "gate") return PlanGroup::kGates;
  const bool is_drawn = path.steps.find("expert.") != std::string::npos || path.steps.find("shared/") != std::string::npos;
  const bool is_routed = std::any_of(routed.begin(), routed.end(), [&](const std::string& below) { return param.name.starts_with(below); });
  return is_drawn || is_routed ? PlanGroup::kExperts : PlanGroup::kOthers;
}

void count_adapter(const Adapter& adapter, Plan& plan) {
  const std::vector<ParamSpec> params = adapter.params();
  std::set<std::string> routed;
  for (const ParamSpec& param : params) {
    const ParamPath path = path_of(param.name);
    if (param.group == "router") routed.insert(path.edit + "/" + path.steps + "of/");
  }
  std::map<std::tuple<std::string, std::string, PlanGroup>, size_t> place;
  for (const ParamSpec& param : params) {
    const int64_t count = count_of(param.shape);
    plan.stored_parameters += count;
    if (param.role != Role::kTrained) continue;
    const ParamPath path = path_of(param.name);
    const std::string part = part_of(param, path.own);
    const PlanGroup group = group_of(param, path, routed);
    if (group == PlanGroup::kHead) {
      plan.head_parameters += count;
    } else {
      plan.edit_parameters += count;
      if (bank_member(path.steps) <= 0) plan.kept_parameters += param.kept.value_or(count);
    }
    const auto [found, is_new] = place.emplace(std::tuple{path.edit, part, group}, plan.rows.size());
    if (is_new) plan.rows.push_back({path.edit, part, group, 0});
    plan.rows[found->second].parameters += count;
  }
}

int64_t item_bytes(Precision precision) { return precision == Precision::kBFloat16 ? 2 : 4; }

// Matrix products of one block for one token, 2 operations a multiply-add; `length` keys are attended to.
double block_flops(const ModelConfig& c, double length) {
  const auto width = static_cast<double>(c.width), ffn = static_cast<double>(c.ffn_width);
  return 2.0 * (4.0 * width * width + 2.0 * width * ffn) + 4.0 * length * width;
}

// Blocks of both stacks, the encoder's first.
int64_t all_layers(const ModelConfig& config) { return config.layers + config.decoder_layers; }

// Lowest of all layers that an edit changes; their number when none does.
int64_t lowest_edited_layer(const Adapter& adapter, const ModelConfig& config) {
  int64_t lowest = all_layers(config);
  const auto lower = [&](const std::string& stack, int64_t layer) { lowest = std::min(lowest, stack == "dec" ? config.layers + layer : layer); };
  for (const Adapter::Part& part : adapter.parts()) {
    for (const Site& site : part.spec.sites) lower(site.stack, std::max<int64_t>(0, site.layer));
    if (!part.spec.traits.rewrites) continue;
    for (const ParamSpec& param : part.spec.params) {
      const Place place = place_of(param.name);
      if (place.layer >= 0) lower(place.stack, place.layer);
      else if (param.name.starts_with("embed.")) lowest = 0;
    }
  }
  return lowest;
}

// What autograd keeps of a block for its backward pass, per token, in items of the trunk's dtype: the inputs of attention
// (q, k, v, its output), of both norms, of the activation, and the changed outputs.
double kept_items(const ModelConfig& c) { return 8.0 * static_cast<double>(c.width) + 2.0 * static_cast<double>(c.ffn_width); }

}  // namespace

const char* group_name(PlanGroup group) {
  switch (group) {
    case PlanGroup::kExperts: return "experts";
    case PlanGroup::kRouters: return "routers";
    case PlanGroup::kGates: return "gates";
    case PlanGroup::kHead: return "head";
    case PlanGroup::kOthers: return "others";
  }
  return "";
}

int64_t Plan::parameters_in(PlanGroup group) const {
  int64_t sum = 0;
  for (const PlanRow& row : rows) sum += row.group == group ? row.parameters : 0;
  return sum;
}

Plan make_plan(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape) {
  Plan plan;
  int64_t linear_parameters = 0;
  for (const TensorSlot& slot : tensor_slots(config)) {
    plan.trunk_parameters += count_of(slot.shape);
    if (slot.shape.size() == 2 && !slot.name.starts_with("embed.")) linear_parameters += count_of(slot.shape);
  }
  count_adapter(adapter, plan);

  const bool rewrites = adapter.rewrites_trunk();
  const int64_t lowest = lowest_edited_layer(adapter, config);
  const double block = block_flops(config, shape.mean_length);
  const double edits = rewrites ? 0.0 : 2.0 * static_cast<double>(plan.kept_parameters);
  const auto layers = static_cast<double>(all_layers(config)), trained_layers = static_cast<double>(all_layers(config) - lowest);
  plan.forward_flops = layers * block + edits;
  plan.training_flops = plan.forward_flops + trained_layers * block * (rewrites ? 2.0 : 1.0) + 2.0 * edits;

  const int64_t item = item_bytes(shape.precision);
  const auto tokens = static_cast<double>(shape.batch_tokens);
  const int64_t trained = plan.edit_parameters + plan.head_parameters;
  const int64_t packed_copies = rewrites || trained_layers == 0 ? 1 : 2;   // for the forward pass, and transposed for the backward pass
  const double activations = tokens * static_cast<double>(item) *
                             (trained_layers * kept_items(config) + 4.0 * static_cast<double>(config.ffn_width) + 8.0 * static_cast<double>(config.width));
  plan.peak_bytes = kProcessBytes + plan.trunk_parameters * 4 + (rewrites ? 0 : linear_parameters * item * packed_copies) + trained * 16 +
                    static_cast<int64_t>(activations);
  return plan;
}

PlanShape plan_shape(const RunConfig& config, const Dataset& data) {
  PlanShape shape;
  shape.precision = config.precision;
  shape.mean_length = static_cast<double>(data.num_tokens) / static_cast<double>(std::max<int64_t>(1, data.size()));
  std::vector<int64_t> lengths;
  for (const Sequence& sequence : data.sequences) lengths.push_back(static_cast<int64_t>(sequence.ids.size()));
  const int64_t rows = std::min(config.batch_size, data.size());
  if (config.token_budget > 0) {
    shape.batch_tokens = config.token_budget;
  } else if (config.order == Order::kLength) {   // the longest rows meet in one batch
    std::sort(lengths.rbegin(), lengths.rend());
    shape.batch_tokens = std::accumulate(lengths.begin(), lengths.begin() + rows, int64_t{0});
  } else {
    shape.batch_tokens = static_cast<int64_t>(1.3 * shape.mean_length * static_cast<double>(rows));   // a long batch of a shuffled epoch
  }
  return shape;
}

}  // namespace graft
