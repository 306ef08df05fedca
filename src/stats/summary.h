// Mean, deviation and Student's interval of a few numbers: the scores of a method over its seeds,
// or the differences of two methods, seed by seed.
//
// Every function of src/stats is equal to SciPy's or statsmodels' (tests/golden/stats), draws its
// random numbers by a key, and throws InputError for a value that is not finite: a score that does
// not exist (a correlation with a constant) has no mean.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace graft {

struct Interval {
  double low = 0, high = 0;

  bool contains(double value) const { return low <= value && value <= high; }
  friend bool operator==(const Interval&, const Interval&) = default;
};

struct Summary {
  int64_t count = 0;
  double mean = 0;
  std::optional<double> deviation;  // of a sample, divisor n - 1; none of one value
};

// Throws InputError: naming `what` and the place of the first value that is not finite, or that
// there is none at all.
void check_values(std::span<const double> values, const char* what);

Summary summarise(std::span<const double> values);

// mean -+ t(n - 1) deviation / sqrt(n). Right where the values are normal, at any count; none of
// one value.
std::optional<Interval> student_interval(std::span<const double> values, double level = 0.95);

}  // namespace graft
