// Sixteen float32 lanes in the vector extension that g++ and clang share, and the few functions the
// kernels need over them. Written once for every processor: the compiler splits a vector where
// registers are narrower. Internal to src/tensor.
#pragma once

#include <c10/util/BFloat16.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

// Where AVX-512 has one instruction and g++ 12 makes several, the instruction is called by name, in
// its form with a mask of all lanes: of the plain forms g++ 12 warns that they read what is not
// initialised.
//
// All functions must be inlined: a vector that passes through a call costs more than most of them.
namespace graft::simd {

inline constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32)));

[[gnu::always_inline]] inline Floats splat(float x) { return Floats{} + x; }

// Loads and stores take 16 values, or the first `count` of them when a count is given (the other
// lanes are zero).
[[gnu::always_inline]] inline Floats load(const float* from) {
  Floats x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

[[gnu::always_inline]] inline Floats load(const c10::BFloat16* from) {
  Halves half;
  std::memcpy(&half, from, sizeof half);
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(
      reinterpret_cast<Words>(_mm512_maskz_cvtepu16_epi32(0xFFFF, reinterpret_cast<__m256i>(half)))
      << 16);
#else
  return reinterpret_cast<Floats>(__builtin_convertvector(half, Words) << 16);
#endif
}

[[gnu::always_inline]] inline void store(float* to, Floats x) { std::memcpy(to, &x, sizeof x); }

// Rounds to nearest, ties to even, as c10::BFloat16 does; a NaN stays one. The processor's own
// instruction, where there is one, does the same in one step instead of nine, but for values below
// the smallest normal float32 (1.2e-38): it makes them zero.
[[gnu::always_inline]] inline void store(c10::BFloat16* to, Floats x) {
#if defined(__AVX512BF16__)
  const auto half = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
#else
  const Words bits = reinterpret_cast<Words>(x);
  const Words rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const Words word = (x == x) ? rounded : (Words{} + 0x7FC0u);
  const Halves half = __builtin_convertvector(word, Halves);
#endif
  std::memcpy(to, &half, sizeof half);
}

template <class T>
[[gnu::always_inline]] inline Floats load(const T* from, int64_t count) {
  T buffer[kLanes] = {};
  std::memcpy(static_cast<void*>(buffer), from, static_cast<size_t>(count) * sizeof(T));
  return load(buffer);
}

template <class T>
[[gnu::always_inline]] inline void store(T* to, Floats x, int64_t count) {
  T buffer[kLanes];
  store(buffer, x);
  std::memcpy(static_cast<void*>(to), buffer, static_cast<size_t>(count) * sizeof(T));
}

[[gnu::always_inline]] inline Floats magnitude(Floats x) {
  return reinterpret_cast<Floats>(reinterpret_cast<Words>(x) & 0x7FFFFFFFu);
}

// a > b ? a : b, and so b where one of them is no number; one instruction where there is AVX-512.
[[gnu::always_inline]] inline Floats max(Floats a, Floats b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(
      _mm512_maskz_max_ps(0xFFFF, reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return a > b ? a : b;
#endif
}

[[gnu::always_inline]] inline Floats min(Floats a, Floats b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(
      _mm512_maskz_min_ps(0xFFFF, reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return a < b ? a : b;
#endif
}

// f over all lanes, in halves.
template <class F>
[[gnu::always_inline]] inline float reduce(Floats x, F f) {
  using Eight = float __attribute__((vector_size(32)));
  using Four = float __attribute__((vector_size(16)));
  Eight eight[2];
  std::memcpy(eight, &x, sizeof x);
  const Eight both = f(eight[0], eight[1]);
  Four four[2];
  std::memcpy(four, &both, sizeof both);
  const Four last = f(four[0], four[1]);
  return f(f(last[0], last[1]), f(last[2], last[3]));
}

[[gnu::always_inline]] inline float sum(Floats x) {
  return reduce(x, [](auto a, auto b) { return a + b; });
}

[[gnu::always_inline]] inline float largest(Floats x) {
  return reduce(x, [](auto a, auto b) { return a > b ? a : b; });
}

// The transpose of a 16 x 16 square: blocks off the diagonal change places, halving from 8 x 8 to 1
// x 1.
[[gnu::always_inline]] inline void transpose(Floats* rows) {
  const auto exchange = [&](int distance, auto upper, auto lower) {
    for (int i = 0; i < kLanes; ++i) {
      if ((i & distance) != 0) continue;
      const Floats a = rows[i], b = rows[i + distance];
      rows[i] = upper(a, b);
      rows[i + distance] = lower(a, b);
    }
  };
  exchange(
      8,
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22,
                                       23);
      },
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29,
                                       30, 31);
      });
  exchange(
      4,
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26,
                                       27);
      },
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30,
                                       31);
      });
  exchange(
      2,
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28,
                                       29);
      },
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30,
                                       31);
      });
  exchange(
      1,
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14,
                                       30);
      },
      [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15,
                                       31);
      });
}

// e^x to 2e-7 relative: x = n ln 2 + r with |r| <= ln(2)/2, then Taylor to r^7 (remainder below
// 6e-9). Below -87 it is zero, above 88 it stays finite. A NaN stays one.
[[gnu::always_inline]] inline Floats exp(Floats x) {
  const Floats y = min(max(x, splat(-87.0f)), splat(88.0f));
  const Floats magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats n = (y * 1.44269504f + magic) - magic;
  const Floats r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = splat(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Ints scaled = reinterpret_cast<Ints>(p) + (__builtin_convertvector(n, Ints) << 23);
  const Floats result = x < -87.0f ? Floats{} : reinterpret_cast<Floats>(scaled);
  return x == x ? result : x;
}

// The normal distribution: Phi(x) and phi(x). Phi(-|x|) = phi-shaped tail e^(-x^2/2) * t * P(t), t
// = 1/(1 + 0.3 |x|/sqrt 2); P is a fit of degree 8 to erfcx on [0, 10] (relative error 2e-8), so
// Phi keeps relative precision in its left tail: 7e-7 for x > -3, 3e-6 for x > -10, where exp
// rounds its argument.
struct Normal {
  Floats distribution, density;
};

[[gnu::always_inline]] inline Normal normal(Floats x) {
  const Floats t = 1.0f / (1.0f + magnitude(x) * 0.212132034f);  // 0.3 / sqrt 2
  Floats p = splat(-1.295230609e-01f);
  p = p * t + 4.855640486e-01f;
  p = p * t - 5.122800036e-01f;
  p = p * t + 5.477224545e-01f;
  p = p * t - 9.465258672e-02f;
  p = p * t + 2.149269419e-01f;
  p = p * t + 1.483389173e-01f;
  p = p * t + 1.707152668e-01f;
  p = p * t + 1.691880026e-01f;
  const Floats e = exp(-0.5f * x * x);
  const Floats tail = 0.5f * e * t * p;
  return {x < 0.0f ? tail : 1.0f - tail, e * 0.398942280f};
}

[[gnu::always_inline]] inline double exp(double x) {
  return std::exp(x > 700.0 ? 700.0 : x);
}  // finite, as above

}  // namespace graft::simd
