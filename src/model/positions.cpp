#include "model/positions.h"

#include <ATen/ops/cos.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace graft {

namespace {

// How llama3 stretches one frequency.
double stretched(double frequency, const RotaryScaling& scaling) {
  const double wavelength = 2.0 * std::numbers::pi / frequency,
               original = static_cast<double>(scaling.original_positions);
  if (wavelength > original / scaling.low_frequency_factor) return frequency / scaling.factor;
  if (wavelength < original / scaling.high_frequency_factor) return frequency;
  const double share = (original / wavelength - scaling.low_frequency_factor) /
                       (scaling.high_frequency_factor - scaling.low_frequency_factor);
  return (1.0 - share) * frequency / scaling.factor + share * frequency;
}

}  // namespace

std::vector<double> rotary_frequencies(const Rotary& rotary, int64_t width) {
  const RotaryScaling& scaling = rotary.scaling;
  std::vector<double> frequencies;
  for (int64_t i = 0; i < width / 2; ++i) {
    double frequency =
        std::pow(rotary.base, -2.0 * static_cast<double>(i) / static_cast<double>(width));
    if (scaling.kind == "linear") frequency /= scaling.factor;
    if (scaling.kind == "llama3") frequency = stretched(frequency, scaling);
    frequencies.push_back(frequency);
  }
  return frequencies;
}

RotaryTable rotary_table(const std::vector<double>& frequencies, const at::Tensor& positions,
                         at::ScalarType dtype) {
  const at::ScalarType kept = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor angles =
      at::outer(positions.to(at::kDouble), at::tensor(frequencies, at::kDouble));  // [T, D/2]
  return {angles.cos().to(kept), angles.sin().to(kept)};
}

at::Tensor distance_buckets(const DistanceBias& bias, bool is_causal, int64_t range) {
  const int64_t side = is_causal ? bias.buckets : bias.buckets / 2, exact = side / 2;
  // In float32, as the released code: a distance on the edge of two buckets falls where rounding
  // puts it.
  const auto span = static_cast<float>(
      std::log(static_cast<double>(bias.max_distance) / static_cast<double>(exact)));
  const auto bucket = [&](int64_t distance) {
    if (distance < exact) return distance;
    const float place = std::log(static_cast<float>(distance) / static_cast<float>(exact)) / span *
                        static_cast<float>(side - exact);
    return std::min(exact + static_cast<int64_t>(place), side - 1);
  };
  std::vector<int64_t> buckets;
  for (int64_t offset = 1 - range; offset < range; ++offset) {
    if (is_causal) buckets.push_back(bucket(std::max<int64_t>(0, -offset)));
    else buckets.push_back(bucket(std::abs(offset)) + (offset > 0 ? side : 0));
  }
  return at::tensor(buckets, at::kLong);
}

}  // namespace graft
