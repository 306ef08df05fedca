// The logarithm of a sum of exponentials, over one row of logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "tensor/chunk.h"

namespace graft {

// log sum_v exp(z_v). Adds in one order, whatever else runs.
inline double log_sum_exp(std::span<const float> logits) {
  using C = Chunk<float>;
  constexpr int64_t kWays = 4;  // float32 sums side by side: shorter, and independent of each other
  const float* row = logits.data();
  const auto columns = static_cast<int64_t>(logits.size());
  const float shift = *std::max_element(logits.begin(), logits.end());
  C::Value sums[kWays]{};
  int64_t c = 0;
  for (; c + kWays * C::kWidth <= columns; c += kWays * C::kWidth) {
    for (int64_t way = 0; way < kWays; ++way)
      sums[way] += simd::exp(C::load(row + c + way * C::kWidth) - shift);
  }
  double sum = C::sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; c < columns; ++c) sum += std::exp(static_cast<double>(row[c]) - shift);
  return shift + std::log(sum);
}

}  // namespace graft
