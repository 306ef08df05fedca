// Elementwise factors and shifts that are finer than the tensor they act on.
//
// A value of bfloat16 has eight significant bits: its neighbours are 0.4 to 0.8 % away, and a
// factor of 1.003 is itself 1. So factors stay in float32, the product is made there, and it is
// rounded once. Rounded to nearest it would still be lost: y lies on the grid, and y * 1.003 is
// nearer to y than to the next value for a third of all y, y * 1.001 for every y. So the rounding
// is dithered: y' is one of the two neighbours, the upper one with the probability that makes the
// mean right. The draw is a pure function of y's own bits and its column, so that equal rows stay
// equal, and a row depends on no other, on no batch and on no thread. A product that needs no
// rounding (a factor of one) is left as it is.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft {

// What a draw multiplies y's bits and its column by, both odd; the first is 2^32 over the golden
// ratio, which spreads consecutive numbers evenly (Knuth 1973, sec. 6.4).
inline constexpr uint32_t kDitherOfValue = 0x9E3779B1u, kDitherOfColumn = 0x85EBCA77u;

// y' = mul * y + add. y: [T, C], float64, float32 or bfloat16 -> the same. mul: [G], [1, G] or [T,
// G] where G divides C, each number for C/G columns; add: [C], [1, C] or [T, C]; either may be
// undefined. They act in float32 (float64 beside float64), and only for bfloat16 is anything
// rounded. Gradients for whichever of the three require one: those of mul and add are summed in
// float32, in one order whatever the threads; that of y is mul times what comes in, rounded to
// nearest.
at::Tensor scale_and_shift(const at::Tensor& y, const at::Tensor& mul, const at::Tensor& add);

}  // namespace graft
