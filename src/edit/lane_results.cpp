#include "edit/lane_results.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>

#include "model/classified.h"

namespace graft {

using at::Tensor;

namespace {

// What leaves the layer of the model under a classifier, for the rows that one lane's head reads;
// undefined where the model has none.
SiteResult leaving_layer(const Model& model, const Pack& firsts, const LaneHooks& hooks,
                         size_t lane, const Tensor& rows) {
  const Site& site = model.sites.pooler();
  const BoundAdapter& bound = *hooks.lanes()[lane].bound;
  const Weights& weights = bound.weights();
  const Head* head = bound.adapter().head();
  const bool has_its_own =
      head != nullptr &&
      head->trains_pooler();  // which `weights` holds in the place of the model's
  if (site.index < 0 || !(has_its_own || weights.has(weight_of(site)))) return {};
  const Tensor y = weights.linear(site, rows);
  return hooks.wants(site)
             ? hooks.apply_to_lane(lane, {site, firsts, firsts.lanes[lane], rows, y, {}, {}})
             : SiteResult{y};
}

// Logits and what a head reads last, of the rows [N, C] that a lane's head reads, which are those
// of the lane in `read`.
LaneResult head_result(const Model& model, const Pack& read, const LaneHooks& hooks, size_t lane,
                       const Tensor& states) {
  LaneResult out;
  const LaneAdapter& adapter = hooks.lanes()[lane];
  const BoundAdapter& bound = *adapter.bound;
  const LaneRows& range = read.lanes[lane];
  const Head* head = bound.adapter().head();
  if (range.words != nullptr && head != nullptr) {
    out.logits = head->word_logits(bound.weights(), states, *range.words);
    return out;
  }
  const bool reads_layer = head == nullptr ? has_pooler(model.config) : head->reads_layer();
  SiteResult layer;
  if (reads_layer) layer = leaving_layer(model, read, hooks, lane, states);
  out.side = std::move(layer.side);
  if (head == nullptr) {
    const Tensor& y = layer.y;
    if (y.defined())
      out.pooled = at::tanh(y.to(y.scalar_type() == at::kDouble ? at::kDouble : at::kFloat));
    return out;
  }
  Tensor rows = reads_layer ? layer.y : states;
  if (head->reads_mask_states()) rows = mask_states_behind(model.config, bound.weights(), layer.y);
  const std::shared_ptr<const RowIds> ids = slice_rows(*read.rows, range.first_row, range.num_rows);
  Context context = adapter.context;
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
  const LaneHooks hooks(model, lanes);
  for (size_t i = 0; i < lanes.size(); ++i) {
    LaneResult own = head_result(model, read, hooks, i, states[i]);
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
