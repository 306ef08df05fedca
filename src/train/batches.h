// Which rows each step of an epoch sees. A pure function of (lengths, settings, seed, epoch):
// nothing to save for a resume.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/random.h"
#include "train/config.h"

namespace graft {

using Batch = std::vector<int64_t>;  // indices of rows

// The parts of a mixture, whose rows stand end to end: how many rows each has, and how often it is
// drawn (data/mixture.h).
struct DrawnParts {
  std::vector<int64_t> sizes;
  std::vector<double> rates;
  int64_t rows = 0;  // how many are drawn for an epoch
};

struct BatchOptions {
  int64_t batch_size = 32;   // rows
  int64_t token_budget = 0;  // tokens, if positive; a longer row is a batch of its own
  Order order = Order::kShuffle;
  RandomKey key;                         // that of the run's order
  std::optional<DrawnParts> parts = {};  // the rows are a mixture
};

// The number of rows in an epoch.
int64_t epoch_rows(const std::vector<int64_t>& lengths, const BatchOptions& options);

// The batches of an epoch: every row exactly once, or for a mixture the rows drawn for this epoch.
// The last batch may be smaller.
std::vector<Batch> plan_epoch(const std::vector<int64_t>& lengths, const BatchOptions& options,
                              int64_t epoch);

}  // namespace graft
