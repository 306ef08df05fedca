#include "train/micro_batch.h"

#include <ATen/ops/tensor.h>

#include <map>

#include "base/error.h"
#include "train/objective.h"

namespace graft {

namespace {

using at::Tensor;

// The targets of one lane of a batch.
struct LaneTargets {
  std::vector<int64_t> tokens, sequence;
};

LaneTargets targets_of(const LanguageBatch& batch, size_t lane) {
  size_t begin = 0;
  for (size_t i = 0; i < lane; ++i) begin += static_cast<size_t>(batch.lane_targets[i]);
  const auto first = static_cast<std::ptrdiff_t>(begin), count = batch.lane_targets[lane];
  const auto cut = [&](const std::vector<int64_t>& all) {
    return std::vector<int64_t>(all.begin() + first, all.begin() + first + count);
  };
  return {cut(batch.targets), cut(batch.sequence)};
}

// Factor of each target's loss: 1, or 1 / (targets of its row).
Tensor target_weights(const LaneTargets& targets, const Objective& objective) {
  std::vector<double> weights(targets.tokens.size(), 1.0);
  if (objective.averages_rows) {
    std::map<int64_t, double> of_sequence;
    for (const int64_t sequence : targets.sequence) of_sequence[sequence] += 1.0;
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = 1.0 / of_sequence[targets.sequence[i]];
  }
  return at::tensor(weights, at::kDouble);
}

// Sum over the targets of the first pass of cross entropy, and of its consistency with the second.
// passes: [R, C] each.
Tensor summed_text_loss(const std::vector<Tensor>& passes, const LaneTargets& targets,
                        const OutputLayer& layer, const Objective& objective) {
  if (passes.size() == 1 && !objective.averages_rows) {
    return vocabulary_loss(passes.front(), layer, targets.tokens,
                           {objective.label_smoothing, objective.z_loss})
        .sum;
  }
  const Tensor weights = target_weights(targets, objective),
               truth = at::tensor(targets.tokens, at::kLong);
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
  return chunked_loss(passes, layer, loss);
}

}  // namespace

double loss_units(const RunInputs& inputs, const Batch& batch) {
  if (!inputs.task.is_answered_in_words() || inputs.config.objective.averages_rows)
    return static_cast<double>(batch.size());
  int64_t units = 0;
  for (const int64_t row : batch)
    units += num_targets(inputs.train->sequences[static_cast<size_t>(row)]);
  return static_cast<double>(units);
}

MicroBatch::MicroBatch(const RunInputs& inputs, const BoundAdapter& bound, const Batch& batch,
                       RandomKey key, double units)
    : inputs_(inputs), bound_(bound), batch_(batch), units_(units) {
  LaneInput rows{.layout = bound.adapter().layout(),
                 .key = key,
                 .dropout = trunk_dropout(inputs.model->config, inputs.config.dropout)};
  for (const int64_t row : batch) {
    const Sequence& sequence = inputs.train->sequences[static_cast<size_t>(row)];
    rows.sequences.push_back(&sequence);
    tokens_ += sequence.num_tokens();
  }
  const uint64_t passes = inputs.config.objective.needs_two_passes(inputs.task.kind()) ? 2 : 1;
  const auto route_of = [&key](uint64_t pass) { return key.with("route").with(pass); };
  for (uint64_t pass = 0; pass < passes; ++pass) {
    lanes_.push_back(rows);
    lanes_.back().key = key.in_stream(static_cast<uint16_t>(pass));
    adapters_.push_back({&bound,
                         {.is_training = true,
                          .route = route_of(pass),
                          .first_route = pass > 0 ? std::optional(route_of(0)) : std::nullopt,
                          .keeps_drawn = inputs.config.record.routes}});
  }
  lanes_.back().ends_run = true;
}

void MicroBatch::add_kept(KnownRows& known) const {
  for (size_t lane = 0; lane < lanes_.size(); ++lane) inputs_.kept_train->add(batch_, known);
}

bool MicroBatch::can_share_pass(const MicroBatch& other) const {
  const auto first_point = [](const MicroBatch& batch) {
    const KeptRows* kept = batch.inputs_.kept_train.get();
    return kept != nullptr ? std::optional(kept->place().at) : std::nullopt;
  };
  const auto embedding_width = [](const MicroBatch& batch) {
    return batch.lanes_.front().sequences.front()->embedding.size();
  };
  const auto has_masks = [](const MicroBatch& batch) {
    return batch.lanes_.front().sequences.front()->mask() != nullptr;
  };
  return inputs_.model == other.inputs_.model && first_point(*this) == first_point(other) &&
         inputs_.task.is_answered_in_words() == other.inputs_.task.is_answered_in_words() &&
         embedding_width(*this) == embedding_width(other) && has_masks(*this) == has_masks(other) &&
         graft::can_share_pass(bound_, other.bound_);
}

namespace {

template <class Result>
std::vector<const SideOutputs*> sides_of(const std::vector<Result>& lanes, size_t first,
                                         size_t count) {
  std::vector<const SideOutputs*> out;
  for (size_t lane = first; lane < first + count; ++lane) out.push_back(&lanes[lane].side);
  return out;
}

// Of each lane, once: several sites may share what they draw.
DrawnExperts drawn_in(const std::vector<const SideOutputs*>& lanes) {
  DrawnExperts out;
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    for (const DrawnExpert& drawn : lanes[lane]->drawn) {
      std::vector<int64_t>& experts = out[drawn.name];
      if (experts.size() == lane) experts.push_back(drawn.expert);
    }
  }
  return out;
}

}  // namespace

