#include "train/batch_loss.h"

#include "infer/predict.h"
#include "train/objective.h"

namespace graft {

using at::Tensor;

BatchLoss batch_loss(const RunInputs& inputs, const Bound& bound, const Batch& batch, RandomKey key, int64_t units) {
  const RunConfig& config = inputs.config;
  const Objective& objective = config.objective;
  const bool has_two = objective.needs_two_passes(inputs.task.kind);
  PackLane rows{{}, 0, bound.adapter().layout()};
  std::vector<double> labels;
  BatchLoss out;
  for (const int64_t row : batch) {
    const Sequence& sequence = inputs.train.sequences[static_cast<size_t>(row)];
    rows.sequences.push_back(&sequence);
    labels.push_back(*inputs.train.examples[static_cast<size_t>(row)].label);
    out.tokens += static_cast<int64_t>(sequence.ids.size());
  }
  std::vector<PackLane> passes{rows};
  if (has_two) passes.push_back({rows.sequences, 1, rows.layout});

  std::vector<std::pair<std::string, Tensor>> losses;
  std::vector<Lane> lanes;
  for (size_t pass = 0; pass < passes.size(); ++pass) {
    lanes.push_back({&bound, {.is_training = true, .key = key, .route = key.with("route").with(pass), .losses = &losses}});
  }
  ForwardOptions options;
  options.hidden_dropout = config.dropout.value_or(inputs.model->config.hidden_dropout);
  options.attention_dropout = config.dropout.value_or(inputs.model->config.attention_dropout);
  options.key = key.with("trunk");
  const LogitsResult result = compute_logits(*inputs.model, make_pack(passes, pack_options(*inputs.model)), lanes, options);

  const double share = 1.0 / static_cast<double>(units);
  out.loss = summed_loss(inputs.task.kind, result.logits.front(), labels, objective) * share;
  if (has_two) out.loss = out.loss + summed_consistency(result.logits[0], result.logits[1], objective.targets) * (objective.consistency * share);
  // Edits give means over the sequences of a lane: of these rows, or of each pass over them.
  const double mean_share = static_cast<double>(batch.size()) * share / static_cast<double>(lanes.size());
  for (const auto& [name, loss] : losses) out.loss = out.loss + loss.to(out.loss.scalar_type()) * mean_share;
  return out;
}

}  // namespace graft
