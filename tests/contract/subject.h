// What the contract asks of every family alike: a model, rows of text, what comes out for them, and
// a loss.
//
// A classifier gives the logits of its head, one row a sequence; a decoder logits over its
// vocabulary for each target.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/models.h"

namespace graft::testing {

// One name for each kind of trunk; then decoders under a head.
const std::vector<std::string>& contract_families();
// Models of 24 positions and more; `is_small` is for gradient checks.
std::shared_ptr<const Model> contract_model(const std::string& family,
                                            Precision precision = Precision::kFloat32,
                                            bool is_small = false);

// Classes for the head of a classifier; nothing for a model that answers in words.
std::optional<Task> contract_task(const Model& model, int64_t labels = 3);

// Of an encoder, or of a family named "...-labels".
bool is_classified(const Model& model);

// As random_sequences; for a decoder that answers in words with targets: the last third of each
// text (of two tokens at least), or target ids in an encoder-decoder.
std::vector<Sequence> contract_texts(const Model& model, int64_t count, int64_t longest,
                                     uint64_t seed, int64_t first_example = 0);

struct LaneOutcome {
  at::Tensor outputs;  // [R, K], of a decoder without a graph
  at::Tensor loss;  // scalar: the sum over rows of cross entropy with the label of the sequence's
                    // example, or the target
  std::vector<int64_t> rows;  // [N]: of the outputs, a sequence
};

std::vector<LaneOutcome> run_texts(const Model& model, const std::vector<LaneInput>& lanes,
                                   const std::vector<const BoundAdapter*>& bounds,
                                   const Pass& pass = {}, int64_t round_rows_to = 1);
// One lane, nothing differentiated.
LaneOutcome outcome_of(const Rig& rig, const std::vector<Sequence>& texts, const Pass& pass = {},
                       int64_t round_rows_to = 1);
LossAndGradients contract_gradients(Rig& rig, const std::vector<Sequence>& texts,
                                    const Pass& pass = {}, int64_t round_rows_to = 1);
// What its edits record of the texts.
std::vector<SideOutput> records_of(const Rig& rig, const std::vector<Sequence>& texts);
// The outputs of each sequence.
std::vector<at::Tensor> by_sequence(const LaneOutcome& outcome);

// Every hidden state of a stack, embeddings first, and where each sequence's rows lie.
struct StackStates {
  std::vector<at::Tensor> hidden;   // [T, C] each
  std::vector<RowRange> sequences;  // [N]
};
// The encoder's, then the decoder's, of those that the model has. Without a rig of the bare trunk.
std::vector<StackStates> states_of(const Rig& rig, const std::vector<Sequence>& texts);
std::vector<StackStates> bare_states_of(const Model& model, const std::vector<Sequence>& texts);

}  // namespace graft::testing
