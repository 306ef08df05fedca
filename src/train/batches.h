// Which rows each step of an epoch sees. A pure function of (lengths, settings, seed, epoch): nothing to save for a resume.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"
#include "train/config.h"

namespace graft {

using Batch = std::vector<int64_t>;   // indices of rows

struct BatchOptions {
  int64_t batch_size = 32;      // rows
  int64_t token_budget = 0;     // tokens, when positive; a longer row is a batch of its own
  Order order = Order::kShuffle;
  RandomKey key;                // of the run
};

// Every row exactly once; the last batch may be smaller.
std::vector<Batch> plan_epoch(const std::vector<int64_t>& lengths, const BatchOptions& options, int64_t epoch);

}  // namespace graft
