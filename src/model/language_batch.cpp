#include "model/language_batch.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

namespace {

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
  const std::vector<bool>& is_target = sequence.is_target();
  for (size_t t = 1; t < is_target.size(); ++t) {
    if (is_target[t]) next[t - 1] = sequence.ids[t];
  }
  return next;
}

}  // namespace

Sequence decoder_sequence(const Sequence& text, const std::vector<int64_t>& targets,
                          int64_t start_id) {
  ensure(!targets.empty(), "what the decoder of an encoder-decoder reads has target ids");
  Sequence out{.example = text.example, .embedding = text.embedding, .subspace = text.subspace};
  out.ids.push_back(start_id);
  out.ids.insert(out.ids.end(), targets.begin(), targets.end() - 1);
  std::vector<bool> is_target(out.ids.size(), true);
  is_target.front() = false;  // the start token is all of its prompt
  out.asked = TargetMarks{std::move(is_target)};
  return out;
}

int64_t num_targets(const Sequence& sequence) {
  if (!sequence.target_ids().empty()) return std::ssize(sequence.target_ids());
  const std::vector<bool>& marks = sequence.is_target();
  return marks.empty() ? 0 : std::count(marks.begin() + 1, marks.end(), true);
}

LanguageBatch make_language_batch(const Model& model, const std::vector<LaneInput>& lanes,
                                  const PackOptions& options) {
  LanguageBatch batch;
  const bool has_encoder = model.config.has_encoder();
  if (has_encoder) {
    std::vector<Sequence> read;
    for (const LaneInput& lane : lanes) {
      for (const Sequence* sequence : lane.sequences)
        read.push_back(
            decoder_sequence(*sequence, sequence->target_ids(), model.config.decoder_start_id));
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
      add_predictions(batch, n++, has_encoder ? sequence->target_ids() : next_targets(*sequence));
    batch.lane_targets.push_back(batch.num_targets() - before);
  }
  return batch;
}

}  // namespace graft
