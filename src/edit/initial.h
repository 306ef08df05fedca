// Small pieces that methods share: initial values drawn from a key, and dropout on the rows of a
// lane.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "base/random.h"
#include "edit/edit.h"
#include "tensor/rows.h"

namespace graft {

// float32, entries uniform in [-bound, bound).
at::Tensor uniform_tensor(const std::vector<int64_t>& shape, double bound, RandomKey key);

// float32, entries normal with mean 0.
at::Tensor normal_tensor(const std::vector<int64_t>& shape, double deviation, RandomKey key);

// float32, entries uniform in [-bound, bound): the numbers `skip`, skip + 1, ... that torch's CPU
// generator draws after manual_seed(seed). For tensors that other software draws by a seed; Graft
// itself draws by keys.
at::Tensor torch_uniform_tensor(const std::vector<int64_t>& shape, double bound, int64_t seed,
                                int64_t skip);

// How tensors start: entries uniform in [-bound, bound), normal with mean 0, or all the same.
Initial uniform(double bound);
Initial normal(double deviation);
Initial zeros();
Initial ones();
// A copy of the trunk's own tensor.
Initial copied(const TensorId& tensor);

// Dropout whose mask is keyed by the examples and positions of the view's rows.
RowDropout rows_of_lane(const SiteView& view, double probability, RandomKey key);

}  // namespace graft
