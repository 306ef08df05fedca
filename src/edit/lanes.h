// Lanes: how adapters take part in a forward pass. Each lane of a pack goes through one adapter
// with one route.
//
// With one lane the tensors of a site are passed on as they are. With several, each tensor is split
// once, each lane's edits act, and the results are concatenated once. (Slices by `narrow` would
// each make a full-size zero tensor in the backward pass.)
#pragma once

#include <memory>
#include <vector>

#include "edit/adapter.h"
#include "model/hooks.h"
#include "model/language_batch.h"
#include "model/trunk.h"

namespace graft {

// An adapter's tensors bound to a model for one step: derived tensors, cut from the graph of the
// stored ones, and live weights.
//
// Several micro-batches may run on one BoundAdapter. Their gradients are summed in the derived
// leaves; add_gradients_to_stored carries the sums to the stored tensors, so that `derive` is
// differentiated once a step.
class BoundAdapter {
 public:
  // `experts`: apart in training and where routes are followed, else merged.
  BoundAdapter(const Model& model, const Adapter& adapter, const NamedTensors& stored,
               Experts experts = Experts::kMerged);

  const Adapter& adapter() const { return adapter_; }
  const AdapterTensors& derived() const { return leaves_; }
  const Weights& weights() const { return weights_; }
  Experts experts() const { return experts_; }
  void add_gradients_to_stored();  // stored.grad() += ...; at most once

 private:
  const Adapter& adapter_;
  AdapterTensors derived_, leaves_;  // with the graph to the stored tensors; cut from it
  Weights weights_;
  Experts experts_;
};

struct LaneAdapter {
  const BoundAdapter* bound = nullptr;
  // Its route does not yet have the edit's path. Its keys are set from those of the lane's rows.
  Context context;
};

class LaneHooks final : public Hooks {
 public:
  // `cache`: for a decoder that writes token by token. Edits remember in it what they need. After
  // the first pass, edits that act on the prompt alone do nothing.
  LaneHooks(const Model& model, std::vector<LaneAdapter> lanes, Cache* cache = nullptr);

  bool wants(const Site& site) const override;
  bool wants_in_lane(const Site& site, size_t lane) const override;
  bool needs_all_rows(size_t lane) const override { return needs_all_rows_[lane]; }
  SiteResult apply(const SiteView& view) const override;
  PrefixResult prefix(const SiteView& view) const override;
  // The same for one lane; `view` holds its rows alone.
  SiteResult apply_to_lane(size_t lane, const SiteView& view) const;
  // The adapters of the lanes must live as long.
  std::shared_ptr<const Hooks> copy() const override { return std::make_shared<LaneHooks>(*this); }

 private:
  std::vector<LaneAdapter> lanes_;
  std::vector<std::vector<std::vector<size_t>>>
      active_;                        // [lane][site index]: parts of the lane's adapter, in order
  std::vector<bool> wanted_;          // [site index]
  std::vector<bool> needs_all_rows_;  // [lane]: an edit there reads more of the last block than
                                      // what is read of its output
};

// Throws InputError that names an edit whose change of a token depends on later tokens, which a
// cache cannot serve, and says what to do.
void check_decoding(const ModelConfig& config, const Adapter& adapter);

// Whether the two may be lanes of one pass, because they read the same weights of the trunk.
bool can_share_pass(const BoundAdapter& one, const BoundAdapter& other);

// One forward pass with these lanes in every pack of `input`. With options.cache every adapter must
// pass check_decoding, which the first pass checks. Requires: any two lanes can_share_pass.
ForwardResult forward_lanes(const Model& model, const ModelInput& input,
                            const std::vector<LaneAdapter>& lanes, const ForwardOptions& options);

// [T, C] -> [T of the lane, C] for each lane of `pack`. A single lane gets the tensor itself.
std::vector<at::Tensor> split_by_lane(const at::Tensor& rows, const Pack& pack);

// What the edits of each lane gave, in the order in which the pass reached them.
std::vector<SideOutputs> split_by_lane(SideOutputs side, size_t lanes);

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
