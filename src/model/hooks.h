// How a trunk lets others change what it computes. It does not know who they are: src/edit
// implements this interface.
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

// A site when the forward pass reaches it. It has T rows: those of one lane of `pack`, or of all
// lanes.
struct SiteView {
  const Site& site;
  const Pack& pack;
  LaneRows lane;        // the rows and sequences of `pack` that x and y hold
  at::Tensor x;         // [T, in]: what enters the site; undefined if there is only y
  at::Tensor y;         // [T, out]: what leaves the site unless it is changed
  at::Tensor residual;  // [T, C], sublayers only: what y will be added to
  // Sublayers only: (y, residual) -> norm(y + residual), the norm after the sum; empty in a
  // pre-norm block.
  std::function<at::Tensor(const at::Tensor&, const at::Tensor&)> norm;
};

// A tensor that an edit gives beside its change of y.
struct SideOutput {
  std::string name;
  at::Tensor value;
  size_t lane = 0;
};
// An expert that a stochastic choice took.
struct DrawnExpert {
  std::string name;  // of who draws: "enc.3.attn.q down"
  int64_t expert = 0;
  size_t lane = 0;
};
struct SideOutputs {
  std::vector<SideOutput> losses;   // scalars that are added to the loss
  std::vector<SideOutput> records;  // [N] or [N, K] by sequence of the lane: gates, expert shares
  std::vector<DrawnExpert> drawn;   // of the whole lane

  void append(SideOutputs other) {
    for (SideOutput& each : other.losses) losses.push_back(std::move(each));
    for (SideOutput& each : other.records) records.push_back(std::move(each));
    for (DrawnExpert& each : other.drawn) drawn.push_back(std::move(each));
  }
  // Every name gets `path` in front of it.
  void put_below(std::string_view path) {
    for (std::vector<SideOutput>* all : {&losses, &records}) {
      for (SideOutput& each : *all) each.name.insert(0, path);
    }
    for (DrawnExpert& each : drawn) each.name.insert(0, path);
  }
  void set_lane(size_t lane) {
    for (std::vector<SideOutput>* all : {&losses, &records}) {
      for (SideOutput& each : *all) each.lane = lane;
    }
    for (DrawnExpert& each : drawn) each.lane = lane;
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
  // If false, the trunk takes its fused path and never makes the site's y.
  virtual bool wants(const Site& site) const = 0;
  // The same for one lane: if false, the lane's rows have the bits of the fused path.
  virtual bool wants_in_lane(const Site& site, size_t lane) const {
    static_cast<void>(lane);
    return wants(site);
  }
  // Whether the lane needs all rows of the last block, even if only some of its output are read.
  virtual bool needs_all_rows(size_t lane) const {
    static_cast<void>(lane);
    return false;
  }
  virtual SiteResult apply(const SiteView& view) const = 0;
  // Prefix rows for an attention site, by lane. view.x is the block's input, view.y is undefined.
  virtual PrefixResult prefix(const SiteView& view) const = 0;
  // A copy for blocks that the backward pass computes again, when these hooks may be gone. Null if
  // they cannot be asked twice.
  virtual std::shared_ptr<const Hooks> copy() const { return nullptr; }
};

// Changes nothing: the bare trunk.
class NoHooks final : public Hooks {
 public:
  bool wants(const Site&) const override { return false; }
  SiteResult apply(const SiteView& view) const override { return {view.y}; }
  PrefixResult prefix(const SiteView&) const override { return {}; }
  std::shared_ptr<const Hooks> copy() const override { return std::make_shared<NoHooks>(); }
};

}  // namespace graft
