// Vectors of sixteen float32 lanes: what they store as bfloat16.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tensor/simd.h"

namespace graft::test_simd {
namespace {

constexpr float kSmallestNormal = std::numeric_limits<float>::min();

// All upper halves that a float32 can have, each with lower halves around the point where rounding
// turns.
TEST(Simd, BFloat16IsRoundedAsTorchRoundsIt) {
  int64_t compared = 0;
  for (uint32_t upper = 0; upper < 0x10000; ++upper) {
    simd::Floats x{};
    const uint32_t lower[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
    for (int i = 0; i < 6; ++i) {
      const uint32_t bits = upper << 16 | lower[i];
      std::memcpy(reinterpret_cast<char*>(&x) + 4 * i, &bits, 4);
    }
    c10::BFloat16 stored[simd::kLanes];
    simd::store(stored, x);
    for (int i = 0; i < 6; ++i) {
      const float value = x[i];
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(static_cast<float>(stored[i])))
            << std::hex << upper << " " << lower[i];
      } else if (std::fabs(value) >= kSmallestNormal) {
        EXPECT_EQ(stored[i].x, c10::BFloat16(value).x) << std::hex << upper << " " << lower[i];
        ++compared;
      } else {
        EXPECT_LE(std::fabs(static_cast<float>(stored[i])), kSmallestNormal)
            << std::hex << upper << " " << lower[i];
      }
    }
  }
  EXPECT_EQ(compared,
            6 * 2 * 254 * 128 + 2);  // lower halves, signs, exponents of normal values, bits above
                                     // the cut; two infinities
}

// exp leans on what comes out of a comparison with a NaN.
TEST(Simd, MaxAndMinGiveTheSecondWhereOneIsNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const simd::Floats a = {nan, 1, 2, -0.5f}, b = {3, nan, 1, 4};
  EXPECT_EQ(simd::max(a, b)[0], 3);
  EXPECT_TRUE(std::isnan(simd::max(a, b)[1]));
  EXPECT_EQ(simd::max(a, b)[2], 2);
  EXPECT_EQ(simd::min(a, b)[0], 3);
  EXPECT_TRUE(std::isnan(simd::min(a, b)[1]));
  EXPECT_EQ(simd::min(a, b)[3], -0.5f);
  EXPECT_EQ(simd::magnitude(a)[3], 0.5f);
}

}  // namespace
}  // namespace graft::test_simd
