// Gradients of whole adapters against central differences in float64.
#pragma once

#include <functional>
#include <string>

#include "tensor/named_tensors.h"

namespace graft::testing {

// `loss` reads `tensors` afresh at every call. Each tensor of `gradients` is compared at up to
// `most` of its entries (spread evenly), moved by h = 1e-5: |difference quotient - gradient| /
// max(1, |quotient|) must stay below 1e-6. Returns the largest.
double expect_gradients(const std::function<double()>& loss, NamedTensors& tensors,
                        const NamedTensors& gradients, int64_t most, const std::string& what);

}  // namespace graft::testing
