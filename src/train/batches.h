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

// Of several data sets end to end: how many rows each has, and how often it is drawn
// (data/mixture.h).
struct DrawnParts {
  std::vector<int64_t> sizes;
  std::vector<double> rates;
  int64_t rows = 0;  // drawn for an epoch
};

struct BatchOptions {
  int64_t batch_size = 32;   // rows
  int64_t token_budget = 0;  // tokens, when positive; a longer row is a batch of its own
  Order order = Order::kShuffle;
  RandomKey key;                         // of the run
  std::optional<DrawnParts> parts = {};  // the rows are a mixture
};

// Rows of an epoch.
int64_t epoch_rows(const std::vector<int64_t>& lengths, const BatchOptions& options);

// Every row exactly once, of a mixture those drawn for this epoch; the last batch may be smaller.
std::vector<Batch> plan_epoch(const std::vector<int64_t>& lengths, const BatchOptions& options,
                              int64_t epoch);

}  // namespace graft
