#include "infer/predict.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/error.h"
#include "base/timer.h"
#include "edit/lane_results.h"
#include "infer/sample_passes.h"

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

}  // namespace

Predictions predict(const Model& model, const BoundAdapter& bound, const Dataset& data,
                    const PredictOptions& options) {
  ensure(bound.adapter().head() != nullptr, "predictions need a head");
  const at::NoGradGuard no_grad;
  const Timer timer;
  const int64_t count = num_samples(options.samples);
  const at::Tensor by_sample =
      at::empty({count, data.size(), bound.adapter().head()->outputs()}, at::kFloat);
  Predictions out;
  const auto cost = [&](int64_t row) {
    return count * data.sequences[static_cast<size_t>(row)].num_tokens();
  };
  int64_t done = 0;
  for (const std::vector<int64_t>& group :
       groups_of_rows(data.sequences, options.token_budget, cost)) {
    for (const int64_t row : group)
      out.num_tokens += data.sequences[static_cast<size_t>(row)].num_tokens();
    std::vector<SideOutput> records;
    const std::vector<Sample> samples =
        samples_of(model, bound, options.samples, options.keep_records, options.recording);
    const Tensor where = at::tensor(group, at::kLong);
    for (const SamplePass& pass : sample_passes(samples, data, group, options.kept)) {
      std::vector<LaneResult> results = compute_logits(
          model, make_pack(pass.inputs, pack_options(model)), pass.lanes, pass.options());
      for (size_t i = pass.begin; i < pass.end; ++i)
        by_sample[static_cast<int64_t>(i)].index_copy_(
            0, where, results[i - pass.begin].logits.to(at::kFloat));
      if (pass.begin == 0) records = std::move(results.front().side.records);
    }
    keep_records(records, group, data.size(), out.records);
    done += static_cast<int64_t>(group.size());
    if (options.progress) options.progress(done, data.size());
  }
  out.logits = joined_samples(by_sample, options.samples);
  if (count > 1) out.by_sample = by_sample;
  out.seconds = timer.seconds();
  return out;
}

std::vector<double> answers_of(const Task& task, const Tensor& logits) {
  const Tensor answers =
      (task.kind() == TaskKind::kRegression ? logits.select(1, 0) : logits.argmax(1))
          .to(at::kDouble)
          .contiguous();
  const auto* const first = answers.const_data_ptr<double>();
  std::vector<double> out(first, first + answers.numel());
  if (const auto* values = task.find<Regression>()) {
    for (double& value : out) value = values->answered(value);
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
  if (task.kind() == TaskKind::kRegression)
    return at::mse_loss(wide.select(1, 0), truth).item<double>();
  return at::cross_entropy_loss(wide, truth.to(at::kLong)).item<double>();
}

}  // namespace graft
