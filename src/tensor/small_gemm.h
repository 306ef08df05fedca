// Dense products small enough to stay in the caches of one core: an attention head, not a layer.
// Internal to src/tensor.
//
// The idea: B is read in rows of whole chunks (its columns are padded), so one kernel serves every
// shape: for each k, a few chunks of B's row are multiplied by broadcast values of A and added to a
// tile of sums that never leaves the registers. A is read through two strides, so its transpose
// costs nothing; a transposed B is laid out first by `transpose`.
#pragma once

#include <cstdint>

#include "tensor/chunk.h"

namespace graft {

inline constexpr int64_t kPad = simd::kLanes;  // columns are padded to multiples of this
inline int64_t padded(int64_t columns) { return (columns + kPad - 1) / kPad * kPad; }

// Rows of a matrix with dense columns.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;
  T* row(int64_t i) const { return data + i * stride; }
  Rows from(int64_t i) const { return {row(i), stride}; }
  operator Rows<const T>() const { return {data, stride}; }
};

// A in a product: element (i, k) lies at data[i * row + k * column].
template <class A>
struct Factor {
  const A* data;
  int64_t row, column;
};

namespace small_gemm {

template <class A, int kRows, int kChunks>
void tile(int64_t depth, const A* a, int64_t a_row, int64_t a_column, const A* b, int64_t b_row,
          A* c, int64_t c_row, bool adds) {
  using C = Chunk<A>;
  typename C::Value sums[kRows][kChunks];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kChunks; ++j)
      sums[i][j] = adds ? C::load(c + i * c_row + j * C::kWidth) : typename C::Value{};
  }
  for (int64_t k = 0; k < depth; ++k, a += a_column, b += b_row) {
    typename C::Value row[kChunks];
    for (int j = 0; j < kChunks; ++j) row[j] = C::load(b + j * C::kWidth);
    for (int i = 0; i < kRows; ++i) {
      const A x = a[i * a_row];
      for (int j = 0; j < kChunks; ++j) sums[i][j] += row[j] * x;
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kChunks; ++j) C::store(c + i * c_row + j * C::kWidth, sums[i][j]);
  }
}

template <class A, int kChunks>
void column_of_tiles(int64_t rows, int64_t depth, Factor<A> a, const A* b, int64_t b_row, A* c,
                     int64_t c_row, bool adds) {
  constexpr int kTall =
      kChunks > 2 ? 6 : 12;  // 24 sums, the row of B and a broadcast fit 32 registers
  int64_t i = 0;
  const auto run = [&]<int kRows>(std::integral_constant<int, kRows>) {
    for (; i + kRows <= rows; i += kRows) {
      tile<A, kRows, kChunks>(depth, a.data + i * a.row, a.row, a.column, b, b_row, c + i * c_row,
                              c_row, adds);
    }
  };
  run(std::integral_constant<int, kTall>());
  if constexpr (kTall > 6) run(std::integral_constant<int, 6>());
  run(std::integral_constant<int, 4>());
  run(std::integral_constant<int, 2>());
  run(std::integral_constant<int, 1>());
}

}  // namespace small_gemm

// C = A B, or C += A B with `adds`: A is [rows, depth], B [depth, columns], C [rows, columns].
// columns is a multiple of kPad.
template <class A>
void multiply(int64_t rows, int64_t columns, int64_t depth, Factor<A> a, Rows<const A> b, Rows<A> c,
              bool adds = false) {
  constexpr int64_t width = Chunk<A>::kWidth;
  int64_t j = 0;
  for (; j + 4 * width <= columns; j += 4 * width) {
    small_gemm::column_of_tiles<A, 4>(rows, depth, a, b.data + j, b.stride, c.data + j, c.stride,
                                      adds);
  }
  for (; j + 2 * width <= columns; j += 2 * width) {
    small_gemm::column_of_tiles<A, 2>(rows, depth, a, b.data + j, b.stride, c.data + j, c.stride,
                                      adds);
  }
  for (; j < columns; j += width) {
    small_gemm::column_of_tiles<A, 1>(rows, depth, a, b.data + j, b.stride, c.data + j, c.stride,
                                      adds);
  }
}

// to [padded(columns), padded(rows)] = the transpose of from [rows, columns], with zeros in the
// padding. The first padded(columns) values of each row of `from` must be readable.
inline void transpose(Rows<const double> from, int64_t rows, int64_t columns, Rows<double> to) {
  for (int64_t c = 0; c < padded(columns); ++c) {
    for (int64_t r = 0; r < padded(rows); ++r)
      to.row(c)[r] = r < rows && c < columns ? from.row(r)[c] : 0.0;
  }
}

inline void transpose(Rows<const float> from, int64_t rows, int64_t columns, Rows<float> to) {
  for (int64_t c = 0; c < columns; c += kPad) {
    for (int64_t r = 0; r < rows; r += kPad) {
      simd::Floats square[kPad];
      for (int64_t i = 0; i < kPad; ++i)
        square[i] = r + i < rows ? simd::load(from.row(r + i) + c) : simd::Floats{};
      simd::transpose(square);
      for (int64_t i = 0; i < kPad; ++i)
        simd::store(to.row(c + i) + r, c + i < columns ? square[i] : simd::Floats{});
    }
  }
}

}  // namespace graft
