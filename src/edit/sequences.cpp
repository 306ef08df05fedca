#include "edit/sequences.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"

namespace graft {

using at::Tensor;

namespace {

bool is_counted(const SiteView& view, size_t sequence, int64_t row, RowsCounted counted) {
  const Pack& pack = view.pack;
  if (is_under_classifier(view.site.part)) return true;  // one row a text, be it a prompt's
  const int64_t token = pack.token[static_cast<size_t>(row)];
  if (counted == RowsCounted::kPromptTokens)
    return token >= 0 && token < std::max<int64_t>(1, pack.prompts[sequence]);
  return counted == RowsCounted::kAll || token >= 0;
}

}  // namespace

Tensor sequence_index(const SiteView& view, RowsCounted counted, std::vector<double>* counts) {
  const int64_t count = view.lane.num_sequences;
  std::vector<int64_t> index(static_cast<size_t>(view.lane.num_rows), count);
  for (int64_t n = 0; n < count; ++n) {
    const auto sequence = static_cast<size_t>(view.lane.first_sequence + n);
    int64_t rows = 0;
    const RowRange& own = view.pack.sequences[sequence];
    for (int64_t row = own.begin; row < own.end; ++row) {
      if (!is_counted(view, sequence, row, counted)) continue;
      index[static_cast<size_t>(row - view.lane.first_row)] = n;
      ++rows;
    }
    if (counts != nullptr) counts->push_back(static_cast<double>(std::max<int64_t>(1, rows)));
  }
  return at::tensor(index, at::kLong);
}

std::shared_ptr<const RowGroups> sequence_groups(const SiteView& view, RowsCounted counted) {
  RowGroups out;
  out.counts.resize(static_cast<size_t>(view.lane.num_rows));
  for (int64_t n = 0; n < view.lane.num_sequences; ++n) {
    const auto sequence = static_cast<size_t>(view.lane.first_sequence + n);
    out.begin.push_back(view.pack.sequences[sequence].begin - view.lane.first_row);
    out.end.push_back(view.pack.sequences[sequence].end - view.lane.first_row);
    for (int64_t row = out.begin.back(); row < out.end.back(); ++row) {
      out.counts[static_cast<size_t>(row)] =
          is_counted(view, sequence, row + view.lane.first_row, counted);
    }
  }
  return std::make_shared<const RowGroups>(std::move(out));
}

Tensor mean_by_sequence(const SiteView& view, const Tensor& values, RowsCounted counted) {
  std::vector<double> counts;
  const Tensor index = sequence_index(view, counted, &counts);
  const Tensor sums = at::zeros({view.lane.num_sequences + 1, values.size(1)}, values.options())
                          .index_add(0, index, values);  // [N+1, K]
  // Divided, not multiplied by 1/rows: the mean of equal values is that value.
  return sums.narrow(0, 0, view.lane.num_sequences) /
         at::tensor(counts, at::kDouble).to(values.scalar_type()).unsqueeze(1);
}

Tensor spread_to_rows(const SiteView& view, const Tensor& by_sequence) {
  const Tensor index = sequence_index(view, RowsCounted::kAll);
  return at::cat({by_sequence, at::zeros({1, by_sequence.size(1)}, by_sequence.options())})
      .index_select(0, index);  // [T, K]
}

Tensor acting_rows(const SiteView& view, int64_t rows) {
  if (view.pack.subspaces.empty()) return {};
  std::vector<float> by_sequence;  // [N, K]
  bool is_named = false;
  for (int64_t n = 0; n < view.lane.num_sequences; ++n) {
    const auto sequence = static_cast<size_t>(view.lane.first_sequence + n);
    const std::vector<int64_t>& named = view.pack.subspaces[sequence];
    is_named = is_named || !named.empty();
    by_sequence.resize(static_cast<size_t>((n + 1) * rows), named.empty() ? 1.0F : 0.0F);
    for (const int64_t row : named) {
      if (row < 0 || row >= rows)
        throw InputError("example " + std::to_string(view.pack.spans->sequences[sequence].example) +
                         ": expected rows of a subspace in 0.." + std::to_string(rows - 1) +
                         ", found " + std::to_string(row));
      by_sequence[static_cast<size_t>(n * rows + row)] = 1.0F;
    }
  }
  if (!is_named) return {};
  return spread_to_rows(view, at::tensor(by_sequence, at::kFloat).view({-1, rows}));
}

SideOutput token_record(const SiteView& view, const std::string& name, const Tensor& values) {
  std::vector<int64_t> rows;
  std::vector<double> places;  // [R, 2]
  for (int64_t n = 0; n < view.lane.num_sequences; ++n) {
    const RowRange& range = view.pack.sequences[static_cast<size_t>(view.lane.first_sequence + n)];
    for (int64_t row = range.begin; row < range.end; ++row) {
      const int64_t token = view.pack.token[static_cast<size_t>(row)];
      if (token < 0) continue;
      rows.push_back(row - view.lane.first_row);
      places.push_back(static_cast<double>(n));
      places.push_back(static_cast<double>(token));
    }
  }
  const Tensor own = values.detach().index_select(0, at::tensor(rows, at::kLong)).to(at::kFloat);
  const Tensor at_place = at::tensor(places, at::kFloat).view({-1, 2});
  return {name + ".tokens", at::cat({at_place, own}, 1)};
}

Tensor running_mean(const SiteView& view, const Tensor& values, Memory* memory, MemoryKey key) {
  const auto sequences = view.lane.num_sequences;
  const auto kept = [&](int use) -> Tensor* {
    key.use = use;
    return memory == nullptr ? nullptr : &(*memory)[key];
  };
  Tensor *const kept_sums = kept(0), *const kept_counts = kept(1);  // [N, K], [N] float64
  std::vector<double> is_token, counts, is_before, totals;          // [T] thrice, [N]
  std::vector<int64_t> sizes;
  for (int64_t n = 0; n < sequences; ++n) {
    const auto sequence = static_cast<size_t>(view.lane.first_sequence + n);
    const RowRange& range = view.pack.sequences[sequence];
    sizes.push_back(range.end - range.begin);
    double tokens = kept_counts != nullptr && kept_counts->defined()
                        ? kept_counts->const_data_ptr<double>()[n]
                        : 0;
    for (int64_t row = range.begin; row < range.end; ++row) {
      is_token.push_back(view.pack.token[static_cast<size_t>(row)] < 0 ? 0.0 : 1.0);
      tokens += is_token.back();
      counts.push_back(std::max(1.0, tokens));
      is_before.push_back(tokens == 0 ? 1.0 : 0.0);
    }
    totals.push_back(tokens);
  }
  const auto used = static_cast<int64_t>(counts.size());
  const auto column = [&](const std::vector<double>& numbers) {
    return at::tensor(numbers, at::kDouble).to(values.scalar_type()).unsqueeze(1);
  };
  const Tensor own = values.narrow(0, 0, used);
  std::vector<Tensor> parts, lasts;  // one sum a sequence, so that no neighbour enters its rounding
  for (const Tensor& part : (own * column(is_token)).split_with_sizes(sizes, 0)) {
    const auto n = static_cast<int64_t>(parts.size());
    const Tensor before =
        kept_sums != nullptr && kept_sums->defined() ? kept_sums->narrow(0, n, 1) : Tensor();
    parts.push_back(before.defined() ? at::cat({before, part}).cumsum(0).narrow(0, 1, part.size(0))
                                     : part.cumsum(0));
    if (memory != nullptr) lasts.push_back(parts.back().narrow(0, part.size(0) - 1, 1));
  }
  if (memory != nullptr) {
    *kept_sums = at::cat(lasts);
    *kept_counts = at::tensor(totals, at::kDouble);
  }
  const Tensor means = at::cat(parts) / column(counts) + own * column(is_before);
  return at::cat({means, at::zeros({view.lane.num_rows - used, values.size(1)},
                                   values.options())});  // fillers come last
}

}  // namespace graft
