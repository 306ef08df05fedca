// Random numbers: Philox against the published vectors, and the properties of what is derived from
// it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/random.h"

namespace graft::test_random {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers of the Random123 library for philox4x32-10.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox({0}, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({UINT64_MAX}, UINT64_MAX, UINT64_MAX),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // Counter and key from the digits of pi.
  EXPECT_EQ(philox({0x299f31d0a4093822ULL}, 0x85a308d3243f6a88ULL, 0x0370734413198a2eULL),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomKey, EqualPathsGiveEqualKeysAndOthersDiffer) {
  const RandomKey root{7};
  EXPECT_EQ(root.with("dropout").with(3), root.with("dropout").with(3));
  std::set<uint64_t> seen;
  for (uint64_t part = 0; part < 10'000; ++part) seen.insert(root.with(part).value);
  for (const char* part : {"", "a", "b", "ab", "ba"}) seen.insert(root.with(part).value);
  seen.insert(root.with("a").with("b").value);
  seen.insert(root.with("b").with("a").value);
  seen.insert(root.value);
  EXPECT_EQ(seen.size(), 10'008U);
}

TEST(RandomKey, HasStreamsThatItsChildrenKeep) {
  const RandomKey key{7}, second = key.in_stream(1);
  EXPECT_EQ(philox(second, 5, 9), philox(key, 5, 9 | uint64_t{1} << 48));
  EXPECT_EQ(second.with("dropout").with(3), key.with("dropout").with(3).in_stream(1));
  EXPECT_FALSE(second == key);
}

TEST(Random, IsAFunctionOfItsKey) {
  Random a({1}), b({1}), c({2});
  const Words block = philox({1}, 0, 0), next = philox({1}, 1, 0);
  for (const uint32_t word : block) EXPECT_EQ(a.bits(), word);
  EXPECT_EQ(a.bits(), next[0]);
  EXPECT_EQ(b.bits(), block[0]);
  EXPECT_NE(c.bits(), block[0]);
}

TEST(Random, UniformAndNormalHaveTheirMoments) {
  constexpr int kCount = 200'000;
  Random random({42});
  double sum = 0, sum_of_squares = 0, least = 1, most = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = random.uniform();
    least = std::min(least, u);
    most = std::max(most, u);
    sum += u;
    sum_of_squares += u * u;
  }
  EXPECT_GE(least, 0);
  EXPECT_LT(most, 1);
  EXPECT_NEAR(sum / kCount, 0.5, 0.005);
  EXPECT_NEAR(sum_of_squares / kCount, 1.0 / 3, 0.005);
  sum = sum_of_squares = 0;
  double fourth = 0;
  for (int i = 0; i < kCount; ++i) {
    const double z = random.normal();
    sum += z;
    sum_of_squares += z * z;
    fourth += z * z * z * z;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.01);
  EXPECT_NEAR(sum_of_squares / kCount, 1, 0.02);
  EXPECT_NEAR(fourth / kCount, 3, 0.15);
}

TEST(Random, BelowIsUniformAndInRange) {
  constexpr int kCount = 70'000;
  Random random({3});
  std::array<int, 7> counts{};
  for (int i = 0; i < kCount; ++i) ++counts.at(random.below(7));
  for (const int count : counts) EXPECT_NEAR(count, kCount / 7, 500);
  EXPECT_EQ(random.below(1), 0U);
  const uint64_t high = (uint64_t{1} << 63) + 1;  // nearly every second draw is rejected
  for (int i = 0; i < 100; ++i) EXPECT_LT(random.below(high), high);
}

TEST(Permutation, HoldsEveryIndexOnceAndDependsOnItsKey) {
  EXPECT_TRUE(permutation(0, {1}).empty());
  EXPECT_EQ(permutation(1, {1}), std::vector<int64_t>{0});
  const std::vector<int64_t> order = permutation(1000, {1});
  EXPECT_EQ(order, permutation(1000, {1}));
  EXPECT_NE(order, permutation(1000, {2}));
  std::vector<int64_t> sorted = order, all(1000);
  std::sort(sorted.begin(), sorted.end());
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);
  EXPECT_NE(order, all);
}

TEST(Permutation, GivesAllOrdersEquallyOften) {
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t i = 0; i < 6000; ++i) ++counts[permutation(3, RandomKey{5}.with(i))];
  EXPECT_EQ(counts.size(), 6U);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 150);
}

}  // namespace
}  // namespace graft::test_random
