// Linear layers, and what is made of their outputs: gates, losses.
#include <ATen/ATen.h>

#include <algorithm>

#include "tensor/chunk.h"
#include "tensor/plain/plain.h"

namespace graft::plain {

namespace {

using at::Tensor;

// Which rows each group counts, as indices on a device.
struct GroupIndex {
  Tensor of_row;          // [T]: the row's group, N for rows of none
  Tensor counted, group;  // [number of counted rows]: the rows, and their groups
  Tensor number;          // [N, 1] float64: counted rows of each group, at least 1
};

GroupIndex group_index(const RowGroups& groups, const at::Device& device) {
  const auto count = static_cast<int64_t>(groups.begin.size());
  std::vector<int64_t> of_row(groups.counts.size(), count), counted, group;
  std::vector<double> number(groups.begin.size());
  for (size_t n = 0; n < groups.begin.size(); ++n) {
    for (int64_t t = groups.begin[n]; t < groups.end[n]; ++t) {
      of_row[static_cast<size_t>(t)] = static_cast<int64_t>(n);
      if (groups.counts[static_cast<size_t>(t)] == 0) continue;
      counted.push_back(t);
      group.push_back(static_cast<int64_t>(n));
      number[n] += 1;
    }
    number[n] = std::max(number[n], 1.0);
  }
  const auto index = [&](const std::vector<int64_t>& all) {
    return at::tensor(all, at::kLong).to(device);
  };
  return {index(of_row), index(counted), index(group),
          at::tensor(number, at::kDouble).view({count, 1}).to(device)};
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::linear(x, weight, bias.defined() ? bias.to(x.scalar_type()) : bias);
}

Tensor add_low_rank(const Tensor& y, const Tensor& code, const Tensor& basis) {
  return at::addmm(y, code, basis.t());
}

PooledGate pooled_gate(const Tensor& z, const Tensor& weight, const Tensor& bias,
                       std::shared_ptr<const RowGroups> groups) {
  const GroupIndex index = group_index(*groups, z.device());
  const Tensor logits = at::linear(z.to(weight.scalar_type()), weight, bias);
  const Tensor opened =
      logits.to(at::kDouble).sigmoid().to(weight.scalar_type()).to(at::kDouble);  // [T, K]
  const Tensor sums = at::zeros({index.number.size(0), weight.size(0)}, opened.options())
                          .index_add(0, index.group, at::index(opened, {index.counted}));
  const Tensor by_group = (sums / index.number).to(weight.scalar_type());  // [N, K]
  const Tensor with_none = at::cat({by_group, at::zeros({1, weight.size(0)}, by_group.options())});
  return {by_group, at::index(with_none, {index.of_row})};
}

VocabularyLoss vocabulary_loss(const Tensor& hidden, const OutputLayer& layer,
                               const std::vector<int64_t>& targets,
                               const VocabularyLossOptions& options) {
  const Tensor input = layer.scale == 1.0 ? hidden : hidden * layer.scale;
  const Tensor product =
      layer.frozen ? (*layer.frozen)(input) : plain::linear(input, layer.weight, layer.bias);
  const Tensor logits = product.to(accumulator_type(hidden.scalar_type()));  // [R, V]
  const Tensor index = at::tensor(targets, at::kLong).to(hidden.device());
  const Tensor largest = logits.amax(1, /*keepdim=*/true).detach();
  const Tensor log_denominator =
      ((logits - largest).exp().sum(1, true).log() + largest).select(1, 0);
  const Tensor own = logits.gather(1, index.unsqueeze(1)).select(1, 0);
  const double smoothing = options.label_smoothing;
  const Tensor rows = (1 - smoothing) * (log_denominator - own) +
                      smoothing * (log_denominator - logits.mean(1)) +
                      options.z_loss * log_denominator.square();
  return {rows.sum(), rows.detach()};
}

}  // namespace graft::plain
