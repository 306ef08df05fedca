#include "edit/lanes.h"

#include <ATen/ops/alias.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/error.h"
#include "edit/sequences.h"
#include "model/classified.h"
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

// |y' - y| / |y| over the tokens of each sequence, as a record "<site>.change" [N].
SideOutput change_record(const SiteView& view, const Tensor& before) {
  const auto square = [&](const Tensor& rows) {
    return mean_by_sequence(view, rows.detach().to(at::kFloat).square().sum(1, true)).squeeze(1);
  };
  return {view.site.name + ".change", (square(view.y - before) / square(before)).sqrt()};
}

}  // namespace

BoundAdapter::BoundAdapter(const Model& model, const Adapter& adapter, const NamedTensors& stored,
                           Experts experts)
    : adapter_(adapter),
      derived_(adapter.derive(stored, model.weights, experts)),
      weights_(model.weights),
      experts_(experts) {
  leaves_ = derived_;
  const auto cut = [](TensorList& tensors) {
    for (Tensor& tensor : tensors) {
      if (tensor.defined() && tensor.requires_grad()) tensor = tensor.detach().requires_grad_(true);
    }
  };
  for (TensorList& part : leaves_.parts) cut(part);
  cut(leaves_.head);
  weights_ = adapter.rewritten(leaves_, model.weights);
  if (adapter.changes(model.sites.pooler()) && !weights_.has(weight_of(kPoolerPlace)))
    throw InputError("the adapter changes the pooler, which the model '" + model.source +
                     "' has not");
}

void BoundAdapter::add_gradients_to_stored() {
  std::vector<Tensor> roots, gradients;
  const auto carry = [&](const TensorList& derived, TensorList& leaves) {
    auto cut_off = leaves.begin();
    for (const Tensor& tensor : derived) {
      Tensor& leaf = *cut_off++;
      if (!tensor.defined() || !tensor.requires_grad() || !leaf.grad().defined()) continue;
      if (tensor.is_leaf()) {  // nothing was derived: hand the gradient over without a copy
        Tensor& gathered = tensor.mutable_grad();
        gathered = gathered.defined() ? gathered + leaf.grad() : leaf.grad();
        leaf.mutable_grad().reset();
        continue;
      }
      roots.push_back(tensor);
      gradients.push_back(leaf.grad());
    }
  };
  for (size_t i = 0; i < derived_.parts.size(); ++i) carry(derived_.parts[i], leaves_.parts[i]);
  carry(derived_.head, leaves_.head);
  if (!roots.empty()) torch::autograd::backward(roots, gradients);
}

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

