// Dropout draws for a row: 16 bits a column from Philox4x32-10, sixteen counters side by side so
// that the rounds run in vector registers. Internal to src/tensor.
//
// Column c of a row takes lane c % 16, word (c / 16) % 4 and half (c / 64) % 2 of the sixteen
// blocks of group c / 128: a draw depends on the key, the row's name and the column alone, and no
// lanes need to be moved.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "base/random.h"
#include "tensor/rows.h"
#include "tensor/simd.h"

namespace graft {

inline constexpr int64_t kDrawGroup = 128;  // columns made by one call of draw_group

// Which counter of the stream `key` a row starts at.
struct RowName {
  uint64_t high = 0;  // example, or example and head
  uint32_t position = 0;
};

inline RowName row_name(int64_t example, int64_t position) {
  return {static_cast<uint64_t>(example), static_cast<uint32_t>(position)};
}

// Heads are counted below 2^16, examples below 2^48.
inline RowName row_name(int64_t example, int64_t head, int64_t position) {
  return {(static_cast<uint64_t>(example) << 16) ^ static_cast<uint64_t>(head),
          static_cast<uint32_t>(position)};
}

// Eight 64-bit lanes whose low halves are 32-bit words; the high halves hold whatever the last
// product left there.
using WideWords = uint64_t __attribute__((vector_size(64)));
using Draws = uint16_t __attribute__((vector_size(16)));

// The 64-bit products of the low halves.
inline WideWords low_products(WideWords x, uint64_t factor) {
#if defined(__AVX512F__)
  // The masked form, all lanes on: g++ 12 warns of the undefined operand inside the plain one.
  const auto factors = reinterpret_cast<__m512i>(WideWords{} + factor);
  return reinterpret_cast<WideWords>(
      _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(x), factors));
#else
  return (x & 0xFFFFFFFFu) * factor;
#endif
}

// The 128 draws of columns [128 group, 128 group + 128).
inline void draw_group(RandomKey key, RowName row, uint32_t group, uint16_t* draws) {
  const WideWords lane = {0, 1, 2, 3, 4, 5, 6, 7};
  const uint64_t name = row.high ^ key.counter();
  WideWords c[2][4];
  for (uint64_t half = 0; half < 2; ++half) {
    c[half][0] = lane + (uint64_t{group} * 16 + half * 8);
    c[half][1] = WideWords{} + row.position;
    c[half][2] = WideWords{} + (name & 0xFFFFFFFFu);
    c[half][3] = WideWords{} + (name >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(key.value), k1 = static_cast<uint32_t>(key.value >> 32);
  for (int round = 0; round < 10; ++round) {
    for (auto& words : c) {
      const WideWords p0 = low_products(words[0], 0xD2511F53),
                      p1 = low_products(words[2], 0xCD9E8D57);
      words[0] = (p1 >> 32) ^ words[1] ^ uint64_t { k0 };
      words[2] = (p0 >> 32) ^ words[3] ^ uint64_t { k1 };
      words[1] = p1;
      words[3] = p0;
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int word = 0; word < 4; ++word) {
    for (int half = 0; half < 2; ++half) {
      const Draws low = __builtin_convertvector(c[half][word] & 0xFFFFu, Draws);
      const Draws high = __builtin_convertvector((c[half][word] >> 16) & 0xFFFFu, Draws);
      std::memcpy(draws + word * 16 + half * 8, &low, sizeof low);
      std::memcpy(draws + 64 + word * 16 + half * 8, &high, sizeof high);
    }
  }
}

// A probability as a threshold: a draw below it drops. The kept values are scaled by the exact
// inverse of the kept share.
struct DropRate {
  uint32_t threshold = 0;
  double scale = 1.0;

  explicit DropRate(double probability) {
    ensure(probability >= 0.0 && probability < 1.0, "dropout: the probability must be in [0, 1)");
    threshold = static_cast<uint32_t>(std::lround(probability * 65536.0));
    ensure(threshold < 65536, "dropout: the probability rounds to 1 (in units of 1/65536)");
    scale = 65536.0 / static_cast<double>(65536 - threshold);
  }
  bool active() const { return threshold > 0; }
};

// Whether any lane drops out. Throws InternalError for a probability that is none.
inline bool is_active(const LaneDropouts& lanes) {
  return std::any_of(lanes.begin(), lanes.end(),
                     [](const LaneDropout& lane) { return DropRate(lane.probability).active(); });
}

// Values that fill_mask writes for a row of `columns`: whole chunks.
inline int64_t mask_room(int64_t columns) {
  return (columns + simd::kLanes - 1) / simd::kLanes * simd::kLanes;
}

inline void mask_of_draws(const uint16_t* draws, DropRate rate, float* row) {
  simd::Halves halves;
  std::memcpy(&halves, draws, sizeof halves);
  const simd::Ints values = __builtin_convertvector(halves, simd::Ints);
  simd::store(row, values < static_cast<int32_t>(rate.threshold)
                       ? simd::Floats{}
                       : simd::splat(static_cast<float>(rate.scale)));
}

inline void mask_of_draws(const uint16_t* draws, DropRate rate, double* row) {
  for (int64_t i = 0; i < simd::kLanes; ++i) row[i] = draws[i] < rate.threshold ? 0.0 : rate.scale;
}

// row[c - first] = scale if column c is kept, else 0, for mask_room(columns) columns from `first`
// on, which is a multiple of simd::kLanes.
template <class A>
void fill_mask(RandomKey key, RowName name, DropRate rate, int64_t first, int64_t columns, A* row) {
  uint16_t draws[kDrawGroup];
  const int64_t end = first + columns;
  for (int64_t start = first / kDrawGroup * kDrawGroup; start < end; start += kDrawGroup) {
    draw_group(key, name, static_cast<uint32_t>(start / kDrawGroup), draws);
    const int64_t from = std::max(first - start, int64_t{0}),
                  to = std::min(end - start, kDrawGroup);
    for (int64_t c = from; c < to; c += simd::kLanes)
      mask_of_draws(draws + c, rate, row + (start + c - first));
  }
}

}  // namespace graft
