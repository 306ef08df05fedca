#include "infer/predict.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mse_loss.h>

#include <chrono>
#include <numeric>

#include "base/error.h"

namespace graft {

namespace {

using at::Tensor;

// A new number of rows makes the matrix library compile and keep new kernels: rounded to 16, a run was 15 % slower and 100 MB larger.
constexpr int64_t kRowsRounding = 64;

Tensor labels_of(const Dataset& data) {
  std::vector<double> labels;
  for (const Example& example : data.examples) {
    ensure(example.label.has_value(), "scores need a label on every row");
    labels.push_back(*example.label);
  }
  return at::tensor(labels, at::kDouble);
}

std::vector<int64_t> longest_first(const Dataset& data) {
  std::vector<int64_t> order(data.sequences.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto length = [&](int64_t i) { return data.sequences[static_cast<size_t>(i)].ids.size(); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  return order;
}

}  // namespace

PackOptions pack_options(const Model& model) {
  return {.round_rows_to = kRowsRounding, .position_offset = model.config.position_offset, .pad_id = model.config.pad_id};
}

Predictions predict(const Model& model, const Bound& bound, const Dataset& data, const PredictOptions& options) {
  ensure(bound.adapter().head() != nullptr, "predictions need a head");
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int64_t> order = longest_first(data);
  Predictions out;
  out.logits = at::empty({data.size(), bound.adapter().head()->outputs()}, at::kFloat);
  for (size_t begin = 0; begin < order.size();) {
    PackLane rows;
    std::vector<int64_t> index;
    int64_t tokens = 0;
    for (; begin < order.size(); ++begin) {
      const Sequence& sequence = data.sequences[static_cast<size_t>(order[begin])];
      const auto length = static_cast<int64_t>(sequence.ids.size());
      if (tokens > 0 && tokens + length > options.token_budget) break;
      tokens += length;
      rows.sequences.push_back(&sequence);
      index.push_back(order[begin]);
    }
    const Pack pack = make_pack({rows}, pack_options(model));
    const LogitsResult result = compute_logits(model, pack, {{&bound, {}}}, {});
    out.logits.index_copy_(0, at::tensor(index, at::kLong), result.logits.front().to(at::kFloat));
    out.num_tokens += tokens;
    if (options.progress) options.progress(static_cast<int64_t>(begin), data.size());
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

std::vector<Score> score_predictions(const Task& task, const Dataset& data, const Tensor& logits) {
  const Tensor truth = labels_of(data);
  const Tensor guess = task.kind == TaskKind::kRegression ? logits.select(1, 0) : logits.argmax(1);
  const Tensor predicted = guess.to(at::kDouble).contiguous();
  const auto values = [](const Tensor& tensor) { return Values(tensor.const_data_ptr<double>(), static_cast<size_t>(tensor.numel())); };
  return score(task, values(truth), values(predicted));
}

double mean_loss(const Task& task, const Dataset& data, const Tensor& logits) {
  const Tensor truth = labels_of(data);
  const Tensor wide = logits.to(at::kDouble);
  if (task.kind == TaskKind::kRegression) return at::mse_loss(wide.select(1, 0), truth).item<double>();
  return at::cross_entropy_loss(wide, truth.to(at::kLong)).item<double>();
}

}  // namespace graft