bool can_share_pass(const BoundAdapter& one, const BoundAdapter& other) {
  return &one == &other || !(one.adapter().rewrites_trunk() || other.adapter().rewrites_trunk());
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

namespace {

// What leaves the pooler for the rows that one lane's head reads; undefined where the model has
// none.
SiteResult leaving_pooler(const Model& model, const Pack& firsts,
                          const std::vector<LaneAdapter>& lanes, size_t lane, const Tensor& rows) {
  const Site& site = model.sites.pooler();
  const Weights& weights = lanes[lane].bound->weights();
  const Head* head = lanes[lane].bound->adapter().head();
  const bool has_its_own =
      head != nullptr &&
      head->trains_pooler();  // which `weights` holds in the place of the model's
  if (site.index < 0 || !(has_its_own || weights.has(weight_of(kPoolerPlace)))) return {};
  const Tensor y = weights.linear(kPoolerPlace, rows);
  const LaneHooks hooks(model, lanes);
  return hooks.wants(site)
             ? hooks.apply_to_lane(lane, {site, firsts, firsts.lanes[lane], rows, y, {}, {}})
             : SiteResult{y};
}

// Logits and what a head reads last, of the rows [N, C] that a lane's head reads, which are those
// of the lane in `read`.
LaneResult head_result(const Model& model, const Pack& read, const std::vector<LaneAdapter>& lanes,
                       size_t lane, const Tensor& states) {
  LaneResult out;
  const BoundAdapter& bound = *lanes[lane].bound;
  const LaneRows& range = read.lanes[lane];
  const Head* head = bound.adapter().head();
  if (range.words != nullptr && head != nullptr) {
    out.logits = head->word_logits(bound.weights(), states, *range.words);
    return out;
  }
  const bool reads_pooler = head == nullptr || head->reads_pooler();
  SiteResult pooler;
  if (reads_pooler) pooler = leaving_pooler(model, read, lanes, lane, states);
  out.side = std::move(pooler.side);
  const Tensor rows = reads_pooler ? pooler.y
                      : head->reads_mask_states()
                          ? mask_states(model.config, bound.weights(), states)
                          : states;
  if (head == nullptr) {
    if (rows.defined())
      out.pooled = at::tanh(rows.to(rows.scalar_type() == at::kDouble ? at::kDouble : at::kFloat));
    return out;
  }
  const std::shared_ptr<const RowIds> ids = slice_rows(*read.rows, range.first_row, range.num_rows);
  Context context = lanes[lane].context;
  context.key = range.key.with(Adapter::kHeadPath);
  out.logits = head->logits(Params(bound.derived().head), rows, ids, context, &out.pooled);
  return out;
}

}  // namespace

std::vector<LaneResult> compute_logits(const Model& model, const Pack& pack,
                                       const std::vector<LaneAdapter>& lanes,
                                       ForwardOptions options) {
  const ClassifiedPack texts = classified_pack(model, pack);
  if (!texts.reads_mean) options.wanted = texts.wanted;
  options.round_rows_to = 1;  // a head reads no filler
  ForwardResult trunk = forward_lanes(model, texts.input(model.config), lanes, options);
  const Pack read = texts.reads_mean ? narrowed(texts.last(), texts.wanted, 1).pack : *trunk.wanted;
  const std::vector<Tensor> states =
      split_by_lane(texts.reads_mean ? sequence_means(texts.last(), trunk.last) : trunk.last,
                    read);  // [N, C] each
  std::vector<LaneResult> out;
  std::vector<SideOutputs> side = split_by_lane(std::move(trunk.side), lanes.size());
  for (size_t i = 0; i < lanes.size(); ++i) {
    LaneResult own = head_result(model, read, lanes, i, states[i]);
    side[i].append(std::move(own.side));
    own.side = std::move(side[i]);
    out.push_back(std::move(own));
  }
  const auto keep = [&](const std::vector<Tensor>& hidden, const Pack& rows,
                        std::vector<Tensor> LaneResult::*own) {
    for (const Tensor& layer : hidden) {
      const std::vector<Tensor> by_lane = split_by_lane(layer, rows);
      for (size_t i = 0; i < lanes.size(); ++i) (out[i].*own).push_back(by_lane[i]);
    }
  };
  keep(trunk.hidden, pack, &LaneResult::hidden);
  keep(trunk.decoder_hidden, texts.last(), &LaneResult::decoder_hidden);
  return out;
}

std::vector<LaneStates> predicting_states(const Model& model, const LanguageBatch& batch,
                                          const std::vector<LaneAdapter>& lanes,
                                          ForwardOptions options) {
  options.wanted = batch.wanted;
  options.round_rows_to = kRowsRounding;
  ForwardResult result = forward_lanes(model, batch.input(), lanes, options);
  const std::vector<Tensor> states = split_by_lane(result.last, *result.wanted);
  std::vector<SideOutputs> side = split_by_lane(std::move(result.side), lanes.size());
  std::vector<LaneStates> out;
  size_t target = 0;
  for (size_t lane = 0; lane < states.size(); ++lane) {
    std::vector<int64_t> index;
    for (int64_t i = 0; i < batch.lane_targets[lane]; ++i, ++target) {
      const auto sequence = static_cast<size_t>(batch.sequence[target]);
      index.push_back(result.wanted->sequences[sequence].begin + batch.row[target] -
                      result.wanted->lanes[lane].first_row);
    }
    // Rows come in order: as many means the same.
    const bool is_all = states[lane].size(0) == std::ssize(index);
    out.push_back(
        {is_all ? states[lane] : states[lane].index_select(0, at::tensor(index, at::kLong)),
         std::move(side[lane])});
  }
  return out;
}

}  // namespace graft
