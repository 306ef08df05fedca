#include "model/families/names.h"

namespace graft {

void append(CheckpointNames& names, const CheckpointNames& more) {
  names.insert(names.end(), more.begin(), more.end());
}

CheckpointNames with_biases(const Layers& layers) {
  CheckpointNames names;
  for (const auto& [ours, theirs] : layers) {
    names.emplace_back(weight_of(ours), theirs + ".weight");
    names.emplace_back(bias_of(ours), theirs + ".bias");
  }
  return names;
}

CheckpointNames without_biases(const Layers& layers) {
  CheckpointNames names;
  for (const auto& [ours, theirs] : layers) names.emplace_back(weight_of(ours), theirs + ".weight");
  return names;
}

CheckpointNames stack_tables() {
  return {{kWordTable, "encoder.embed_tokens.weight"}, {kWordTable, "decoder.embed_tokens.weight"}};
}

HeadNames score_alone() { return {{"out", "score"}}; }

HeadNames dense_of_encoder_decoder() {
  return {{"dense", "classification_head.dense"}, {"out", "classification_head.out_proj"}};
}

}  // namespace graft
