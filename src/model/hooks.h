// What a trunk offers to whoever wants to change it. The trunk does not know who listens; edit/
// implements this.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
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

// A tensor that an edit gives beside its change of y.
struct SideOutput {
  std::string name;
  at::Tensor value;
  size_t lane = 0;
};
struct SideOutputs {
  std::vector<SideOutput> losses;   // scalars that are added to the loss
  std::vector<SideOutput> records;  // [N] or [N, K] by sequence of the lane: gates, expert shares

  void append(SideOutputs other) {
    for (SideOutput& each : other.losses) losses.push_back(std::move(each));
    for (SideOutput& each : other.records) records.push_back(std::move(each));
  }
  // Every name gets `path` in front of it.
  void put_below(std::string_view path) {
    for (std::vector<SideOutput>* all : {&losses, &records}) {
      for (SideOutput& each : *all) each.name.insert(0, path);
    }
  }
};

struct SiteResult {
  at::Tensor y;  // [T, out]
  SideOutputs side = {};
};
struct PrefixResult {
  std::vector<LanePrefix> lanes;
  SideOutputs side = {};
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
  virtual SiteResult apply(const SiteView& view) const = 0;
  // Prefix rows per lane for an attention site; view.x is the block's input, view.y undefined.
  virtual PrefixResult prefix(const SiteView& view) const = 0;
  // For blocks that the backward pass computes again, after the forward pass and its hooks are
  // gone. Null: these hooks cannot be asked twice.
  virtual std::shared_ptr<const Hooks> copy() const { return nullptr; }
};

// Listens nowhere: the bare trunk.
class NoHooks final : public Hooks {
 public:
  bool wants(const Site&) const override { return false; }
  SiteResult apply(const SiteView& view) const override { return {view.y}; }
  PrefixResult prefix(const SiteView&) const override { return {}; }
  std::shared_ptr<const Hooks> copy() const override { return std::make_shared<NoHooks>(); }
};

}  // namespace graft
