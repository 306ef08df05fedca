#include "stats/bootstrap.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace graft {

namespace {

// Sums of the same values in another order differ by rounding, and are one mean.
constexpr double kRounding = 1e-12;

// Every way to draw n of n values, as how often each is drawn; its count is the multinomial
// coefficient.
class Counter {
 public:
  explicit Counter(std::span<const double> values) : values_(values) {
    factorials_.push_back(1);
    for (size_t i = 1; i <= values.size(); ++i)
      factorials_.push_back(factorials_.back() * static_cast<int64_t>(i));
  }

  std::vector<std::pair<double, int64_t>> count() {
    place(0, values_.size(), 0, factorials_.back());
    return std::move(out_);
  }

 private:
  void place(size_t index, size_t left, double sum, int64_t ways) {
    if (index + 1 == values_.size()) {
      sum += static_cast<double>(left) * values_[index];
      out_.emplace_back(sum / static_cast<double>(values_.size()), ways / factorials_[left]);
      return;
    }
    for (size_t times = 0; times <= left; ++times) {
      place(index + 1, left - times, sum + static_cast<double>(times) * values_[index],
            ways / factorials_[times]);
    }
  }

  std::span<const double> values_;
  std::vector<int64_t> factorials_;
  std::vector<std::pair<double, int64_t>> out_;
};

double drawn_mean(std::span<const double> values, Random& random) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += values[random.below(values.size())];
  return sum / static_cast<double>(values.size());
}

// The quantile of the list in which each mean stands as often as its count says.
double quantile_of(const ResampledMeans& means, double share) {
  const double place = share * static_cast<double>(means.total - 1);
  const auto below = static_cast<int64_t>(std::floor(place));
  int64_t seen = 0;
  for (size_t i = 0; i < means.means.size(); ++i) {
    seen += means.counts[i];
    if (below >= seen) continue;
    const double here = means.means[i];
    const bool is_last_of_its_kind = below + 1 == seen && i + 1 < means.means.size();
    const double next = is_last_of_its_kind ? means.means[i + 1] : here;
    return here + (place - static_cast<double>(below)) * (next - here);
  }
  return means.means.back();
}

// Of the resamples, those with a mean below `mean`; an equal one counts half.
double share_below(const ResampledMeans& means, double mean, double scale) {
  double below = 0;
  for (size_t i = 0; i < means.means.size(); ++i) {
    const auto count = static_cast<double>(means.counts[i]);
    if (std::abs(means.means[i] - mean) <= kRounding * scale) below += count / 2;
    else if (means.means[i] < mean) below += count;
  }
  const auto total = static_cast<double>(means.total);
  return std::clamp(below / total, 0.5 / total, 1 - 0.5 / total);  // its quantile is finite
}

}  // namespace

ResampledMeans resample_means(std::span<const double> values, const BootstrapOptions& options) {
  check_values(values, "bootstrap");
  std::vector<std::pair<double, int64_t>> all;
  if (static_cast<int64_t>(values.size()) <= kMostCounted) {
    all = Counter(values).count();
  } else {
    Random random(options.key);
    for (int64_t i = 0; i < options.resamples; ++i) all.emplace_back(drawn_mean(values, random), 1);
  }
  std::sort(all.begin(), all.end());
  ResampledMeans out;
  for (const auto& [mean, count] : all) {
    out.means.push_back(mean);
    out.counts.push_back(count);
    out.total += count;
  }
  return out;
}

std::optional<Interval> bca_interval(std::span<const double> values, const ResampledMeans& means,
                                     double level) {
  const Summary summary = summarise(values);
  if (!summary.deviation) return std::nullopt;
  double squares = 0, cubes = 0, scale = 0;
  for (const double value : values) {
    const double d = value - summary.mean;
    squares += d * d;
    cubes += d * d * d;
    scale = std::max(scale, std::abs(value));
  }
  if (std::sqrt(squares) <= kRounding * scale) return Interval{summary.mean, summary.mean};
  const double acceleration = cubes / (6 * std::pow(squares, 1.5));
  const boost::math::normal normal;
  const double bias = quantile(normal, share_below(means, summary.mean, scale));
  const auto end = [&](double share) {
    const double z = bias + quantile(normal, share);
    return quantile_of(means, cdf(normal, bias + z / (1 - acceleration * z)));
  };
  return Interval{end((1 - level) / 2), end((1 + level) / 2)};
}

std::optional<Interval> bca_interval(std::span<const double> values,
                                     const BootstrapOptions& options) {
  check_values(values, "bootstrap");
  if (values.size() == 1) return std::nullopt;
  return bca_interval(values, resample_means(values, options), options.level);
}

}  // namespace graft
