#include "infer/predict.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mse_loss.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "base/error.h"

namespace graft {

namespace {

using at::Tensor;

Tensor labels_of(const Dataset& data) {
  std::vector<double> labels;
  for (const Example& example : data.examples) {
    ensure(example.label.has_value(), "scores need a label on every row");
    labels.push_back(*example.label);
  }
  return at::tensor(labels, at::kDouble);
}

int64_t num_routes(const RouteOptions& route) { return is_ensemble(route) ? route.routes : 1; }

// One lane per route. Records come from the first.
std::vector<LaneAdapter> lanes_of(const BoundAdapter& bound, const RouteOptions& route,
                                  std::vector<std::pair<std::string, Tensor>>* records) {
  std::vector<LaneAdapter> lanes;
  for (int64_t r = 0; r < num_routes(route); ++r) {
    LaneAdapter& lane = lanes.emplace_back(LaneAdapter{&bound, {}});
    lane.context.route = RandomKey{}
                             .with("route")
                             .with(static_cast<uint64_t>(route.seed))
                             .with(static_cast<uint64_t>(r));
    lane.context.route_unit = route.unit;
    if (route.routing == Routing::kFixed) lane.context.fixed_expert = 0;
    if (r == 0) lane.context.records = records;
  }
  return lanes;
}

// by_route: [routes, rows, outputs] -> [rows, outputs].
Tensor joined_routes(const Tensor& by_route, Routing routing) {
  if (by_route.size(0) == 1) return by_route[0];
  if (routing == Routing::kEnsembleLogits) return by_route.mean(0);
  return by_route.softmax(2).mean(0).log();
}

}  // namespace

void keep_record(NamedTensors& records, const std::string& name, int64_t rows, const Tensor& index,
                 const Tensor& values) {
  const Tensor wide = (values.dim() == 1 ? values.unsqueeze(1) : values).to(at::kFloat);  // [N, K]
  Tensor& all = records[name];
  if (!all.defined()) all = at::zeros({rows, wide.size(1)}, at::kFloat);
  all.index_copy_(0, index, wide);
}

Predictions predict(const Model& model, const BoundAdapter& bound, const Dataset& data,
                    const PredictOptions& options) {
  ensure(bound.adapter().head() != nullptr, "predictions need a head");
  ensure(bound.experts() == experts_of(options.route.routing),
         "experts apart for routes, merged without");
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const int64_t routes = num_routes(options.route);
  const at::Tensor by_route =
      at::empty({routes, data.size(), bound.adapter().head()->outputs()}, at::kFloat);
  Predictions out;
  const auto cost = [&](int64_t row) {
    return routes * data.sequences[static_cast<size_t>(row)].num_tokens();
  };
  int64_t done = 0;
  for (const std::vector<int64_t>& group :
       groups_of_rows(data.sequences, options.token_budget, cost)) {
    LaneInput rows{{}, bound.adapter().layout()};
    for (const int64_t row : group) {
      rows.sequences.push_back(&data.sequences[static_cast<size_t>(row)]);
      out.num_tokens += rows.sequences.back()->num_tokens();
    }
    std::vector<std::pair<std::string, Tensor>> records;
    const std::vector<LaneAdapter> lanes =
        lanes_of(bound, options.route, options.keep_records ? &records : nullptr);
    const Pack pack =
        make_pack(std::vector<LaneInput>(static_cast<size_t>(routes), rows), pack_options(model));
    KnownRows known;
    ForwardOptions forward;
    if (options.kept != nullptr) {
      for (int64_t r = 0; r < routes; ++r) options.kept->add(group, known);
      forward.from = &known;
    }
    const std::vector<LaneResult> result = compute_logits(model, pack, lanes, forward);
    const Tensor where = at::tensor(group, at::kLong);
    for (int64_t r = 0; r < routes; ++r)
      by_route[r].index_copy_(0, where, result[static_cast<size_t>(r)].logits.to(at::kFloat));
    for (const auto& [name, values] : records)
      keep_record(out.records, name, data.size(), where, values);
    done += static_cast<int64_t>(group.size());
    if (options.progress) options.progress(done, data.size());
  }
  out.logits = joined_routes(by_route, options.route.routing);
  if (routes > 1) out.by_route = by_route;
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

std::vector<double> answers_of(const Task& task, const Tensor& logits) {
  const Tensor answers =
      (task.kind == TaskKind::kRegression ? logits.select(1, 0) : logits.argmax(1))
          .to(at::kDouble)
          .contiguous();
  const auto* const first = answers.const_data_ptr<double>();
  std::vector<double> out(first, first + answers.numel());
  if (task.least) {
    for (double& value : out) value = std::max(value, *task.least);
  }
  return out;
}

std::vector<Score> score_predictions(const Task& task, const Dataset& data, const Tensor& logits) {
  const Tensor truth = labels_of(data);
  return score(task, Values(truth.const_data_ptr<double>(), static_cast<size_t>(truth.numel())),
               answers_of(task, logits));
}

double mean_loss(const Task& task, const Dataset& data, const Tensor& logits) {
  const Tensor truth = labels_of(data);
  const Tensor wide = logits.to(at::kDouble);
  if (task.kind == TaskKind::kRegression)
    return at::mse_loss(wide.select(1, 0), truth).item<double>();
  return at::cross_entropy_loss(wide, truth.to(at::kLong)).item<double>();
}

}  // namespace graft
