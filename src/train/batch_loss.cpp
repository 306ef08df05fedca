#include "train/batch_loss.h"

#include <ATen/ops/tensor.h>

#include "infer/language.h"
#include "train/objective.h"

namespace graft {

namespace {

using at::Tensor;

// Factor of each target's loss: 1, or 1 / (targets of its row).
Tensor target_weights(const LanguageBatch& batch, size_t count, const Objective& objective) {
  std::vector<double> weights(count, 1.0);
  if (objective.averages_rows) {
    std::vector<double> targets(batch.wanted.size(), 0.0);
    for (size_t i = 0; i < count; ++i) targets[static_cast<size_t>(batch.sequence[i])] += 1.0;
    for (size_t i = 0; i < count; ++i)
      weights[i] = 1.0 / targets[static_cast<size_t>(batch.sequence[i])];
  }
  return at::tensor(weights, at::kDouble);
}

// Sum over the targets of the first pass of cross entropy, and of its consistency with the second.
// states: [passes * R, C].
Tensor summed_text_loss(const Tensor& states, const LanguageBatch& batch, size_t passes,
                        const OutputLayer& layer, const Objective& objective) {
  const size_t count = batch.targets.size() / passes;
  const std::vector<int64_t> targets(batch.targets.begin(),
                                     batch.targets.begin() + static_cast<std::ptrdiff_t>(count));
  if (passes == 1 && !objective.averages_rows)
    return vocabulary_loss(states, layer, targets, {objective.label_smoothing, objective.z_loss})
        .sum;
  const Tensor weights = target_weights(batch, count, objective),
               truth = at::tensor(targets, at::kLong);
  const auto loss = [&](const std::vector<Tensor>& logits, int64_t first_row) {
    const Tensor& own = logits.front();  // [r, V]
    const int64_t end = first_row + own.size(0);
    const Tensor weight = weights.slice(0, first_row, end).to(own.scalar_type());
    const Tensor sum = (row_losses(own, truth.slice(0, first_row, end), objective) * weight).sum();
    return logits.size() == 1
               ? sum
               : sum + objective.consistency *
                           summed_consistency(own, logits[1], objective.targets, weight);
  };
  std::vector<Tensor> hiddens =
      passes == 1 ? std::vector<Tensor>{states} : states.split(static_cast<int64_t>(count), 0);
  return chunked_loss(hiddens, layer, loss);
}

// Sum over the rows of a classification or regression.
Tensor summed_row_loss(const RunInputs& inputs, const Batch& batch, const LogitsResult& result) {
  const Objective& objective = inputs.config.objective;
  std::vector<double> labels;
  for (const int64_t row : batch)
    labels.push_back(*inputs.train.examples[static_cast<size_t>(row)].label);
  const Tensor loss = summed_loss(inputs.task.kind, result.logits.front(), labels, objective);
  if (result.logits.size() == 1) return loss;
  if (inputs.task.kind == TaskKind::kRegression)
    return loss + summed_value_consistency(result.logits[0], result.logits[1], objective.targets) *
                      objective.consistency;
  return loss + summed_consistency(result.logits[0], result.logits[1], objective.targets) *
                    objective.consistency;
}

}  // namespace

double loss_units(const RunInputs& inputs, const Batch& batch) {
  if (!inputs.task.is_answered_in_words() || inputs.config.objective.averages_rows)
    return static_cast<double>(batch.size());
  int64_t units = 0;
  for (const int64_t row : batch)
    units += num_targets(inputs.train.sequences[static_cast<size_t>(row)]);
  return static_cast<double>(units);
}

BatchLoss batch_loss(const RunInputs& inputs, const BoundAdapter& bound, const Batch& batch,
                     RandomKey key, double units) {
  const RunConfig& config = inputs.config;
  const Model& model = *inputs.model;
  LaneInput rows{{}, 0, bound.adapter().layout()};
  BatchLoss out;
  for (const int64_t row : batch) {
    const Sequence& sequence = inputs.train.sequences[static_cast<size_t>(row)];
    rows.sequences.push_back(&sequence);
    out.tokens += sequence.num_tokens();
  }
  std::vector<LaneInput> passes{rows};
  if (config.objective.needs_two_passes(inputs.task.kind))
    passes.push_back({rows.sequences, 1, rows.layout});

  std::vector<std::pair<std::string, Tensor>> losses;
  std::vector<LaneAdapter> lanes;
  const auto route_of = [&key](size_t pass) { return key.with("route").with(pass); };
  for (size_t pass = 0; pass < passes.size(); ++pass) {
    lanes.push_back({&bound,
                     {.is_training = true,
                      .key = key,
                      .route = route_of(pass),
                      .first_route = pass > 0 ? std::optional(route_of(0)) : std::nullopt,
                      .losses = &losses}});
  }
  ForwardOptions options;
  set_dropout(options, model.config, config.dropout);
  options.key = key.with("trunk");
  options.saves_memory = config.saves_memory;
  if (inputs.task.is_answered_in_words()) {
    const LanguageBatch language = make_language_batch(model, passes, pack_options(model));
    const Tensor states = predicting_states(model, language, lanes, options);
    out.loss = summed_text_loss(states, language, passes.size(),
                                bound.weights().output_layer(model.config), config.objective);
  } else {
    out.loss = summed_row_loss(
        inputs, batch,
        compute_logits(model, make_pack(passes, pack_options(model)), lanes, options));
  }
  out.loss = out.loss / units;
  // Edits give means over the sequences of a lane: of these rows, or of each pass over them.
  const double mean_share = loss_units(inputs, batch) / units / static_cast<double>(lanes.size());
  for (const auto& [name, loss] : losses)
    out.loss = out.loss + loss.to(out.loss.scalar_type()) * mean_share;
  return out;
}

StepLoss step_gradients(const RunInputs& inputs, const Adapter& adapter, NamedTensors& tensors,
                        const std::vector<Batch>& batches, int64_t step) {
  double units = 0;
  for (const Batch& batch : batches) units += loss_units(inputs, batch);
  BoundAdapter bound(*inputs.model, adapter, tensors, Experts::kApart);
  StepLoss out;
  for (size_t i = 0; i < batches.size(); ++i) {
    const RandomKey key =
        key_of(inputs.config, Draws::kSteps).with(static_cast<uint64_t>(step)).with(i);
    const BatchLoss batch = batch_loss(inputs, bound, batches[i], key, units);
    out.loss += batch.loss.item<double>();
    torch::autograd::backward({batch.loss}, {});
    out.tokens += batch.tokens;
  }
  bound.add_gradients_to_stored();
  return out;
}

}  // namespace graft
