#include "infer/language.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "tensor/vocabulary_loss.h"

namespace graft {

namespace {

// In an encoder-decoder: what the decoder reads of a sequence, its targets moved by one behind the
// start token.
Sequence shifted(const Sequence& sequence, int64_t start_id) {
  ensure(!sequence.target_ids.empty(), "a sequence of an encoder-decoder has target ids");
  Sequence out{.example = sequence.example, .embedding = sequence.embedding};
  out.ids.push_back(start_id);
  out.ids.insert(out.ids.end(), sequence.target_ids.begin(), sequence.target_ids.end() - 1);
  out.is_target.assign(out.ids.size(), true);  // the start token is all of its prompt
  out.is_target.front() = false;
  return out;
}

// Notes the rows of sequence n that predict targets[t + 1] for the token t that they hold.
// `targets`: -1 where none is asked for.
void add_predictions(LanguageBatch& batch, size_t n, const std::vector<int64_t>& next) {
  const int64_t begin = batch.decoder.sequences[n].begin, end = batch.decoder.sequences[n].end;
  std::vector<int64_t> own;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t token = batch.decoder.token[static_cast<size_t>(row)];
    if (token < 0 || next[static_cast<size_t>(token)] < 0) continue;
    own.push_back(row);
    batch.targets.push_back(next[static_cast<size_t>(token)]);
    batch.sequence.push_back(static_cast<int64_t>(n));
  }
  const RowRange range =
      own.empty() ? RowRange{0, 0} : RowRange{own.front() - begin, own.back() + 1 - begin};
  batch.wanted.push_back(range);
  for (const int64_t row : own) batch.row.push_back(row - begin - range.begin);
}

// The token that each of a sequence's tokens predicts, or -1.
std::vector<int64_t> next_targets(const Sequence& sequence) {
  std::vector<int64_t> next(sequence.ids.size(), -1);
  for (size_t t = 1; t < sequence.is_target.size(); ++t) {
    if (sequence.is_target[t]) next[t - 1] = sequence.ids[t];
  }
  return next;
}

}  // namespace

int64_t num_targets(const Sequence& sequence) {
  if (!sequence.target_ids.empty()) return static_cast<int64_t>(sequence.target_ids.size());
  return sequence.is_target.empty()
             ? 0
             : std::count(sequence.is_target.begin() + 1, sequence.is_target.end(), true);
}

LanguageBatch make_language_batch(const Model& model, const std::vector<LaneInput>& lanes,
                                  const PackOptions& options) {
  LanguageBatch batch;
  const bool has_encoder = model.config.has_encoder();
  if (has_encoder) {
    std::vector<Sequence> read;
    for (const LaneInput& lane : lanes) {
      for (const Sequence* sequence : lane.sequences)
        read.push_back(shifted(*sequence, model.config.decoder_start_id));
    }
    batch.encoder = make_pack(lanes, options);
    batch.decoder = make_decoder_pack(lanes, read, options);
  } else {
    batch.decoder = make_pack(lanes, options);
  }
  size_t n = 0;
  for (const LaneInput& lane : lanes) {
    const int64_t before = batch.num_targets();
    for (const Sequence* sequence : lane.sequences)
      add_predictions(batch, n++, has_encoder ? sequence->target_ids : next_targets(*sequence));
    batch.lane_targets.push_back(batch.num_targets() - before);
  }
  return batch;
}

std::vector<at::Tensor> predicting_states(const Model& model, const LanguageBatch& batch,
                                          const std::vector<LaneAdapter>& lanes,
                                          ForwardOptions options) {
  options.wanted = batch.wanted;
  options.round_rows_to = kRowsRounding;
  const ForwardResult result = forward_lanes(model, batch.input(), lanes, options);
  std::vector<at::Tensor> states = split_by_lane(result.last, *result.wanted);
  size_t target = 0;
  for (size_t lane = 0; lane < states.size(); ++lane) {
    std::vector<int64_t> index;
    for (int64_t i = 0; i < batch.lane_targets[lane]; ++i, ++target) {
      const auto sequence = static_cast<size_t>(batch.sequence[target]);
      index.push_back(result.wanted->sequences[sequence].begin + batch.row[target] -
                      result.wanted->lanes[lane].first_row);
    }
    // Rows come in order: as many means the same.
    if (states[lane].size(0) != std::ssize(index))
      states[lane] = states[lane].index_select(0, at::tensor(index, at::kLong));
  }
  return states;
}

namespace {

// The samples' states of the rows that predict the targets of some rows of a data set.
struct SampledStates {
  LanguageBatch batch;  // of the first sample; its targets are those of all
  std::vector<at::Tensor> states;
  std::vector<OutputLayer> layers;
};

SampledStates sampled_states(const Model& model, const std::vector<Sample>& samples,
                             const std::vector<const Sequence*>& sequences) {
  SampledStates out;
  for (const auto& [begin, end] : shared_passes(samples)) {
    std::vector<LaneInput> inputs;
    std::vector<LaneAdapter> lanes;
    for (size_t i = begin; i < end; ++i) {
      inputs.push_back(samples[i].rows());
      inputs.back().sequences = sequences;
      lanes.push_back(samples[i].adapter);
      out.layers.push_back(samples[i].adapter.bound->weights().output_layer(model.config));
    }
    LanguageBatch batch = make_language_batch(model, inputs, pack_options(model));
    for (at::Tensor& own : predicting_states(model, batch, lanes, {}))
      out.states.push_back(std::move(own));
    if (begin > 0) continue;
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
    const auto row =
        static_cast<size_t>(group[static_cast<size_t>(sampled.batch.sequence[i])]);
    const auto at = [i](const at::Tensor& values) {
      return values.const_data_ptr<double>()[i];
    };
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
  const auto start = std::chrono::steady_clock::now();
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
  const auto cost = [&](int64_t row) {
    return count * data.sequences[static_cast<size_t>(row)].num_tokens();
  };
  int64_t done = 0;
  for (const std::vector<int64_t>& group :
       groups_of_rows(data.sequences, options.token_budget, cost)) {
    std::vector<const Sequence*> sequences;
    for (const int64_t row : group) {
      sequences.push_back(&data.sequences[static_cast<size_t>(row)]);
      out.num_tokens += sequences.back()->num_tokens();
    }
    std::vector<std::pair<std::string, at::Tensor>> records;
    const SampledStates sampled = sampled_states(
        model,
        samples_of(model, bound, options.samples, options.keep_records ? &records : nullptr,
                   options.recording),
        sequences);
    const LanguageBatch& batch = sampled.batch;
    keep_records(records, group, data.size(), out.records);
    if (out.uncertainty) {
      add_targets(sampled, group, out);
    } else {
      const at::Tensor losses =
          vocabulary_loss(sampled.states.front(), sampled.layers.front(), batch.targets)
              .rows.to(at::kDouble);
      const double* values = losses.const_data_ptr<double>();
      for (size_t i = 0; i < batch.targets.size(); ++i)
        out.sums[static_cast<size_t>(group[static_cast<size_t>(batch.sequence[i])])] += values[i];
    }
    targets += batch.num_targets();
    done += static_cast<int64_t>(group.size());
    if (options.progress) options.progress(done, data.size());
  }
  for (const double sum : out.sums) out.mean += sum;
  out.mean /= static_cast<double>(targets);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

}  // namespace graft
