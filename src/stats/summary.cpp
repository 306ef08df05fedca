#include "stats/summary.h"

#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace graft {

void check_values(std::span<const double> values, const char* what) {
  if (values.empty())
    throw InputError(std::string(what) + ": expected at least one value, found none");
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw InputError(std::string(what) + ": value " + std::to_string(i + 1) + " of " +
                     std::to_string(values.size()) + " is " + std::to_string(values[i]) +
                     ", where a finite number is expected");
  }
}

Summary summarise(std::span<const double> values) {
  check_values(values, "mean");
  Summary out;
  out.count = static_cast<int64_t>(values.size());
  const auto n = static_cast<double>(values.size());
  // About the first value: equal values have exactly no deviation.
  double sum = 0, squares = 0;
  for (const double value : values) sum += value - values.front();
  out.mean = values.front() + sum / n;
  if (values.size() == 1) return out;
  for (const double value : values) squares += (value - out.mean) * (value - out.mean);
  out.deviation = std::sqrt(squares / (n - 1));
  return out;
}

std::optional<Interval> student_interval(std::span<const double> values, double level) {
  const Summary summary = summarise(values);
  if (!summary.deviation) return std::nullopt;
  const auto n = static_cast<double>(summary.count);
  const boost::math::students_t student(n - 1);
  const double width = quantile(student, 0.5 + level / 2) * *summary.deviation / std::sqrt(n);
  return Interval{summary.mean - width, summary.mean + width};
}

}  // namespace graft
