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

TextLosses text_losses(const Model& model, const BoundAdapter& bound, const Dataset& data,
                       const PredictOptions& options) {
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  TextLosses out;
  out.sums.resize(data.sequences.size());
  int64_t targets = 0;
  const auto cost = [&](int64_t row) {
    return data.sequences[static_cast<size_t>(row)].num_tokens();
  };
  int64_t done = 0;
  for (const std::vector<int64_t>& group :
       groups_of_rows(data.sequences, options.token_budget, cost)) {
    LaneInput rows{{}, bound.adapter().layout()};
    for (const int64_t row : group) {
      rows.sequences.push_back(&data.sequences[static_cast<size_t>(row)]);
      out.num_tokens += cost(row);
    }
    const LanguageBatch batch = make_language_batch(model, {rows}, pack_options(model));
    std::vector<std::pair<std::string, at::Tensor>> records;
    LaneAdapter lane{&bound, {}};
    if (options.keep_records) lane.context.records = &records;
    KnownRows known;
    ForwardOptions forward;
    if (options.kept != nullptr) {
      options.kept->add(group, known);
      forward.from = &known;
    }
    const at::Tensor states = predicting_states(model, batch, {lane}, forward).front();
    const at::Tensor index = at::tensor(group, at::kLong);
    for (const auto& [name, kept] : records)
      keep_record(out.records, name, data.size(), index, kept);
    const at::Tensor losses =
        vocabulary_loss(states, bound.weights().output_layer(model.config), batch.targets)
            .rows.to(at::kDouble);
    const double* values = losses.const_data_ptr<double>();
    for (size_t i = 0; i < batch.targets.size(); ++i)
      out.sums[static_cast<size_t>(group[static_cast<size_t>(batch.sequence[i])])] += values[i];
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
