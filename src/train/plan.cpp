#include "train/plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "model/families.h"
#include "model/gguf_model.h"
#include "model/sites.h"

namespace graft {

namespace {

int64_t count_of(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

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
  const bool is_routed =
      std::any_of(routed.begin(), routed.end(), [&](const std::string& below) { return param.name.starts_with(below); });
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

// Matrix products for one row of the data, 2 operations a multiply-add.
struct RowFlops {
  std::vector<double> blocks;  // of both stacks, the encoder's first
  double output = 0;           // of the layer over the vocabulary
  double tokens = 0;
};

RowFlops row_flops(const ModelConfig& c, const PlanShape& shape, bool is_text) {
  const auto width = static_cast<double>(c.width), heads = static_cast<double>(c.attention_width),
             keys = static_cast<double>(c.key_width());
  const double ffn = (c.has_gated_ffn ? 3 : 2) * width * static_cast<double>(c.ffn_width), attention = 2 * width * (heads + keys);
  const double length = shape.mean_length, target = shape.mean_target;
  const bool has_both = c.layers > 0 && c.has_decoder();
  const auto block = [&](double rows) { return rows * (2 * (attention + ffn) + 4 * rows * heads); };
  RowFlops out;
  out.blocks.assign(static_cast<size_t>(c.layers), block(length));
  const double decoded = has_both ? target : length, read = has_both ? length : 0;
  const double cross = has_both ? decoded * (4 * width * heads + 4 * read * heads) + read * 4 * width * keys : 0;
  out.blocks.insert(out.blocks.end(), static_cast<size_t>(c.decoder_layers), block(decoded) + cross);
  const double given = target > 0 ? target : length;
  if (is_text) out.output = given * 2 * width * static_cast<double>(c.vocabulary);
  out.tokens = length + (has_both ? target : 0);
  return out;
}

// Blocks of both stacks, the encoder's first.
int64_t all_layers(const ModelConfig& config) { return config.layers + config.decoder_layers; }

// Lowest of all layers that an edit changes; their number when none does.
int64_t lowest_edited_layer(const Adapter& adapter, const ModelConfig& config) {
  int64_t lowest = all_layers(config);
  const auto lower = [&](const std::string& stack, int64_t layer) {
    lowest = std::min(lowest, stack == "dec" ? config.layers + layer : layer);
  };
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
  for (const TensorSlot& slot : tensor_slots(config)) plan.trunk_parameters += count_of(slot.shape);
  count_adapter(adapter, plan);

  const bool rewrites = adapter.rewrites_trunk(), is_text = config.has_decoder() && adapter.head() == nullptr;
  const RowFlops row = row_flops(config, shape, is_text);
  const auto lowest = static_cast<std::ptrdiff_t>(lowest_edited_layer(adapter, config));
  const double trained = std::accumulate(row.blocks.begin() + lowest, row.blocks.end(), row.output);
  const double edits = rewrites ? 0.0 : 2.0 * static_cast<double>(plan.kept_parameters);
  plan.forward_flops = (std::accumulate(row.blocks.begin(), row.blocks.end(), row.output)) / row.tokens + edits;
  plan.training_flops = plan.forward_flops + trained / row.tokens * (rewrites ? 2.0 : 1.0) + 2.0 * edits;
  if (shape.saves_memory) plan.training_flops += (trained - row.output) / row.tokens + edits;  // every block a second time
  plan.peak_bytes = peak_bytes(adapter, config, shape);
  return plan;
}

PlanShape plan_shape(const RunConfig& config, const Model& model, const Dataset& data) {
  PlanShape shape;
  shape.precision = config.precision;
  shape.saves_memory = config.saves_memory;
  shape.passes = config.objective.consistency > 0 ? 2 : 1;
  const auto count = static_cast<double>(std::max<int64_t>(1, data.size()));
  std::vector<int64_t> lengths;
  int64_t ids = 0, targets = 0;
  for (const Sequence& sequence : data.sequences) {
    lengths.push_back(static_cast<int64_t>(sequence.ids.size()));
    ids += lengths.back();
    targets +=
        static_cast<int64_t>(sequence.target_ids.size()) + std::count(sequence.is_target.begin(), sequence.is_target.end(), true);
  }
  shape.mean_length = static_cast<double>(ids) / count;
  shape.mean_target = static_cast<double>(targets) / count;
  const int64_t rows = std::min(config.batch_size, data.size());
  std::sort(lengths.rbegin(), lengths.rend());
  const int64_t most = std::accumulate(lengths.begin(), lengths.begin() + rows, int64_t{0});  // the longest rows in one batch
  if (config.token_budget > 0) {
    shape.batch_tokens = config.token_budget;
    shape.batch_rows =
        std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(config.token_budget) / std::max(1.0, shape.mean_length)));
  } else {
    shape.batch_rows = rows;
    const auto long_batch = static_cast<int64_t>(1.3 * shape.mean_length * static_cast<double>(rows));  // of a shuffled epoch
    shape.batch_tokens = config.order == Order::kLength ? most : std::min(most, long_batch);
  }
  double parameters = 0, bytes = 0;
  for (const auto& [name, tensor] : model.weights.all_base()) {
    parameters += static_cast<double>(tensor.numel());
    bytes += static_cast<double>(tensor.nbytes());
  }
  shape.stored_item = bytes / std::max(1.0, parameters);
  shape.is_mapped = !is_gguf(model.source);
  return shape;
}

}  // namespace graft
