// One way to write a kernel over rows for float32, bfloat16 and float64: a chunk is sixteen float32
// lanes, or one double. Internal to src/tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/error.h"
#include "tensor/simd.h"

namespace graft {

// Calls f with a null pointer of the scalar type: f(static_cast<float*>(nullptr)), ...
template <class F>
void with_scalar(at::ScalarType type, F f) {
  switch (type) {
    case at::kFloat: return f(static_cast<float*>(nullptr));
    case at::kBFloat16: return f(static_cast<c10::BFloat16*>(nullptr));
    case at::kDouble: return f(static_cast<double*>(nullptr));
    default: throw InternalError("kernels of src/tensor: expected float64, float32 or bfloat16");
  }
}

// The type that sums and statistics run in.
inline at::ScalarType accumulator_type(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

// The values of a tensor that may be undefined: then null.
template <class T>
const T* const_data(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr<T>() : nullptr;
}
template <class T>
T* data(const at::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr<T>() : nullptr;
}

// A matrix whose rows may lie anywhere, but whose columns lie side by side: x, or a copy.
inline at::Tensor dense_columns(const at::Tensor& x) {
  return x.stride(1) == 1 || x.size(1) <= 1 ? x : x.contiguous();
}

// Says that a chunk lies inside its row. Code for the end of a row takes a count instead; lanes
// past it load as zero.
struct Full {};

template <class T>
struct Chunk {
  using Accumulator = float;
  using Value = simd::Floats;
  static constexpr int64_t kWidth = simd::kLanes;
  [[gnu::always_inline]] static Value load(const T* from, Full = {}) { return simd::load(from); }
  [[gnu::always_inline]] static Value load(const T* from, int64_t count) {
    return simd::load(from, count);
  }
  [[gnu::always_inline]] static void store(T* to, Value x, Full = {}) { simd::store(to, x); }
  [[gnu::always_inline]] static void store(T* to, Value x, int64_t count) {
    simd::store(to, x, count);
  }
  [[gnu::always_inline]] static Value max(Value a, Value b) { return simd::max(a, b); }
  [[gnu::always_inline]] static float sum(Value x) { return simd::sum(x); }
  [[gnu::always_inline]] static float largest(Value x) { return simd::largest(x); }
};

template <>
struct Chunk<double> {
  using Accumulator = double;
  using Value = double;
  static constexpr int64_t kWidth = 1;
  [[gnu::always_inline]] static double load(const double* from, Full = {}) { return *from; }
  [[gnu::always_inline]] static double load(const double* from, int64_t) { return *from; }
  [[gnu::always_inline]] static void store(double* to, double x, Full = {}) { *to = x; }
  [[gnu::always_inline]] static void store(double* to, double x, int64_t) { *to = x; }
  [[gnu::always_inline]] static double max(double a, double b) { return a > b ? a : b; }
  [[gnu::always_inline]] static double sum(double x) { return x; }
  [[gnu::always_inline]] static double largest(double x) { return x; }
};

// f(c, Full()) for the whole chunks of a row of `columns` values, then f(c, count) for what is
// left: two instances of f, so that the first has no branches. Always inline: a row is short, and f
// would fetch all that it captures anew for each.
template <class T, class F>
[[gnu::always_inline]] inline void for_chunks(int64_t columns, F f) {
  constexpr int64_t width = Chunk<T>::kWidth;
  int64_t c = 0;
  for (; c + width <= columns; c += width) f(c, Full());
  if constexpr (width > 1) {
    if (c < columns) f(c, columns - c);
  }
}

}  // namespace graft
