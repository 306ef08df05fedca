#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <cmath>

namespace graft::testing {

double expect_gradients(const std::function<double()>& loss, NamedTensors& tensors,
                        const NamedTensors& gradients, int64_t most, const std::string& what) {
  constexpr double kStep = 1e-5, kBound = 1e-6;
  const at::NoGradGuard no_grad;
  double worst = 0;
  for (const auto& [name, gradient] : gradients) {
    at::Tensor tensor = tensors.at(name).detach();  // shares the storage that `loss` reads
    EXPECT_TRUE(tensor.is_contiguous() && tensor.scalar_type() == at::kDouble) << name;
    double* const values = tensor.mutable_data_ptr<double>();
    const at::Tensor plain = gradient.contiguous();
    const int64_t stride = std::max<int64_t>(1, (tensor.numel() + most - 1) / most);
    for (int64_t i = 0; i < tensor.numel(); i += stride) {
      const double kept = values[i], own = plain.const_data_ptr<double>()[i];
      double quotient = 0, error = 0;
      for (const double step : {kStep, kStep / 100}) {  // a kink may lie within the first
        values[i] = kept + step;
        const double up = loss();
        values[i] = kept - step;
        const double down = loss();
        values[i] = kept;
        quotient = (up - down) / (2 * step);
        error = std::abs(quotient - own) / std::max(1.0, std::abs(quotient));
        if (error <= kBound) break;
      }
      worst = std::max(worst, error);
      if (error <= kBound) continue;
      ADD_FAILURE() << what << ": " << name << " entry " << i << ": autograd " << own
                    << ", differences " << quotient;
      break;
    }
  }
  return worst;
}

}  // namespace graft::testing
