#include "edit/lanes.h"

#include <ATen/ops/alias.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "base/error.h"
#include "edit/sequences.h"
#include "tensor/autograd_call.h"

namespace graft {

using at::Tensor;

namespace {

// The lane's context as one part sees it at one site; `key`: of the lane's rows.
Context context_at(const LaneAdapter& lane, RandomKey key, const Adapter::Part& part,
                   const Site& site) {
  Context context = lane.context;
  context.site_free_key = key.with(part.path);
  context.key = context.site_free_key.with(site.name);
  context.route = context.route.with(part.path);
  if (context.first_route) context.first_route = context.first_route->with(part.path);
  context.experts = lane.bound->experts();
  context.forced_gates = below(context.forced_gates, part.path);
  return context;
}

// What one part gave, as what its lane gave.
SideOutputs of_lane(size_t lane, std::string_view path, SideOutputs side) {
  side.put_below(path);
  side.set_lane(lane);
  return side;
}

bool holds_tokens(const SiteView& view) {
  const auto first = view.pack.token.begin() + view.lane.first_row;
  return std::any_of(first, first + view.lane.num_rows, [](int64_t token) { return token >= 0; });
}

// |y' - y| / |y| over the tokens of each sequence that are there, as a record "<site>.change" [N];
// where only a prompt's row is, over that. What stays as it is has 0, be it nothing.
SideOutput change_record(const SiteView& view, const Tensor& before) {
  const RowsCounted counted = holds_tokens(view) ? RowsCounted::kTokens : RowsCounted::kAll;
  const auto square = [&](const Tensor& rows) {
    return mean_by_sequence(view, rows.detach().to(at::kFloat).square().sum(1, true), counted)
        .squeeze(1);
  };
  const Tensor changed = square(view.y - before);
  return {view.site.name + ".change",
          at::where(changed == 0, changed, changed / square(before)).sqrt()};
}

}  // namespace

LaneHooks::LaneHooks(const Model& model, std::vector<LaneAdapter> lanes, Cache* cache)
    : lanes_(std::move(lanes)), wanted_(model.sites.all().size(), false) {
  for (size_t i = 0; i < lanes_.size(); ++i) {
    LaneAdapter& lane = lanes_[i];
    bool needs_all_rows = false;
    if (cache != nullptr) lane.context.memory = &cache->memory(static_cast<int64_t>(i));
    auto& by_site = active_.emplace_back(model.sites.all().size());
    const auto& parts = lane.bound->adapter().parts();
    for (size_t p = 0; p < parts.size(); ++p) {
      const EditSpec& spec = parts[p].spec();
      if (cache != nullptr && cache->is_begun() && spec.traits.acts_on == ActsOn::kPrompt) continue;
      for (const Site& site : spec.sites) {
        by_site[static_cast<size_t>(site.index)].push_back(p);
        wanted_[static_cast<size_t>(site.index)] = true;
        const bool is_last =
            site.stack == model.config.last_stack() && site.layer + 1 == model.config.last().layers;
        // Self-attention shows an edit all rows even where the block computes only some of them.
        const bool shows_all_rows = site.part == Part::kAttn;
        if (spec.traits.reads != Reads::kRow && is_last && !shows_all_rows) needs_all_rows = true;
      }
    }
    needs_all_rows_.push_back(needs_all_rows);
  }
}

bool LaneHooks::wants(const Site& site) const { return wanted_[static_cast<size_t>(site.index)]; }

bool LaneHooks::wants_in_lane(const Site& site, size_t lane) const {
  return !active_[lane][static_cast<size_t>(site.index)].empty();
}

SiteResult LaneHooks::apply_to_lane(size_t index, const SiteView& view) const {
  if (view.lane.num_sequences == 0) return {view.y};  // all of its texts are written
  const LaneAdapter& lane = lanes_[index];
  SiteView seen = view;
  SideOutputs side;
  for (const size_t p : active_[index][static_cast<size_t>(view.site.index)]) {
    const Adapter::Part& part = lane.bound->adapter().parts()[p];
    const Context context = context_at(lane, view.pack.lanes[index].key, part, view.site);
    const Weight own{part.edit->scale(view.site), {}};
    Change change = part.edit->change(Params(lane.bound->derived().parts[p]), seen,
                                      part.edit->input(seen), own, context);
    const Tensor before = seen.y;
    seen.y = apply_change(before, change);
    if (context.keeps_records && context.records_changes)
      change.side.records.push_back(change_record(seen, before));
    side.append(of_lane(index, part.path, std::move(change.side)));
  }
  return {std::move(seen.y), std::move(side)};
}

namespace {

// What a lane reads, as a tensor whose gradient is summed over the lane's edits before it joins
// that of `all`: split or not, a lane's sums then have one order.
Tensor read_by_lane(const Tensor& all) {
  return all.defined() && needs_graph({all}) ? at::alias(all) : all;
}

}  // namespace

SiteResult LaneHooks::apply(const SiteView& view) const {
  if (lanes_.size() == 1) {
    SiteView own = view;
    own.x = read_by_lane(view.x);
    own.residual = read_by_lane(view.residual);
    return apply_to_lane(0, own);
  }
  ensure(view.pack.lanes.size() == lanes_.size(), "a pack has the lanes that listen to it");
  const auto split = [&](const Tensor& tensor) {
    return tensor.defined() ? split_by_lane(tensor, view.pack) : std::vector<Tensor>(lanes_.size());
  };
  const std::vector<Tensor> xs = split(view.x), ys = split(view.y),
                            residuals = split(view.residual);
  std::vector<Tensor> changed;
  SideOutputs side;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    SiteResult own = apply_to_lane(
        i, {view.site, view.pack, view.pack.lanes[i], xs[i], ys[i], residuals[i], view.norm});
    changed.push_back(std::move(own.y));
    side.append(std::move(own.side));
  }
  return {at::cat(changed, 0), std::move(side)};
}

