// Lanes: how adapters listen to a forward pass. Each lane of a pack goes through one adapter with one route.
//
// One lane: the site's tensors pass through unsplit. Several: one split per tensor, each lane's edits, one concatenation. (Slices
// per lane by `narrow` would each make a full-size zero tensor in the backward pass.)
#pragma once

#include <memory>
#include <vector>

#include "edit/adapter.h"
#include "model/hooks.h"
#include "model/trunk.h"

namespace graft {

// An adapter's tensors bound to a model for one step: derived tensors, cut from the graph of the stored ones, and live weights.
//
// Several micro-batches may run on one Bound; their gradients gather in the derived leaves and `join` carries them to the stored
// tensors once, so that what `derive` computes is differentiated once a step.
class Bound {
 public:
  // `experts`: apart in training, and where a route is to be followed; merged otherwise.
  Bound(const Model& model, const Adapter& adapter, const NamedTensors& stored, Experts experts = Experts::kMerged);

  const Adapter& adapter() const { return adapter_; }
  const NamedTensors& derived() const { return leaves_; }
  const Weights& weights() const { return weights_; }
  Experts experts() const { return experts_; }
  void join();                       // stored.grad() += ...; at most once

 private:
  const Adapter& adapter_;
  NamedTensors derived_, leaves_;    // with the graph to the stored tensors; cut from it
  Weights weights_;
  Experts experts_;
};

struct Lane {
  const Bound* bound = nullptr;
  Context context;                   // key and route still without edit path and site
};

class LaneHooks final : public Hooks {
 public:
  LaneHooks(const Model& model, std::vector<Lane> lanes);

  bool wants(const Site& site) const override;
  at::Tensor apply(const SiteView& view) override;
  std::vector<LanePrefix> prefix(const SiteView& view) override;

  // No edit needs more of the last block than the first row of each sequence.
  bool allows_first_rows_only() const { return allows_first_rows_only_; }

 private:
  at::Tensor apply_lane(Lane& lane, const SiteView& view);

  std::vector<Lane> lanes_;
  std::vector<std::vector<std::vector<size_t>>> active_;   // [lane][site index]: parts of the lane's adapter, in order
  std::vector<bool> wanted_;                               // [site index]
  bool allows_first_rows_only_ = true;
};

struct LogitsResult {
  std::vector<at::Tensor> logits;    // per lane [N, outputs] float32
  at::Tensor pooled;                 // [N, C] of a single lane's head
  std::vector<at::Tensor> hidden;    // with keep_hidden
};

// One forward pass of a pack whose lanes are `lanes`, through trunk and heads. All lanes must share one set of weights (a lane
// that rewrites weights goes alone). `options.first_rows_only` is decided here.
LogitsResult compute_logits(const Model& model, const Pack& pack, const std::vector<Lane>& lanes, ForwardOptions options);

}  // namespace graft
