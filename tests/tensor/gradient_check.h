// What the tests of the kernels share: gradients against central differences in float64, and
// refusals of wrong calls.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/support/testing.h"

namespace graft {

// Fails unless `f` throws InternalError with just this message.
inline void expect_refused(const std::function<void()>& f, const std::string& message) {
  const std::string found = testing::message_of<InternalError>(f);
  EXPECT_EQ(found.substr(0, found.rfind(" (tensor/")), message);
}

using TensorFunction = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

// Weights for a scalar made of `shape`, so that every output value counts differently.
inline at::Tensor probe(at::IntArrayRef shape) {
  int64_t count = 1;
  for (const int64_t each : shape) count *= each;
  return (at::arange(count, at::kDouble) * 0.7).sin().add(0.3).view(shape);
}

// Inputs are float64 leaves; undefined ones and integers are passed on. Every entry of every input
// that requires a gradient is moved by h = 1e-5; the error relative to max(1, |gradient|) must stay
// below 1e-6.
inline void expect_gradients(const TensorFunction& f, const std::vector<at::Tensor>& inputs) {
  std::vector<at::Tensor> leaves, wanted;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(
        input.defined() ? input.detach().clone().set_requires_grad(input.requires_grad()) : input);
    if (input.defined() && input.requires_grad()) wanted.push_back(leaves.back());
  }
  const at::Tensor out = f(leaves);
  const at::Tensor weights = probe(out.sizes());
  const auto grads = torch::autograd::grad({(out * weights).sum()}, wanted);
  const at::NoGradGuard no_grad;
  constexpr double h = 1e-5;
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_TRUE(grads[i].defined()) << "input " << i;
    const at::Tensor grad = grads[i].contiguous();
    double* values = wanted[i].mutable_data_ptr<double>();
    for (int64_t j = 0; j < wanted[i].numel(); ++j) {
      const double kept = values[j];
      values[j] = kept + h;
      const double up = (f(leaves) * weights).sum().item<double>();
      values[j] = kept - h;
      const double down = (f(leaves) * weights).sum().item<double>();
      values[j] = kept;
      const double numeric = (up - down) / (2 * h), analytic = grad.const_data_ptr<double>()[j];
      ASSERT_LE(std::abs(numeric - analytic) / std::max(1.0, std::abs(numeric)), 1e-6)
          << "input " << i << " entry " << j << ": autograd " << analytic << ", differences "
          << numeric;
    }
  }
}

// Elementwise |a - b| <= absolute + relative * |b|.
inline void expect_close(const at::Tensor& a, const at::Tensor& b, double absolute, double relative,
                         const std::string& what = "") {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  const at::Tensor excess = (x - y).abs() - absolute - relative * y.abs();
  if (x.numel() == 0) return;
  EXPECT_LE(excess.max().item<double>(), 0.0)
      << what << ": largest difference " << (x - y).abs().max().item<double>() << ", largest value "
      << y.abs().max().item<double>();
  EXPECT_TRUE(x.isfinite().all().item<bool>()) << what;
}

inline void expect_same_bits(const at::Tensor& a, const at::Tensor& b,
                             const std::string& what = "") {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  EXPECT_TRUE(a.equal(b)) << what << ": largest difference "
                          << (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

inline at::Tensor leaf(const at::Tensor& x) { return x.detach().clone().set_requires_grad(true); }

}  // namespace graft
