#include "train/plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "model/families.h"

namespace graft {

namespace {

// Measured once (doc/performance.md): libtorch, its libraries and the program's own text and heap, before a model is loaded.
constexpr int64_t kProcessBytes = 260'000'000;

int64_t count_of(const std::vector<int64_t>& shape) { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }

// "enc.3.attn.q.lora_a" -> "attn.q": the part of the site that the tensor belongs to.
std::string part_of(const std::string& name) {
  std::string rest = name;
  if (rest.starts_with("enc.")) rest = rest.substr(rest.find('.', 4) + 1);
  const size_t last = rest.rfind('.');
  return last == std::string::npos ? rest : rest.substr(0, last);
}

int64_t item_bytes(Precision precision) { return precision == Precision::kBFloat16 ? 2 : 4; }

// Matrix products of one block for one token, 2 operations a multiply-add; `length` keys are attended to.
double block_flops(const ModelConfig& c, double length) {
  const auto width = static_cast<double>(c.width), ffn = static_cast<double>(c.ffn_width);
  return 2.0 * (4.0 * width * width + 2.0 * width * ffn) + 4.0 * length * width;
}

// Lowest layer that an edit changes; the number of layers when none does.
int64_t lowest_edited_layer(const Adapter& adapter, const ModelConfig& config) {
  int64_t lowest = config.layers;
  for (const Adapter::Part& part : adapter.parts()) {
    for (const Site& site : part.spec.sites) lowest = std::min(lowest, std::max<int64_t>(0, site.layer));
    if (!part.spec.traits.rewrites) continue;
    for (const ParamSpec& param : part.spec.params) {
      if (param.name.starts_with("embed.")) lowest = 0;
      if (param.name.starts_with("enc.")) lowest = std::min(lowest, static_cast<int64_t>(std::stoll(param.name.substr(4))));
    }
  }
  return lowest;
}

// What autograd keeps of a block for its backward pass, per token, in items of the trunk's dtype: the inputs of attention
// (q, k, v, its output), of both norms, of the activation, and the changed outputs.
double kept_items(const ModelConfig& c) { return 8.0 * static_cast<double>(c.width) + 2.0 * static_cast<double>(c.ffn_width); }

}  // namespace

Plan make_plan(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape) {
  Plan plan;
  int64_t linear_parameters = 0;
  for (const TensorSlot& slot : tensor_slots(config)) {
    plan.trunk_parameters += count_of(slot.shape);
    if (slot.shape.size() == 2 && !slot.name.starts_with("embed.")) linear_parameters += count_of(slot.shape);
  }
  std::map<std::pair<std::string, std::string>, size_t> place;
  for (const ParamSpec& param : adapter.params()) {
    const int64_t count = count_of(param.shape);
    plan.stored_parameters += count;
    if (param.role != Role::kTrained) continue;
    const size_t slash = param.name.find('/');
    const std::string edit = param.name.substr(0, slash), part = part_of(param.name.substr(slash + 1));
    (edit == "head" ? plan.head_parameters : plan.edit_parameters) += count;
    const auto [found, is_new] = place.emplace(std::pair{edit, part}, plan.rows.size());
    if (is_new) plan.rows.push_back({edit, part, 0});
    plan.rows[found->second].parameters += count;
  }

  const bool rewrites = adapter.rewrites_trunk();
  const int64_t lowest = lowest_edited_layer(adapter, config);
  const double block = block_flops(config, shape.mean_length);
  const double edits = rewrites ? 0.0 : 2.0 * static_cast<double>(plan.edit_parameters);
  const auto layers = static_cast<double>(config.layers), trained_layers = static_cast<double>(config.layers - lowest);
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
