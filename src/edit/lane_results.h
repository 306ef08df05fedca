// What the lanes of a pass give: logits and pooled rows of texts, or the states that predict
// tokens.
#pragma once

#include <vector>

#include "edit/lanes.h"
#include "model/language_batch.h"

namespace graft {

// The results of one lane.
struct LaneResult {
  at::Tensor logits;  // [N, outputs] float32; undefined without a head
  // [N, C]: what the last layer of its head reads; without a head, tanh of the pooler's output.
  // Undefined if a head scores the row itself, or if there is neither head nor pooler.
  at::Tensor pooled;
  // With keep_hidden: the embeddings, then the output of each block, [T, C] over the rows of the
  // lane; for the first stack, and for the decoder of an encoder-decoder.
  std::vector<at::Tensor> hidden, decoder_hidden;
  SideOutputs side;  // what its edits gave
};

// One forward pass of a pack of texts through the trunk and the heads of its lanes, which read one
// row of each sequence (model/classified.h). Returns one result for each lane.
std::vector<LaneResult> compute_logits(const Model& model, const Pack& pack,
                                       const std::vector<LaneAdapter>& lanes,
                                       ForwardOptions options);

// What one lane's adapter makes of the texts of a language model.
struct LaneStates {
  at::Tensor rows;   // [R of the lane, C]: of the rows that predict, after the last norm
  SideOutputs side;  // of its edits
};

// One forward pass; one adapter a lane.
std::vector<LaneStates> predicting_states(const Model& model, const LanguageBatch& batch,
                                          const std::vector<LaneAdapter>& lanes,
                                          ForwardOptions options);

}  // namespace graft
