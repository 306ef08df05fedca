// A batch as a language model is trained and judged on it: packs for its stacks, and which rows
// predict which tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/pack.h"
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

// What the decoder of an encoder-decoder reads beside a text: the start token, which is all of its
// prompt, and `targets` but the last. Requires: some targets.
Sequence decoder_sequence(const Sequence& text, const std::vector<int64_t>& targets,
                          int64_t start_id);

// Tokens of a sequence that such a batch predicts.
int64_t num_targets(const Sequence& sequence);

}  // namespace graft
