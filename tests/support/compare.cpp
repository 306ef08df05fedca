#include "tests/support/compare.h"

#include <ATen/ops/isnan.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace graft::testing {

using at::Tensor;

namespace {

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

std::string place_text(int64_t index, at::IntArrayRef sizes) {
  std::vector<int64_t> place(sizes.size());
  for (size_t d = sizes.size(); d-- > 0;) {
    place[d] = index % sizes[d];
    index /= sizes[d];
  }
  return shape_text(place);
}

}  // namespace

Difference difference_of(const Tensor& found, const Tensor& expected, const Tolerance& tolerance) {
  const Tensor f = found.detach().to(at::kDouble).contiguous(),
               e = expected.detach().to(at::kDouble).contiguous();
  const double* const fs = f.const_data_ptr<double>();
  const double* const es = e.const_data_ptr<double>();
  Difference out;
  out.excess = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < f.numel(); ++i) {
    const double gap = std::abs(fs[i] - es[i]);
    const double excess = std::isfinite(gap)
                              ? gap - tolerance.absolute - tolerance.relative * std::abs(es[i])
                              : std::numeric_limits<double>::infinity();
    out.absolute =
        std::max(out.absolute, std::isfinite(gap) ? gap : std::numeric_limits<double>::infinity());
    if (std::abs(es[i]) >= 1e-6) out.relative = std::max(out.relative, gap / std::abs(es[i]));
    if (excess > out.excess) {
      out.excess = excess;
      out.index = i;
    }
  }
  if (f.numel() == 0) return out;
  out.text = "largest difference " + number_text(out.absolute) + " (relative " +
             number_text(out.relative) + "), worst at " + place_text(out.index, found.sizes()) +
             ": expected " + number_text(es[out.index]) + ", found " + number_text(fs[out.index]);
  return out;
}

void expect_near(const Tensor& found, const Tensor& expected, const Tolerance& tolerance,
                 const std::string& what) {
  ASSERT_TRUE(found.defined()) << what << " is undefined";
  ASSERT_EQ(found.sizes(), expected.sizes()) << what;
  const Difference difference = difference_of(found, expected, tolerance);
  EXPECT_LE(difference.excess, 0.0) << what << ": " << difference.text;
}

void expect_bits(const Tensor& found, const Tensor& expected, const std::string& what) {
  ASSERT_TRUE(found.defined()) << what << " is undefined";
  ASSERT_EQ(found.sizes(), expected.sizes()) << what;
  ASSERT_EQ(found.scalar_type(), expected.scalar_type()) << what;
  EXPECT_TRUE(found.equal(expected)) << what << ": " << difference_of(found, expected).text;
}

void expect_all_near(const NamedTensors& found, const NamedTensors& expected,
                     const Tolerance& tolerance, const std::string& what) {
  std::string report;
  for (const auto& [name, tensor] : expected) {
    const auto it = found.find(name);
    if (it == found.end() || !it->second.defined()) {
      report += "\n  " + name + ": missing";
    } else if (it->second.sizes() != tensor.sizes()) {
      report += "\n  " + name + ": expected " + shape_text(tensor.sizes()) + ", found " +
                shape_text(it->second.sizes());
    } else if (const Difference difference = difference_of(it->second, tensor, tolerance);
               difference.excess > 0) {
      report += "\n  " + name + ": " + difference.text;
    }
  }
  for (const auto& [name, tensor] : found) {
    if (!expected.contains(name)) report += "\n  " + name + ": not expected";
  }
  EXPECT_TRUE(report.empty()) << what << ":" << report;
}

void expect_all_bits(const NamedTensors& found, const NamedTensors& expected,
                     const std::string& what) {
  expect_all_near(found, expected, {0, 0}, what);
  for (const auto& [name, tensor] : expected) {
    const auto it = found.find(name);
    if (it == found.end() || !it->second.defined()) continue;  // told above
    EXPECT_EQ(it->second.scalar_type(), tensor.scalar_type()) << what << ": " << name;
  }
}

double largest_difference(const NamedTensors& found, const NamedTensors& expected) {
  double largest = 0;
  for (const auto& [name, tensor] : expected)
    largest = std::max(largest, difference_of(found.at(name), tensor).absolute);
  return largest;
}

void measured(const std::string& what, double value) {
  if (std::getenv("GRAFT_MEASURE") != nullptr)
    std::printf("measured: %s %.3g\n", what.c_str(), value);
}

}  // namespace graft::testing
