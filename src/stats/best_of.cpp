#include "stats/best_of.h"

#include <algorithm>
#include <cmath>

#include "stats/summary.h"

namespace graft {

std::vector<double> expected_best(std::span<const double> scores) {
  check_values(scores, "expected best");
  std::vector<double> sorted(scores.begin(), scores.end());
  std::sort(sorted.begin(), sorted.end());
  const auto count = static_cast<double>(sorted.size());
  std::vector<double> out;
  for (size_t tries = 1; tries <= sorted.size(); ++tries) {
    // Over the lowest score: equal scores are exactly their own best.
    double gain = 0, below = 0;
    for (size_t i = 0; i < sorted.size(); ++i) {
      const double up_to = std::pow(static_cast<double>(i + 1) / count, static_cast<double>(tries));
      gain += (sorted[i] - sorted.front()) * (up_to - below);
      below = up_to;
    }
    out.push_back(sorted.front() + gain);
  }
  return out;
}

}  // namespace graft
