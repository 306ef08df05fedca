#include "train/plan.h"

#include <c10/util/accumulate.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "edit/first_change.h"
#include "model/families.h"
#include "model/gguf_model.h"
#include "model/sites.h"
#include "train/row_cache.h"

namespace graft {

namespace {

// "attn.q": the part of the site that a tensor serves.
std::string part_of(const ParamSpec& param) {
  return param.site ? std::string(part_name(param.site->part)) : param.label;
}

// `path`: of the edit or the head, "0.gate/".
// Adds to `edit_flops` what the edit computes for a token in a forward pass.
void count_params(const std::string& path, const std::vector<ParamSpec>& params, Plan& plan,
                  double& edit_flops) {
  const std::string owner = path.substr(0, path.size() - 1);
  std::map<std::pair<std::string, ParamUse>, size_t> rows;
  for (const ParamSpec& param : params) {
    const int64_t count = c10::multiply_integers(param.shape);
    if (param.role != Role::kDrawn) plan.stored_parameters += count;
    if (param.role != Role::kTrained) continue;
    if (param.use == ParamUse::kHead) {
      plan.head_parameters += count;
    } else {
      plan.edit_parameters += count;
      // A bank of a stochastic mixture comes once for each expert, and its mean is what is kept.
      if (param.expert.value_or(0) == 0) {
        const int64_t kept = param.kept.value_or(count);
        plan.kept_parameters += kept;
        edit_flops += param.cost ? param.cost->flops : 2.0 * static_cast<double>(kept);
      }
    }
    const auto [found, is_new] =
        rows.emplace(std::pair{part_of(param), param.use}, plan.rows.size());
    if (is_new) plan.rows.push_back({owner, found->first.first, param.use, 0});
    plan.rows[found->second].parameters += count;
  }
}

// Returns the operations of its edits for a token.
double count_adapter(const Adapter& adapter, Plan& plan) {
  double flops = 0;
  for (const Adapter::Part& part : adapter.parts())
    count_params(part.path, part.spec().params, plan, flops);
  if (adapter.head() != nullptr)
    count_params(Adapter::kHeadPath, adapter.head()->params(), plan, flops);
  return flops;
}

// Matrix products for one row of the data, 2 operations a multiply-add.
struct RowFlops {
  std::vector<double> blocks;  // of both stacks, the encoder's first
  double output = 0;           // of the layer over the vocabulary
  double tokens = 0;
};

RowFlops row_flops(const ModelConfig& c, const PlanShape& shape, bool is_text) {
  const auto width = static_cast<double>(c.width);
  const bool has_both = c.is_encoder_decoder();
  // In an encoder-decoder the decoder of a classifier reads the text itself.
  const double length = shape.mean_length, target = is_text    ? shape.mean_target
                                                    : has_both ? length
                                                               : 0;
  const auto block = [&](const StackConfig& stack, int64_t layer, double rows) {
    const auto heads = static_cast<double>(stack.attention_width),
               keys = static_cast<double>(stack.key_width());
    const double ffn = (stack.has_gated_ffn ? 3 : 2) * width * static_cast<double>(stack.ffn_width);
    const double seen = stack.is_local(layer)
                            ? std::min(rows, 2 * static_cast<double>(stack.local->window) + 1)
                            : rows;
    return rows * (2 * (2 * width * (heads + keys) + ffn) + 4 * seen * heads);
  };
  const auto cross = [&](const StackConfig& stack) {
    const auto heads = static_cast<double>(stack.attention_width),
               keys = static_cast<double>(stack.key_width());
    return target * (4 * width * heads + 4 * length * heads) + length * 4 * width * keys;
  };
  RowFlops out;
  for (int64_t i = 0; i < c.encoder_layers(); ++i)
    out.blocks.push_back(block(*c.encoder, i, length));
  for (int64_t i = 0; i < c.decoder_layers(); ++i) {
    out.blocks.push_back(block(*c.decoder, i, has_both ? target : length) +
                         (has_both ? cross(*c.decoder) : 0));
  }
  const double given = target > 0 ? target : length;
  if (is_text) out.output = given * 2 * width * static_cast<double>(c.vocabulary);
  out.tokens = length + (has_both && is_text ? target : 0);
  return out;
}

// Of the blocks of all stacks the first that an adapter changes; their number when it changes none.
int64_t first_changed_block(const Adapter& adapter, const ModelConfig& config) {
  const TrunkPoint first = first_change(adapter, config);
  return first.layer + (first.stack == StackId::kDecoder ? config.encoder_layers() : 0);
}

// The batches of a run: the mean length of its rows, and the largest batch to expect.
PlanShape shape_of(const RunConfig& config, const Model& model, const Dataset& data) {
  PlanShape shape;
  shape.precision = config.precision;
  shape.saves_memory = config.saves_memory;
  const auto count = static_cast<double>(std::max<int64_t>(1, data.size()));
  std::vector<int64_t> lengths;
  int64_t ids = 0, targets = 0;
  for (const Sequence& sequence : data.sequences) {
    lengths.push_back(static_cast<int64_t>(sequence.ids.size()));
    ids += lengths.back();
    const std::vector<bool>& marks = sequence.is_target();
    targets += static_cast<int64_t>(sequence.target_ids().size()) +
               std::count(marks.begin(), marks.end(), true);
  }
  shape.mean_length = static_cast<double>(ids) / count;
  shape.mean_target = static_cast<double>(targets) / count;
  const int64_t rows = std::min(config.batch_size, data.size());
  std::sort(lengths.rbegin(), lengths.rend());
  const int64_t most = std::accumulate(lengths.begin(), lengths.begin() + rows,
                                       int64_t{0});  // the longest rows in one batch
  if (config.token_budget > 0) {
    shape.batch_tokens = config.token_budget;
    shape.batch_rows =
        std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(config.token_budget) /
                                                  std::max(1.0, shape.mean_length)));
  } else {
    shape.batch_rows = rows;
    const auto long_batch = static_cast<int64_t>(1.3 * shape.mean_length *
                                                 static_cast<double>(rows));  // of a shuffled epoch
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

}  // namespace

const char* use_name(ParamUse use) {
  switch (use) {
    case ParamUse::kExpert: return "experts";
    case ParamUse::kRouter: return "routers";
    case ParamUse::kGate: return "gates";
    case ParamUse::kHead: return "head";
    case ParamUse::kOther: return "others";
  }
  return "";
}

int64_t Plan::parameters_for(ParamUse use) const {
  int64_t sum = 0;
  for (const PlanRow& row : rows) sum += row.use == use ? row.parameters : 0;
  return sum;
}

Plan make_plan(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape) {
  Plan plan;
  for (const TensorSlot& slot : tensor_slots(config))
    plan.trunk_parameters += c10::multiply_integers(slot.shape);
  const double own_flops = count_adapter(adapter, plan);

  const bool rewrites = adapter.rewrites_trunk(),
             is_text = config.has_decoder() && adapter.head() == nullptr;
  const RowFlops row = row_flops(config, shape, is_text);
  const auto lowest = static_cast<std::ptrdiff_t>(first_changed_block(adapter, config));
  const double trained = std::accumulate(row.blocks.begin() + lowest, row.blocks.end(), row.output);
  const double edits = rewrites ? 0.0 : own_flops;
  plan.forward_flops =
      (std::accumulate(row.blocks.begin(), row.blocks.end(), row.output)) / row.tokens + edits;
  plan.training_flops =
      plan.forward_flops + trained / row.tokens * (rewrites ? 2.0 : 1.0) + 2.0 * edits;
  if (shape.saves_memory)
    plan.training_flops +=
        (trained - row.output) / row.tokens + edits;  // every block a second time
  plan.training_flops *= static_cast<double>(shape.passes);
  plan.memory = footprint_of(adapter, config, shape);
  return plan;
}

int64_t passes_of(const Objective& objective, const Adapter& adapter) {
  const TaskKind kind = adapter.task()
                            ? adapter.task()->kind()
                            : TaskKind::kGeneration;  // without one the model answers in words
  return objective.needs_two_passes(kind) ? 2 : 1;
}

Plan make_plan(const RunInputs& inputs) {
  const Adapter& adapter = *inputs.adapter;
  PlanShape shape = shape_of(inputs.config, *inputs.model, *inputs.train);
  shape.passes = passes_of(inputs.config.objective, adapter);
  shape.kept_bytes = plan_row_cache(inputs).bytes();
  return make_plan(adapter, inputs.model->config, shape);
}

}  // namespace graft
