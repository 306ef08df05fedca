#include "infer/text_losses.h"

#include "base/timer.h"
#include "edit/lane_results.h"
#include "infer/sample_passes.h"
#include "model/language_batch.h"
#include "tensor/vocabulary_loss.h"

namespace graft {

namespace {

// The samples' states of the rows that predict the targets of some rows of a data set.
struct SampledStates {
  LanguageBatch batch;  // of the first sample; its targets are those of all
  std::vector<at::Tensor> states;
  std::vector<OutputLayer> layers;
  std::vector<SideOutput> records;  // of the first sample
};

SampledStates sampled_states(const Model& model, const std::vector<Sample>& samples,
                             const Dataset& data, const std::vector<int64_t>& group,
                             KeptRows* kept) {
  SampledStates out;
  for (const SamplePass& pass : sample_passes(samples, data, group, kept)) {
    for (const LaneAdapter& lane : pass.lanes)
      out.layers.push_back(lane.bound->weights().output_layer(model.config));
    LanguageBatch batch = make_language_batch(model, pass.inputs, pack_options(model));
    std::vector<LaneStates> states = predicting_states(model, batch, pass.lanes, pass.options());
    for (LaneStates& own : states) out.states.push_back(std::move(own.rows));
    if (pass.begin > 0) continue;
    out.records = std::move(states.front().side.records);
    batch.targets.resize(static_cast<size_t>(batch.lane_targets.front()));
    out.batch = std::move(batch);
  }
  return out;
}

// Adds what is known of the targets of the rows `group`.
void add_targets(const SampledStates& sampled, const std::vector<int64_t>& group,
                 TextLosses& losses) {
  const TargetUncertainty own =
      target_uncertainty(sampled.states, sampled.layers, sampled.batch.targets);
  TextUncertainty& all = *losses.uncertainty;
  const auto* const log_p = own.log_p.const_data_ptr<double>();  // [samples, targets]
  for (size_t i = 0; i < sampled.batch.targets.size(); ++i) {
    const auto row = static_cast<size_t>(group[static_cast<size_t>(sampled.batch.sequence[i])]);
    const auto at = [i](const at::Tensor& values) { return values.const_data_ptr<double>()[i]; };
    all.tokens[row].push_back({sampled.batch.targets[i], at(own.loss), at(own.entropy),
                               at(own.expected_entropy), at(own.information)});
    losses.sums[row] += at(own.loss);
    for (size_t s = 0; s < all.log_likelihood[row].size(); ++s)
      all.log_likelihood[row][s] += log_p[s * sampled.batch.targets.size() + i];
  }
}

}  // namespace

TextLosses text_losses(const Model& model, const BoundAdapter& bound, const Dataset& data,
                       const PredictOptions& options) {
  const at::NoGradGuard no_grad;
  const Timer timer;
  TextLosses out;
  out.sums.resize(data.sequences.size());
  const int64_t count = num_samples(options.samples);
  if (count > 1 || options.keep_tokens) {
    out.uncertainty.emplace();
    out.uncertainty->tokens.resize(data.sequences.size());
    out.uncertainty->log_likelihood.resize(data.sequences.size(),
                                           std::vector<double>(static_cast<size_t>(count)));
  }
  int64_t targets = 0;
  const auto tokens_of = [&](int64_t row) {
    return data.sequences[static_cast<size_t>(row)].num_tokens();
  };
  const auto cost = [&](int64_t row) { return count * tokens_of(row); };
  int64_t done = 0;
  for (const std::vector<int64_t>& group :
       groups_of_rows(data.sequences, options.token_budget, cost)) {
    for (const int64_t row : group) out.num_tokens += tokens_of(row);
    const SampledStates sampled = sampled_states(
        model, samples_of(model, bound, options.samples, options.keep_records, options.recording),
        data, group, options.kept);
    keep_records(sampled.records, group, data.size(), out.records);
    if (out.uncertainty) {
      add_targets(sampled, group, out);
    } else {
      const at::Tensor losses =
          vocabulary_loss(sampled.states.front(), sampled.layers.front(), sampled.batch.targets)
              .rows.to(at::kDouble);
      const double* values = losses.const_data_ptr<double>();
      for (size_t i = 0; i < sampled.batch.targets.size(); ++i)
        out.sums[static_cast<size_t>(group[static_cast<size_t>(sampled.batch.sequence[i])])] +=
            values[i];
    }
    targets += sampled.batch.num_targets();
    done += static_cast<int64_t>(group.size());
    if (options.progress) options.progress(done, data.size());
  }
  for (const double sum : out.sums) out.mean += sum;
  out.mean /= static_cast<double>(targets);
  out.seconds = timer.seconds();
  return out;
}

}  // namespace graft
