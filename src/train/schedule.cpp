#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace graft {

double rate_factor(Schedule schedule, int64_t step, int64_t warmup_steps, int64_t total_steps) {
  if (step < warmup_steps) return static_cast<double>(step) / static_cast<double>(warmup_steps);
  const double span = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  const double done = std::min(1.0, static_cast<double>(step - warmup_steps) / span);
  switch (schedule) {
    case Schedule::kLinear: return 1.0 - done;
    case Schedule::kCosine: return 0.5 * (1.0 + std::cos(std::numbers::pi * done));
    case Schedule::kConstant: return 1.0;
  }
  return 1.0;
}

int64_t warmup_steps(const Warmup& warmup, int64_t total_steps) {
  if (warmup.share > 0)
    return static_cast<int64_t>(std::ceil(warmup.share * static_cast<double>(total_steps)));
  return warmup.steps;
}

}  // namespace graft
