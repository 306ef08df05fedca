// Lanes: how adapters listen to a forward pass. Each lane of a pack goes through one adapter with
// one route.
//
// One lane: the site's tensors pass through unsplit. Several: one split per tensor, each lane's
// edits, one concatenation. (Slices per lane by `narrow` would each make a full-size zero tensor in
// the backward pass.)
#pragma once

#include <memory>
#include <vector>

#include "edit/adapter.h"
#include "model/hooks.h"
#include "model/trunk.h"

namespace graft {

// An adapter's tensors bound to a model for one step: derived tensors, cut from the graph of the
// stored ones, and live weights.
//
// Several micro-batches may run on one BoundAdapter; their gradients gather in the derived leaves
// and `join` carries them to the stored tensors once, so that what `derive` computes is
// differentiated once a step.
class BoundAdapter {
 public:
  // `experts`: apart in training, and where a route is to be followed; merged otherwise.
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
  Context context;  // the route still without the edit's path; the key is that of the lane's rows
};

class LaneHooks final : public Hooks {
 public:
  // `cache`: of a decoder that writes token by token. Edits remember in it what they need; after
  // the first pass those that act on the prompt alone are silent.
  LaneHooks(const Model& model, std::vector<LaneAdapter> lanes, Cache* cache = nullptr);

  bool wants(const Site& site) const override;
  bool wants_in_lane(const Site& site, size_t lane) const override;
  bool needs_all_rows(size_t lane) const override { return needs_all_rows_[lane]; }
  SiteResult apply(const SiteView& view) const override;
  PrefixResult prefix(const SiteView& view) const override;
  // Of one lane; `view` holds its rows alone.
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

// Throws InputError naming an edit whose change of one token depends on later ones, which a cache
// cannot serve, and the way out.
void check_decoding(const ModelConfig& config, const Adapter& adapter);

// Whether the two may be lanes of one pass: they read the same weights of the trunk.
bool can_share_pass(const BoundAdapter& one, const BoundAdapter& other);

// One forward pass whose lanes are `lanes`, in every pack of `input`. With options.cache every
// adapter must pass check_decoding (asked on the first pass). Requires: any two lanes
// can_share_pass.
ForwardResult forward_lanes(const Model& model, const ModelInput& input,
                            const std::vector<LaneAdapter>& lanes, const ForwardOptions& options);

// [T, C] -> [T of the lane, C] for each lane of `pack`; of a single lane the tensor itself.
std::vector<at::Tensor> split_by_lane(const at::Tensor& rows, const Pack& pack);

// What the edits of each lane gave, in the order of the pass.
std::vector<SideOutputs> split_by_lane(SideOutputs side, size_t lanes);

// What one lane's adapter makes of its texts.
struct LaneResult {
  at::Tensor logits;  // [N, outputs] float32; undefined without a head
  // [N, C]: what its head reads last, or without a head tanh of the pooler. Undefined where a head
  // scores the row itself, or there is neither.
  at::Tensor pooled;
  // With keep_hidden: embeddings, then each block's output, [T, C] each over the rows of the lane,
  // of the first stack and of an encoder-decoder's decoder.
  std::vector<at::Tensor> hidden, decoder_hidden;
  SideOutputs side;  // of its edits
};

// One forward pass of a pack of texts through the trunk and the heads of its lanes, which read one
// row of each sequence (model/classified.h). A result a lane.
std::vector<LaneResult> compute_logits(const Model& model, const Pack& pack,
                                       const std::vector<LaneAdapter>& lanes,
                                       ForwardOptions options);

}  // namespace graft
