#include "train/batches.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "data/mixture.h"

namespace graft {

namespace {

// Rows are sorted by length within windows of this many batches, so that a batch holds similar
// lengths and batches still vary.
constexpr int64_t kWindow = 50;

// Rows of an epoch of a mixture, counted through all parts, in the order in which they are drawn.
std::vector<int64_t> drawn_rows(const DrawnParts& parts, RandomKey run, int64_t epoch) {
  std::vector<int64_t> first(parts.sizes.size(), 0);
  std::partial_sum(parts.sizes.begin(), parts.sizes.end() - 1, first.begin() + 1);
  std::vector<int64_t> rows;
  for (const MixtureRow& drawn :
       mixture_epoch(parts.sizes, parts.rates, parts.rows, run.value, epoch)) {
    rows.push_back(first[static_cast<size_t>(drawn.part)] + drawn.row);
  }
  return rows;
}

std::vector<int64_t> ordered_rows(const std::vector<int64_t>& lengths, const BatchOptions& options,
                                  RandomKey key, int64_t epoch) {
  const auto count = static_cast<int64_t>(lengths.size());
  ensure(!options.parts || options.order != Order::kFile, "a mixture has no order of its own");
  if (options.order == Order::kFile) {
    std::vector<int64_t> rows(lengths.size());
    std::iota(rows.begin(), rows.end(), int64_t{0});
    return rows;
  }
  std::vector<int64_t> rows = options.parts ? drawn_rows(*options.parts, options.key, epoch)
                                            : permutation(count, key.with("rows"));
  if (options.order == Order::kShuffle) return rows;
  const auto window = static_cast<size_t>(kWindow * options.batch_size);
  for (size_t begin = 0; begin < rows.size(); begin += window) {
    const auto first = rows.begin() + static_cast<int64_t>(begin);
    std::stable_sort(first,
                     rows.begin() + static_cast<int64_t>(std::min(begin + window, rows.size())),
                     [&](int64_t a, int64_t b) {
                       return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
                     });
  }
  return rows;
}

}  // namespace

int64_t epoch_rows(const std::vector<int64_t>& lengths, const BatchOptions& options) {
  return options.parts ? options.parts->rows : static_cast<int64_t>(lengths.size());
}

std::vector<Batch> plan_epoch(const std::vector<int64_t>& lengths, const BatchOptions& options,
                              int64_t epoch) {
  const RandomKey key = options.key.with("epoch").with(static_cast<uint64_t>(epoch));
  std::vector<Batch> batches;
  int64_t tokens = 0;
  for (const int64_t row : ordered_rows(lengths, options, key, epoch)) {
    const int64_t length = lengths[static_cast<size_t>(row)];
    const bool is_full =
        options.token_budget > 0
            ? tokens + length > options.token_budget
            : !batches.empty() && static_cast<int64_t>(batches.back().size()) == options.batch_size;
    if (batches.empty() || is_full) {
      batches.emplace_back();
      tokens = 0;
    }
    batches.back().push_back(row);
    tokens += length;
  }
  if (options.order != Order::kLength) return batches;
  std::vector<Batch> mixed;
  for (const int64_t i : permutation(static_cast<int64_t>(batches.size()), key.with("batches")))
    mixed.push_back(std::move(batches[static_cast<size_t>(i)]));
  return mixed;
}

}  // namespace graft
