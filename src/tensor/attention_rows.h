// What packed attention does to one row of logits, and the scratch it works in.
// Internal to src/tensor.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>

#include "tensor/chunk.h"
#include "tensor/small_gemm.h"

namespace graft {

// Uninitialised memory for a matrix of one task.
template <class A>
struct Scratch {
  std::unique_ptr<A[]> data;
  int64_t stride = 0;
  Scratch() = default;
  Scratch(int64_t rows, int64_t columns)
      : data(std::make_unique_for_overwrite<A[]>(
            static_cast<size_t>(std::max<int64_t>(rows * columns, 1)))),
        stride(columns) {}
  Rows<A> rows() const { return {data.get(), stride}; }
  Factor<A> factor() const { return {data.get(), stride, 1}; }
};

// Below add_row, `columns` is a multiple of kPad.

// to += from, over any number of columns.
template <class A>
void add_row(const A* from, A* to, int64_t columns) {
  using C = Chunk<A>;
  for_chunks<A>(columns, [&](int64_t c, auto n) {
    C::store(to + c, C::load(to + c, n) + C::load(from + c, n), n);
  });
}

template <class A>
A largest_of(const A* row, int64_t columns) {
  using C = Chunk<A>;
  typename C::Value largest = C::load(row);
  for (int64_t c = C::kWidth; c < columns; c += C::kWidth)
    largest = C::max(largest, C::load(row + c));
  return C::largest(largest);
}

// row = exp(row - shift); returns the sum.
template <class A>
A exponentiate(A* row, int64_t columns, A shift) {
  using C = Chunk<A>;
  typename C::Value sum{};
  for (int64_t c = 0; c < columns; c += C::kWidth) {
    const typename C::Value x = simd::exp(C::load(row + c) - shift);
    C::store(row + c, x);
    sum += x;
  }
  return C::sum(sum);
}

template <class A>
void apply_mask(A* row, const A* factors, int64_t columns) {
  using C = Chunk<A>;
  for (int64_t c = 0; c < columns; c += C::kWidth)
    C::store(row + c, C::load(row + c) * C::load(factors + c));
}

template <class A>
void scale_row(A* row, int64_t columns, A factor) {
  using C = Chunk<A>;
  for (int64_t c = 0; c < columns; c += C::kWidth) C::store(row + c, C::load(row + c) * factor);
}

// d_logits = p * (d_p - sum(p * d_p)), in place of d_p.
template <class A>
void softmax_backward(const A* p, A* d_p, int64_t columns) {
  using C = Chunk<A>;
  typename C::Value sum{};
  for (int64_t c = 0; c < columns; c += C::kWidth) sum += C::load(p + c) * C::load(d_p + c);
  const A delta = C::sum(sum);
  for (int64_t c = 0; c < columns; c += C::kWidth)
    C::store(d_p + c, C::load(p + c) * (C::load(d_p + c) - delta));
}

// to = factor * from, widened or narrowed.
template <class T, class U, class A>
void copy_rows(Rows<const T> from, Rows<U> to, int64_t count, int64_t columns, A factor) {
  for (int64_t i = 0; i < count; ++i) {
    for_chunks<T>(columns, [&](int64_t c, auto n) {
      Chunk<U>::store(to.row(i) + c, Chunk<T>::load(from.row(i) + c, n) * factor, n);
    });
  }
}

// The same into scratch, whose rows end in zeros up to their stride.
template <class T, class A>
void copy_padded(Rows<const T> from, Rows<A> to, int64_t count, int64_t columns, A factor) {
  copy_rows(from, to, count, columns, factor);
  if (columns == to.stride) return;
  for (int64_t i = 0; i < count; ++i) std::fill(to.row(i) + columns, to.row(i) + to.stride, A{0});
}

}  // namespace graft