BatchLoss MicroBatch::loss_of(const std::vector<LaneResult>& results, size_t first_lane) const {
  const Objective& objective = inputs_.config.objective;
  std::vector<double> labels;
  for (const int64_t row : batch_)
    labels.push_back(*inputs_.train->examples[static_cast<size_t>(row)].label);
  const Tensor& logits = results[first_lane].logits;
  Tensor loss = summed_loss(inputs_.task.kind(), logits, labels, objective);
  if (lanes_.size() > 1) {
    const Tensor& second = results[first_lane + 1].logits;
    const Tensor between = inputs_.task.kind() == TaskKind::kRegression
                               ? summed_value_consistency(logits, second, objective.targets)
                               : summed_consistency(logits, second, objective.targets);
    loss = loss + between * objective.consistency;
  }
  return with_edits(loss, sides_of(results, first_lane, lanes_.size()));
}

BatchLoss MicroBatch::loss_of(const std::vector<LaneStates>& states, const LanguageBatch& batch,
                              size_t first_lane) const {
  std::vector<Tensor> rows;
  for (size_t lane = 0; lane < lanes_.size(); ++lane)
    rows.push_back(states[first_lane + lane].rows);
  return with_edits(summed_text_loss(rows, targets_of(batch, first_lane),
                                     bound_.weights().output_layer(inputs_.model->config),
                                     inputs_.config.objective),
                    sides_of(states, first_lane, lanes_.size()));
}

// Edits give means over the sequences of a lane: of the rows, or of each pass over them.
BatchLoss MicroBatch::with_edits(const Tensor& sum,
                                 const std::vector<const SideOutputs*>& lanes) const {
  Tensor loss = sum / units_;
  const double mean_share =
      loss_units(inputs_, batch_) / units_ / static_cast<double>(lanes_.size());
  // Site by site: the lanes have the same edits.
  for (size_t i = 0; i < lanes.front()->losses.size(); ++i) {
    for (const SideOutputs* lane : lanes)
      loss = loss + lane->losses.at(i).value.to(loss.scalar_type()) * mean_share;
  }
  return {loss, drawn_in(lanes)};
}

std::vector<BatchLoss> losses_of(const std::vector<MicroBatch>& batches) {
  const RunInputs& inputs = batches.front().inputs();
  const Model& model = *inputs.model;
  std::vector<LaneInput> lanes;
  std::vector<LaneAdapter> adapters;
  ForwardOptions options;
  KnownRows known;
  if (inputs.kept_train != nullptr) {
    for (const MicroBatch& batch : batches) batch.add_kept(known);
    options.from = &known;
  }
  for (const MicroBatch& batch : batches) {
    ensure(batch.can_share_pass(batches.front()), "the runs of a pass can share it");
    lanes.insert(lanes.end(), batch.lanes().begin(), batch.lanes().end());
    adapters.insert(adapters.end(), batch.adapters().begin(), batch.adapters().end());
    // What it keeps does not change what it computes.
    options.saves_memory = options.saves_memory || batch.inputs().config.saves_memory;
  }
  std::vector<BatchLoss> losses;
  const auto take = [&](const auto& loss_of) {
    size_t lane = 0;
    for (const MicroBatch& batch : batches) {
      losses.push_back(loss_of(batch, lane));
      lane += batch.lanes().size();
    }
  };
  if (inputs.task.is_answered_in_words()) {
    const LanguageBatch language = make_language_batch(model, lanes, pack_options(model));
    const std::vector<LaneStates> states = predicting_states(model, language, adapters, options);
    take([&](const MicroBatch& batch, size_t lane) {
      return batch.loss_of(states, language, lane);
    });
  } else {
    const std::vector<LaneResult> results =
        compute_logits(model, make_pack(lanes, pack_options(model)), adapters, options);
    take([&](const MicroBatch& batch, size_t lane) { return batch.loss_of(results, lane); });
  }
  return losses;
}

}  // namespace graft
