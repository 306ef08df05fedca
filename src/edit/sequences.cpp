#include "edit/sequences.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace graft {

using at::Tensor;

namespace {

// [T]: the sequence of each row of the view, counted from the lane's first; N for rows that do not count.
Tensor sequence_index(const SiteView& view, RowsCounted counted, std::vector<double>* counts) {
  const int64_t count = view.lane.num_sequences;
  std::vector<int64_t> index(static_cast<size_t>(view.lane.num_rows), count);
  for (int64_t n = 0; n < count; ++n) {
    const auto sequence = static_cast<size_t>(view.lane.first_sequence + n);
    int64_t rows = 0;
    for (int64_t row = view.pack.offsets[sequence]; row < view.pack.offsets[sequence + 1]; ++row) {
      if (counted == RowsCounted::kTokens && view.pack.token[static_cast<size_t>(row)] < 0) continue;
      index[static_cast<size_t>(row - view.lane.first_row)] = n;
      ++rows;
    }
    if (counts != nullptr) counts->push_back(static_cast<double>(std::max<int64_t>(1, rows)));
  }
  return at::tensor(index, at::kLong);
}

}  // namespace

Tensor mean_by_sequence(const SiteView& view, const Tensor& values, RowsCounted counted) {
  std::vector<double> counts;
  const Tensor index = sequence_index(view, counted, &counts);
  const Tensor sums = at::zeros({view.lane.num_sequences + 1, values.size(1)}, values.options()).index_add(0, index, values);   // [N+1, K]
  // Divided, not multiplied by 1/rows: the mean of equal values is that value.
  return sums.narrow(0, 0, view.lane.num_sequences) / at::tensor(counts, at::kDouble).to(values.scalar_type()).unsqueeze(1);
}

Tensor spread_to_rows(const SiteView& view, const Tensor& by_sequence) {
  const Tensor index = sequence_index(view, RowsCounted::kAll, nullptr);
  return at::cat({by_sequence, at::zeros({1, by_sequence.size(1)}, by_sequence.options())}).index_select(0, index);   // [T, K]
}

Tensor running_mean(const SiteView& view, const Tensor& values) {
  std::vector<double> is_token, counts, is_before;   // [T] each
  std::vector<int64_t> sizes;
  for (int64_t n = 0; n < view.lane.num_sequences; ++n) {
    const auto sequence = static_cast<size_t>(view.lane.first_sequence + n);
    sizes.push_back(view.pack.offsets[sequence + 1] - view.pack.offsets[sequence]);
    double tokens = 0;
    for (int64_t row = view.pack.offsets[sequence]; row < view.pack.offsets[sequence + 1]; ++row) {
      is_token.push_back(view.pack.token[static_cast<size_t>(row)] < 0 ? 0.0 : 1.0);
      tokens += is_token.back();
      counts.push_back(std::max(1.0, tokens));
      is_before.push_back(tokens == 0 ? 1.0 : 0.0);
    }
  }
  const auto used = static_cast<int64_t>(counts.size());
  const auto column = [&](const std::vector<double>& numbers) { return at::tensor(numbers, at::kDouble).to(values.scalar_type()).unsqueeze(1); };
  const Tensor own = values.narrow(0, 0, used);
  std::vector<Tensor> parts;   // one sum a sequence, so that no neighbour enters its rounding
  for (const Tensor& part : (own * column(is_token)).split_with_sizes(sizes, 0)) parts.push_back(part.cumsum(0));
  const Tensor means = at::cat(parts) / column(counts) + own * column(is_before);
  return at::cat({means, at::zeros({view.lane.num_rows - used, values.size(1)}, values.options())});   // fillers come last
}

}  // namespace graft
