// What a trunk offers to whoever wants to change it. The trunk does not know who listens; edit/
// implements this.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/pack.h"
#include "model/sites.h"
#include "tensor/packed_attention.h"

namespace graft {

// A site at the moment the forward pass reaches it: T rows, those of one lane of `pack` or of all
// of it.
struct SiteView {
  const Site& site;
  const Pack& pack;
  LaneRows lane;        // the rows and sequences of `pack` that x and y hold
  at::Tensor x;         // [T, in]: what entered the site; undefined where y is all there is
  at::Tensor y;         // [T, out]: what leaves it unless changed
  at::Tensor residual;  // [T, C], sublayers only: what y will be added to
  // Sublayers only: (y, residual) -> norm(y + residual), the norm behind the sum; empty in a
  // pre-norm block.
  std::function<at::Tensor(const at::Tensor&, const at::Tensor&)> norm;
};

// A scalar that an edit adds to the loss.
struct SideLoss {
  size_t lane = 0;
  std::string name;
  at::Tensor value;
};

class Hooks {
 public:
  virtual ~Hooks() = default;
  // False keeps the fused path: the site's y is never made.
  virtual bool wants(const Site& site) const = 0;
  // Of one lane alone: where nobody listens in it, its rows have the bits of the fused path.
  virtual bool wants_in_lane(const Site& site, size_t lane) const {
    static_cast<void>(lane);
    return wants(site);
  }
  // Whether the lane needs all rows of the last block, whichever are read of it.
  virtual bool needs_all_rows(size_t lane) const {
    static_cast<void>(lane);
    return false;
  }
  // y', [T, out].
  virtual at::Tensor apply(const SiteView& view) = 0;
  // Prefix rows per lane for an attention site; view.x is the block's input, view.y undefined.
  virtual std::vector<LanePrefix> prefix(const SiteView& view) = 0;

  // For blocks that the backward pass computes again. A copy that outlives the forward pass; what
  // edits add to the loss stays with it until `take_losses`. Null: these hooks cannot be asked
  // twice.
  virtual std::shared_ptr<Hooks> lasting() const { return nullptr; }
  // Of a lasting copy: the losses since the last call, in order.
  virtual std::vector<SideLoss> take_losses() { return {}; }
  // Of the hooks that it was copied from: to where their own losses go.
  virtual void add_losses(const std::vector<SideLoss>&) {}
  // Of a lasting copy: what follows was computed before, so nothing is recorded.
  virtual void begin_repeat() {}
};

// Listens nowhere: the bare trunk.
class NoHooks final : public Hooks {
 public:
  bool wants(const Site&) const override { return false; }
  at::Tensor apply(const SiteView& view) override { return view.y; }
  std::vector<LanePrefix> prefix(const SiteView&) override { return {}; }
  std::shared_ptr<Hooks> lasting() const override { return std::make_shared<NoHooks>(); }
};

}  // namespace graft
