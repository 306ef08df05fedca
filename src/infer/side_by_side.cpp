#include "infer/side_by_side.h"

#include <algorithm>

#include "base/error.h"
#include "edit/lane_results.h"
#include "infer/predict.h"

namespace graft {

namespace {

// What a pack holds once for all of its lanes cannot be shared by adapters that differ in it.
bool goes_alone(const AdapterRows& rows) {
  const auto is_special = [](const Sequence& sequence) {
    return sequence.mask() != nullptr || !sequence.embedding.empty();
  };
  return rows.bound->adapter().rewrites_trunk() ||
         std::any_of(rows.data->sequences.begin(), rows.data->sequences.end(), is_special);
}

// A row of one of the adapters.
struct OwnRow {
  size_t adapter = 0;
  int64_t row = 0;
};

// One pass; `places`: its rows, those of an adapter side by side.
void run_pass(const Model& model, const std::vector<AdapterRows>& all,
              const std::vector<OwnRow>& places, std::vector<at::Tensor>& logits) {
  std::vector<LaneInput> inputs;
  std::vector<LaneAdapter> lanes;
  std::vector<std::vector<int64_t>> rows;
  for (size_t i = 0; i < places.size(); ++i) {
    const AdapterRows& own = all[places[i].adapter];
    if (i == 0 || places[i].adapter != places[i - 1].adapter) {
      inputs.push_back({.layout = own.bound->adapter().layout()});
      lanes.push_back({own.bound, {}});
      rows.emplace_back();
    }
    inputs.back().sequences.push_back(&own.data->sequences[static_cast<size_t>(places[i].row)]);
    rows.back().push_back(places[i].row);
  }
  const Pack pack = make_pack(inputs, pack_options(model));
  const std::vector<LaneResult> results = compute_logits(model, pack, lanes, {});
  size_t first = 0;
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    const at::Tensor where = at::tensor(rows[lane], at::kLong);
    logits[places[first].adapter].index_copy_(0, where, results[lane].logits.to(at::kFloat));
    first += rows[lane].size();
  }
}

}  // namespace

std::vector<at::Tensor> predict_side_by_side(const Model& model,
                                             const std::vector<AdapterRows>& all,
                                             int64_t token_budget) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> logits;
  std::vector<Sequence> shared;  // of those that share passes
  std::vector<OwnRow> places;    // of each of these
  for (size_t a = 0; a < all.size(); ++a) {
    ensure(all[a].bound->adapter().head() != nullptr, "predictions need a head");
    if (goes_alone(all[a])) {
      const PredictOptions alone{.token_budget = token_budget};
      logits.push_back(predict(model, *all[a].bound, *all[a].data, alone).logits);
      continue;
    }
    logits.push_back(
        at::empty({all[a].data->size(), all[a].bound->adapter().head()->outputs()}, at::kFloat));
    for (int64_t row = 0; row < all[a].data->size(); ++row) places.push_back({a, row});
    shared.insert(shared.end(), all[a].data->sequences.begin(), all[a].data->sequences.end());
  }
  const auto cost = [&](int64_t i) { return shared[static_cast<size_t>(i)].num_tokens(); };
  for (const std::vector<int64_t>& group : groups_of_rows(shared, token_budget, cost)) {
    std::vector<OwnRow> pass;
    for (const int64_t i : group) pass.push_back(places[static_cast<size_t>(i)]);
    std::stable_sort(pass.begin(), pass.end(),
                     [](const OwnRow& a, const OwnRow& b) { return a.adapter < b.adapter; });
    run_pass(model, all, pass, logits);
  }
  return logits;
}

}  // namespace graft
