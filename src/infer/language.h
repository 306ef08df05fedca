// A batch as a language model is trained and judged on it: packs for its stacks, and which rows
// predict which tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <vector>

#include "edit/lanes.h"
#include "infer/predict.h"
#include "infer/text_uncertainty.h"
#include "model/trunk.h"

namespace graft {

struct LanguageBatch {
  std::optional<Pack> encoder;  // of an encoder-decoder
  Pack decoder;
  std::vector<RowRange>
      wanted;  // [N] rows of the decoder, from the first that predicts a target to the last
  // [R], lane by lane: the tokens that are predicted, the sequence of each in the decoder's pack,
  // and the row that predicts it among the wanted ones of that sequence.
  std::vector<int64_t> targets, sequence, row;
  std::vector<int64_t> lane_targets;  // [lanes]: how many of them each lane has

  ModelInput input() const { return {encoder ? &*encoder : nullptr, &decoder}; }
  int64_t num_targets() const { return static_cast<int64_t>(targets.size()); }
};

// Each lane's sequences with their targets: marked in `ids` for a decoder-only model, where
// the row of a token predicts the next one (the first token of a text is predicted by none); in
// `target_ids` in an encoder-decoder, where the decoder reads them behind its start token. Every
// sequence of an encoder-decoder needs target_ids.
LanguageBatch make_language_batch(const Model& model, const std::vector<LaneInput>& lanes,
                                  const PackOptions& options);

// Tokens of a sequence that such a batch predicts.
int64_t num_targets(const Sequence& sequence);

// States of the predicting rows of each lane, [R of the lane, C], after the last norm. One adapter
// a lane.
std::vector<at::Tensor> predicting_states(const Model& model, const LanguageBatch& batch,
                                          const std::vector<LaneAdapter>& lanes,
                                          ForwardOptions options);

// Of the targets of every row of a data set, without a gradient.
struct TextLosses {
  double mean = 0;           // of -log p over all targets, in nats; of several samples p is the
                             // mean of theirs, token by token
  std::vector<double> sums;  // [row]
  std::optional<TextUncertainty> uncertainty;  // of several samples, and where asked for
  Records records;                             // where asked for
  int64_t num_tokens = 0;
  double seconds = 0;
};
// Requires: what predict() does, but for the head.
TextLosses text_losses(const Model& model, const BoundAdapter& bound, const Dataset& data,
                       const PredictOptions& options = {});

}  // namespace graft
