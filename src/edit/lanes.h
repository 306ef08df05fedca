// Lanes: how adapters take part in a forward pass. Each lane of a pack goes through one adapter
// with one route.
//
// With one lane the tensors of a site are passed on as they are. With several, each tensor is split
// once, each lane's edits act, and the results are concatenated once. (Slices by `narrow` would
// each make a full-size zero tensor in the backward pass.)
#pragma once

#include <memory>
#include <vector>

#include "edit/bound_adapter.h"
#include "model/hooks.h"
#include "model/trunk.h"

namespace graft {

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

  const std::vector<LaneAdapter>& lanes() const { return lanes_; }
  bool wants(const Site& site) const override;
  bool wants_in_lane(const Site& site, size_t lane) const override;
  bool needs_all_rows(size_t lane) const override { return needs_all_rows_[lane]; }
  // What edits record is of the rows that the view holds: in the last block, where no edit needs
  // more, those whose output is read.
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

// One forward pass with these lanes in every pack of `input`. With options.cache every adapter must
// pass check_decoding, which the first pass checks. Requires: any two lanes can_share_pass.
ForwardResult forward_lanes(const Model& model, const ModelInput& input,
                            const std::vector<LaneAdapter>& lanes, const ForwardOptions& options);

// [T, C] -> [T of the lane, C] for each lane of `pack`. A single lane gets the tensor itself.
std::vector<at::Tensor> split_by_lane(const at::Tensor& rows, const Pack& pack);

// What the edits of each lane gave, in the order in which the pass reached them.
std::vector<SideOutputs> split_by_lane(SideOutputs side, size_t lanes);

}  // namespace graft
