#include "edit/lanes.h"

#include <ATen/ops/cat.h>

#include <algorithm>

#include "base/error.h"

namespace graft {

using at::Tensor;

namespace {

// The lane's context as one part sees it at one site.
Context context_at(const Lane& lane, const Adapter::Part& part, const Site& site) {
  Context context = lane.context;
  context.path = part.path;
  context.key = context.key.with(part.path).with(site.name);
  context.route = context.route.with(part.path);
  return context;
}

}  // namespace

Bound::Bound(const Model& model, const Adapter& adapter, const NamedTensors& stored, Experts experts)
    : adapter_(adapter), derived_(adapter.derive(stored, model.weights, experts)), weights_(model.weights), experts_(experts) {
  for (const auto& [name, tensor] : derived_) {
    leaves_[name] = tensor.requires_grad() ? tensor.detach().requires_grad_(true) : tensor;
  }
  weights_ = adapter.rewritten(leaves_, model.weights);
}

void Bound::join() {
  std::vector<Tensor> roots, gradients;
  for (const auto& [name, tensor] : derived_) {
    Tensor& leaf = leaves_.at(name);
    if (!tensor.requires_grad() || !leaf.grad().defined()) continue;
    if (tensor.is_leaf()) {   // nothing was derived: hand the gradient over without a copy
      Tensor& gathered = tensor.mutable_grad();
      gathered = gathered.defined() ? gathered + leaf.grad() : leaf.grad();
      leaf.mutable_grad().reset();
      continue;
    }
    roots.push_back(tensor);
    gradients.push_back(leaf.grad());
  }
  if (!roots.empty()) torch::autograd::backward(roots, gradients);
}

LaneHooks::LaneHooks(const Model& model, std::vector<Lane> lanes) : lanes_(std::move(lanes)), wanted_(model.sites.all().size(), false) {
  for (const Lane& lane : lanes_) {
    auto& by_site = active_.emplace_back(model.sites.all().size());
    const auto& parts = lane.bound->adapter().parts();
    for (size_t p = 0; p < parts.size(); ++p) {
      for (const Site& site : parts[p].spec.sites) {
        by_site[static_cast<size_t>(site.index)].push_back(p);
        wanted_[static_cast<size_t>(site.index)] = true;
        if (parts[p].spec.traits.pools_sequence && site.layer + 1 == model.config.layers) allows_first_rows_only_ = false;
      }
    }
  }
}

bool LaneHooks::wants(const Site& site) const { return wanted_[static_cast<size_t>(site.index)]; }

Tensor LaneHooks::apply_lane(Lane& lane, const SiteView& view) {
  const size_t index = static_cast<size_t>(&lane - lanes_.data());
  SiteView seen = view;
  for (const size_t p : active_[index][static_cast<size_t>(view.site.index)]) {
    const Adapter::Part& part = lane.bound->adapter().parts()[p];
    Context context = context_at(lane, part, view.site);
    const Weight own{part.edit->scale(view.site), {}};
    seen.y = apply_change(seen.y, part.edit->change(Params(lane.bound->derived(), part.path), seen, part.edit->input(seen), own, context));
  }
  return seen.y;
}

Tensor LaneHooks::apply(const SiteView& view) {
  if (lanes_.size() == 1) return apply_lane(lanes_.front(), view);
  ensure(view.pack.lanes.size() == lanes_.size(), "a pack has the lanes that listen to it");
  std::vector<int64_t> sizes;
  for (const LaneRange& range : view.pack.lanes) sizes.push_back(range.num_rows);
  const auto split = [&](const Tensor& tensor) {
    return tensor.defined() ? tensor.split_with_sizes(sizes, 0) : std::vector<Tensor>(sizes.size());
  };
  const std::vector<Tensor> xs = split(view.x), ys = split(view.y), residuals = split(view.residual);
  std::vector<Tensor> changed;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    changed.push_back(apply_lane(lanes_[i], {view.site, view.pack, view.pack.lanes[i], xs[i], ys[i], residuals[i], view.norm}));
  }
  return at::cat(changed, 0);   // [T, out]
}

std::vector<LanePrefix> LaneHooks::prefix(const SiteView& view) {
  std::vector<LanePrefix> out;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const LaneRange& range = view.pack.lanes[i];
    SiteView seen = view;
    seen.lane = range;
    if (lanes_.size() > 1) seen.x = view.x.slice(0, range.first_row, range.first_row + range.num_rows);
    for (const size_t p : active_[i][static_cast<size_t>(view.site.index)]) {
      const Adapter::Part& part = lanes_[i].bound->adapter().parts()[p];
      Context context = context_at(lanes_[i], part, view.site);
      auto rows = part.edit->prefix(Params(lanes_[i].bound->derived(), part.path), seen, {part.edit->scale(view.site), {}}, context);
      if (!rows) continue;
      rows->first_sequence = range.first_sequence;
      rows->end_sequence = range.first_sequence + range.num_sequences;
      out.push_back(std::move(*rows));
    }
  }
  return out;
}

LogitsResult compute_logits(const Model& model, const Pack& pack, const std::vector<Lane>& lanes, ForwardOptions options) {
  ensure(!lanes.empty() && lanes.size() == pack.lanes.size(), "one adapter per lane");
  for (const Lane& lane : lanes) {
    const bool shares_weights = lane.bound == lanes.front().bound || !(lane.bound->adapter().rewrites_trunk() || lanes.front().bound->adapter().rewrites_trunk());
    ensure(shares_weights, "a lane that rewrites the trunk's weights shares a pass only with lanes of its own adapter");
  }
  LaneHooks hooks(model, lanes);
  options.first_rows_only = !options.keep_hidden && hooks.allows_first_rows_only();
  const Weights& weights = lanes.front().bound->weights();
  ForwardResult trunk = forward(model, weights, pack, hooks, options);

  Tensor index;
  const Pack firsts = first_rows_of(pack, index);
  const Tensor first = options.first_rows_only ? trunk.last : trunk.last.index_select(0, index);   // [N, C]
  LogitsResult result;
  result.hidden = std::move(trunk.hidden);
  std::vector<int64_t> sizes;
  for (const LaneRange& range : firsts.lanes) sizes.push_back(range.num_sequences);
  const std::vector<Tensor> by_lane = lanes.size() == 1 ? std::vector<Tensor>{first} : first.split_with_sizes(sizes, 0);
  for (size_t i = 0; i < lanes.size(); ++i) {
    const Bound& bound = *lanes[i].bound;
    const Head* head = bound.adapter().head();
    if (head == nullptr) continue;
    const LaneRange& range = firsts.lanes[i];
    const std::shared_ptr<const RowIds> ids = slice_rows(*firsts.rows, range.first_row, range.num_rows);
    Context context = lanes[i].context;
    context.key = context.key.with(Adapter::kHeadPath);
    result.logits.push_back(head->logits(Params(bound.derived(), Adapter::kHeadPath), bound.weights(), by_lane[i], ids, context, &result.pooled));
  }
  return result;
}

}  // namespace graft
