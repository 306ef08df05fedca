#include "infer/text_uncertainty.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "infer/uncertainty.h"

namespace graft {

using at::Tensor;

TargetUncertainty target_uncertainty(const std::vector<Tensor>& states,
                                     const std::vector<OutputLayer>& layers,
                                     const std::vector<int64_t>& targets) {
  const auto samples = std::ssize(states), count = std::ssize(targets);
  const OutputLayer& first = layers.front();
  const int64_t vocabulary = first.frozen ? first.frozen->weight().size(0) : first.weight.size(0);
  const int64_t rows = std::max<int64_t>(1, kChunkBytes / (8 * samples * vocabulary));
  const Tensor truth = at::tensor(targets, at::kLong);
  std::vector<Tensor> losses, totals, expected, information, log_ps;
  for (int64_t begin = 0; begin < count; begin += rows) {
    const int64_t end = std::min(count, begin + rows);
    std::vector<Tensor> logits;
    for (size_t s = 0; s < states.size(); ++s)
      logits.push_back(whole_logits(states[s].slice(0, begin, end), layers[s]).to(at::kDouble));
    const Tensor log_p = at::stack(logits).log_softmax(2);  // [samples, r, V]
    const Entropies entropies = entropies_of(log_p);
    const Tensor own = truth.slice(0, begin, end).view({1, -1, 1}).expand({samples, -1, 1});
    log_ps.push_back(log_p.gather(2, own).squeeze(2));  // [samples, r]
    losses.push_back(std::log(static_cast<double>(samples)) - at::logsumexp(log_ps.back(), 0));
    totals.push_back(entropies.total);
    expected.push_back(entropies.expected);
    information.push_back(entropies.information);
  }
  return {at::cat(losses), at::cat(totals), at::cat(expected), at::cat(information),
          at::cat(log_ps, 1)};
}

SequenceUncertainty sequence_uncertainty(const TextUncertainty& texts, size_t row) {
  SequenceUncertainty out;
  for (const TokenUncertainty& token : texts.tokens[row]) {
    out.loss += token.loss;
    out.entropy += token.entropy;
    out.expected_entropy += token.expected_entropy;
    out.information += token.information;
  }
  const std::vector<double>& own = texts.log_likelihood[row];
  const auto samples = static_cast<double>(own.size());
  for (const double value : own) out.log_likelihood_mean += value / samples;
  for (const double value : own) {
    if (own.size() < 2) break;
    const double distance = value - out.log_likelihood_mean;
    out.log_likelihood_variance += distance * distance / (samples - 1);
  }
  return out;
}

}  // namespace graft
