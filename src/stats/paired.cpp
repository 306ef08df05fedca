#include "stats/paired.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "stats/summary.h"

namespace graft {

namespace {

constexpr double kSumRounding = 1e-12;
constexpr int64_t kMostPairs = 1'000'000;
constexpr int64_t kMostSteppedPairs = 50;  // with more the steps of p are of no account

// How many choices of the signs behind `index` bring the sum to `bound` or beyond.
int64_t count_far(std::span<const double> sizes, size_t index, double sum, double bound) {
  if (index == sizes.size()) return std::abs(sum) >= bound ? 1 : 0;
  return count_far(sizes, index + 1, sum + sizes[index], bound) +
         count_far(sizes, index + 1, sum - sizes[index], bound);
}

// The largest p below alpha that so many signs can give: multiples of 2 / 2^n.
double reached_level(double alpha, int64_t pairs) {
  if (pairs > kMostSteppedPairs) return alpha;
  const double choices = std::ldexp(1, static_cast<int>(pairs) - 1);
  return (std::ceil(alpha * choices) - 1) / choices;
}

// Of Student's two-sided paired test.
double power_of(double effect, int64_t pairs, double alpha) {
  const auto n = static_cast<double>(pairs);
  const double bound = quantile(boost::math::students_t(n - 1), 1 - alpha / 2);
  const boost::math::non_central_t shifted(n - 1, effect * std::sqrt(n));
  return cdf(complement(shifted, bound)) + cdf(shifted, -bound);
}

}  // namespace

SignFlips sign_flip_test(std::span<const double> differences, RandomKey key, int64_t flips) {
  check_values(differences, "sign-flip test");
  double found = 0, most = 0;
  for (const double d : differences) {
    found += d;
    most += std::abs(d);
  }
  const double bound = std::abs(found) - kSumRounding * most;  // other orders round otherwise
  if (static_cast<int64_t>(differences.size()) <= kMostFlipped) {
    // A choice and its opposite are as far: the first sign stays.
    const int64_t far = count_far(differences.subspan(1), 0, differences.front(), bound);
    return {std::ldexp(static_cast<double>(far), 1 - static_cast<int>(differences.size())), true};
  }
  Random random(key);
  int64_t far = 0;
  for (int64_t i = 0; i < flips; ++i) {
    double sum = 0;
    uint32_t bits = 0;
    for (size_t k = 0; k < differences.size(); ++k, bits >>= 1) {
      if (k % 32 == 0) bits = random.bits();
      sum += (bits & 1) != 0 ? differences[k] : -differences[k];
    }
    if (std::abs(sum) >= bound) ++far;
  }
  return {static_cast<double>(far + 1) / static_cast<double>(flips + 1), false};
}

std::vector<double> holm(std::span<const double> p_values) {
  for (const double p : p_values) {
    if (!(p >= 0 && p <= 1))
      throw InputError("Holm's correction: expected p values from 0 to 1, found " +
                       std::to_string(p));
  }
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> out(p_values.size());
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, static_cast<double>(order.size() - i) * p_values[order[i]]);
    out[order[i]] = std::min(1.0, largest);
  }
  return out;
}

McNemar mcnemar(int64_t only_first, int64_t only_second) {
  ensure(only_first >= 0 && only_second >= 0, "mcnemar: counts of rows are not negative");
  McNemar out{only_first, only_second};
  const auto differing = static_cast<double>(only_first + only_second);
  if (only_first == only_second) return out;
  const boost::math::binomial coins(differing, 0.5);
  const auto fewer = static_cast<double>(std::min(only_first, only_second));
  out.exact_p = std::min(1.0, 2 * cdf(coins, fewer));
  const double excess = std::abs(static_cast<double>(only_first - only_second)) - 1;
  out.chi_square = excess * excess / differing;
  out.chi_square_p = cdf(complement(boost::math::chi_squared(1), out.chi_square));
  return out;
}

int64_t fewest_pairs(double alpha) {
  ensure(alpha > 0 && alpha < 1, "fewest_pairs: alpha lies between 0 and 1");
  int64_t pairs = 1;
  for (double p = 1; p >= alpha; p /= 2) ++pairs;
  return pairs;
}

std::optional<int64_t> pairs_to_decide(double mean, double deviation, double alpha, double power) {
  ensure(deviation >= 0 && power > 0 && power < 1, "pairs_to_decide: a deviation and a power");
  const int64_t fewest = fewest_pairs(alpha);
  if (mean == 0) return std::nullopt;
  if (deviation == 0) return fewest;
  const double effect = std::abs(mean) / deviation;
  const auto is_enough = [&](int64_t pairs) {
    // Beyond this nothing is missing, and the distribution's series would not end.
    const bool is_plain = effect * std::sqrt(static_cast<double>(pairs)) > 37;
    return is_plain || power_of(effect, pairs, reached_level(alpha, pairs)) >= power;
  };
  for (int64_t pairs = fewest; pairs <= kMostSteppedPairs; ++pairs) {
    if (is_enough(pairs)) return pairs;
  }
  int64_t low = kMostSteppedPairs, high = 2 * low;  // the answer lies in (low, high]
  for (; !is_enough(high); high *= 2) {
    if (high > kMostPairs) return std::nullopt;
    low = high;
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (is_enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace graft
