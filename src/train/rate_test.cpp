#include "train/rate_test.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "train/train_state.h"

namespace graft {

namespace {

constexpr double kSmoothing = 0.9;  // of a step's loss the mean with those before it counts so much
constexpr double kTooMuch = 4;
constexpr double kLeastFall = 0.02;

}  // namespace

std::optional<double> suggest_rate(const std::vector<double>& rates,
                                   const std::vector<double>& losses) {
  ensure(rates.size() == losses.size(), "suggest_rate: a rate for every loss");
  std::vector<size_t> length(losses.size(), 1),
      before(losses.size());  // of the longest falling subsequence that ends here
  size_t end = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    before[i] = i;
    for (size_t j = 0; j < i; ++j) {
      if (losses[i] < losses[j] && length[j] + 1 > length[i]) {
        length[i] = length[j] + 1;
        before[i] = j;
      }
    }
    if (length[i] > length[end]) end = i;
  }
  if (losses.empty()) return std::nullopt;
  size_t begin = end;
  while (before[begin] != begin) begin = before[begin];
  if (losses[end] > (1 - kLeastFall) * losses[begin]) return std::nullopt;
  return rates[(begin + end) / 2];
}

RateTest test_rates(RunInputs inputs, const RateTestOptions& options) {
  ensure(options.steps > 1 && options.least > 0 && options.least < options.most,
         "test_rates: rates that rise");
  inputs.config.max_steps = options.steps;
  TrainState state(inputs);
  Epochs epochs = epochs_of(inputs);
  RateTest out;
  double mean = 0, least = std::numeric_limits<double>::infinity();
  for (int64_t step = 0; step < options.steps; ++step) {
    const double way = static_cast<double>(step) / static_cast<double>(options.steps - 1);
    const double rate = options.least * std::pow(options.most / options.least, way);
    const TrainedStep trained = train_step(inputs, state, epochs.batches_of(step), step, rate);
    mean = kSmoothing * mean + (1 - kSmoothing) * trained.loss;
    const double smooth = mean / (1 - std::pow(kSmoothing, static_cast<double>(step + 1)));
    if (!std::isfinite(smooth) || !std::isfinite(trained.gradient_norm) ||
        smooth > kTooMuch * least)
      break;
    least = std::min(least, smooth);
    out.rates.push_back(rate);
    out.losses.push_back(smooth);
    if (options.progress) options.progress(step + 1);
  }
  out.suggestion = suggest_rate(out.rates, out.losses);
  return out;
}

}  // namespace graft