PrefixResult LaneHooks::prefix(const SiteView& view) const {
  PrefixResult out;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const LaneRows& range = view.pack.lanes[i];
    if (range.num_sequences == 0) continue;
    SiteView seen = view;
    seen.lane = range;
    seen.x = lanes_.size() == 1
                 ? read_by_lane(view.x)
                 : view.x.slice(0, range.first_row, range.first_row + range.num_rows);
    for (const size_t p : active_[i][static_cast<size_t>(view.site.index)]) {
      const Adapter::Part& part = lanes_[i].bound->adapter().parts()[p];
      const Context context = context_at(lanes_[i], range.key, part, view.site);
      auto prefix = part.edit->prefix(Params(lanes_[i].bound->derived().parts[p]), seen,
                                      {part.edit->scale(view.site), {}}, context);
      if (!prefix) continue;
      prefix->rows.first_sequence = range.first_sequence;
      prefix->rows.end_sequence = range.first_sequence + range.num_sequences;
      out.lanes.push_back(std::move(prefix->rows));
      out.side.append(of_lane(i, part.path, std::move(prefix->side)));
    }
  }
  return out;
}

void check_decoding(const ModelConfig& config, const Adapter& adapter) {
  for (const Adapter::Part& part : adapter.parts()) {
    if (part.spec().traits.reads != Reads::kSequence) continue;
    for (const Site& site : part.spec().sites) {
      if (!holds_decoder_rows(site, config))
        continue;  // an encoder's rows are all there before the first token
      const std::string reason =
          "edit " + quote(part.path) + ": what it does at " + site.name +
          " to a token depends on the tokens after it, which are still to be written; ";
      throw InputError(reason + (site.kind == SiteKind::kAttention
                                     ? "a gate around a prefix has one weight for a whole text: "
                                       "give it a fixed one (value: 1), or leave the gate out"
                                     : "train its gate with pool: causal_mean"));
    }
  }
}

ForwardResult forward_lanes(const Model& model, const ModelInput& input,
                            const std::vector<LaneAdapter>& lanes, const ForwardOptions& options) {
  ensure(!lanes.empty() && lanes.size() == input.last().lanes.size(), "one adapter per lane");
  for (const LaneAdapter& lane : lanes) {
    ensure(can_share_pass(*lane.bound, *lanes.front().bound),
           "a lane that rewrites the trunk's weights shares a pass only with lanes of its own "
           "adapter");
  }
  if (options.cache != nullptr && !options.cache->is_begun()) {
    for (const LaneAdapter& lane : lanes) check_decoding(model.config, lane.bound->adapter());
  }
  const LaneHooks hooks(model, lanes, options.cache);
  return forward(model, lanes.front().bound->weights(), input, hooks, options);
}

std::vector<Tensor> split_by_lane(const Tensor& rows, const Pack& pack) {
  if (pack.lanes.size() == 1) return {rows};
  std::vector<int64_t> sizes;
  for (const LaneRows& range : pack.lanes) sizes.push_back(range.num_rows);
  return rows.split_with_sizes(sizes, 0);
}

std::vector<SideOutputs> split_by_lane(SideOutputs side, size_t lanes) {
  std::vector<SideOutputs> out(lanes);
  for (SideOutput& loss : side.losses) out[loss.lane].losses.push_back(std::move(loss));
  for (SideOutput& record : side.records) out[record.lane].records.push_back(std::move(record));
  for (DrawnExpert& drawn : side.drawn) out[drawn.lane].drawn.push_back(std::move(drawn));
  return out;
}

}  // namespace graft
