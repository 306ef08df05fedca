#include "edit/initial.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <random>

namespace graft {

namespace {

template <typename Draw>
at::Tensor filled(const std::vector<int64_t>& shape, RandomKey key, Draw draw) {
  at::Tensor out = at::empty(shape, at::kFloat);
  Random random(key);
  float* values = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) values[i] = static_cast<float>(draw(random));
  return out;
}

}  // namespace

at::Tensor uniform_tensor(const std::vector<int64_t>& shape, double bound, RandomKey key) {
  return filled(shape, key,
                [bound](Random& random) { return bound * (2.0 * random.uniform() - 1.0); });
}

at::Tensor normal_tensor(const std::vector<int64_t>& shape, double deviation, RandomKey key) {
  return filled(shape, key, [deviation](Random& random) { return deviation * random.normal(); });
}

// A Mersenne Twister of 32 bits, whose lower 24 are the fraction.
at::Tensor torch_uniform_tensor(const std::vector<int64_t>& shape, double bound, int64_t seed,
                                int64_t skip) {
  std::mt19937 generator(static_cast<uint32_t>(static_cast<uint64_t>(seed) & 0xFFFFFFFFU));
  generator.discard(static_cast<uint64_t>(skip));
  const auto from = static_cast<float>(-bound), to = static_cast<float>(bound);
  at::Tensor out = at::empty(shape, at::kFloat);
  float* values = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    const auto fraction =
        static_cast<float>(generator() & 0xFFFFFFU) / static_cast<float>(1U << 24U);
    values[i] = std::fma(fraction, to - from, from);  // rounded once, as torch's kernels do
  }
  return out;
}

Initial uniform(double bound) {
  return [bound](const ParamSpec& param, const Weights&, RandomKey key) {
    return uniform_tensor(param.shape, bound, key);
  };
}

Initial normal(double deviation) {
  return [deviation](const ParamSpec& param, const Weights&, RandomKey key) {
    return normal_tensor(param.shape, deviation, key);
  };
}

Initial zeros() {
  return [](const ParamSpec& param, const Weights&, RandomKey) { return at::zeros(param.shape); };
}

Initial ones() {
  return [](const ParamSpec& param, const Weights&, RandomKey) { return at::ones(param.shape); };
}

Initial copied(const TensorId& tensor) {
  return [tensor](const ParamSpec&, const Weights& weights, RandomKey) {
    return weights.base(tensor).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  };
}

RowDropout rows_of_lane(const SiteView& view, double probability, RandomKey key) {
  if (view.lane.num_rows == view.pack.num_rows) return {{{probability, key}}, view.pack.rows};
  return {{{probability, key}},
          slice_rows(*view.pack.rows, view.lane.first_row, view.lane.num_rows)};
}

}  // namespace graft
