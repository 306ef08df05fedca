// Elementwise comparison of tensors, with a report that names each tensor that is off and by how
// much.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "tensor/named_tensors.h"

namespace graft::testing {

// |found - expected| <= absolute + relative * |expected|, for every element.
struct Tolerance {
  double absolute = 1e-5;
  double relative = 1e-4;
};

struct Difference {
  double absolute = 0;  // largest |found - expected|
  double relative = 0;  // largest |found - expected| / |expected| where that is at least 1e-6
  double excess = 0;    // largest violation of the tolerance; 0 or less: none
  int64_t index = 0;    // of the largest violation, in row-major order
  std::string
      text;  // "largest difference 3e-4 (relative 0.2) at [1, 4]: expected 0.5, found 0.5003"
};

// Requires: equal shapes. Not-a-number anywhere is an infinite violation.
Difference difference_of(const at::Tensor& found, const at::Tensor& expected,
                         const Tolerance& tolerance = {});

void expect_near(const at::Tensor& found, const at::Tensor& expected, const Tolerance& tolerance,
                 const std::string& what);
void expect_bits(const at::Tensor& found, const at::Tensor& expected, const std::string& what);
// The same names, and every tensor near; one line a tensor that is off.
void expect_all_near(const NamedTensors& found, const NamedTensors& expected,
                     const Tolerance& tolerance, const std::string& what);
// And of the same dtypes.
void expect_all_bits(const NamedTensors& found, const NamedTensors& expected,
                     const std::string& what);

// The largest |found - expected| of all tensors. Requires: the same names and shapes.
double largest_difference(const NamedTensors& found, const NamedTensors& expected);

// Prints "measured: what value" where GRAFT_MEASURE is set: the bounds in the tests were read off
// these.
void measured(const std::string& what, double value);

}  // namespace graft::testing
