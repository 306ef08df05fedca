// Statistics of studies: what is refused, what has no answer, and laws that hold for any values.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "stats/agreement.h"
#include "stats/best_of.h"
#include "stats/bootstrap.h"
#include "stats/paired.h"
#include "stats/ranking.h"
#include "stats/summary.h"
#include "tests/support/testing.h"

namespace graft::test_statistics {
namespace {

using testing::expect_message;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> normals(size_t count, uint64_t seed) {
  Random random(RandomKey{}.with("normals").with(seed));
  std::vector<double> out;
  for (size_t i = 0; i < count; ++i) out.push_back(random.normal());
  return out;
}

TEST(Statistics, OneValueHasAMeanAndNothingElse) {
  const std::vector<double> one = {0.75};
  EXPECT_EQ(summarise(one).mean, 0.75);
  EXPECT_FALSE(summarise(one).deviation);
  EXPECT_FALSE(student_interval(one));
  EXPECT_FALSE(bca_interval(one));
  EXPECT_EQ(sign_flip_test(one, {}).p, 1);
  EXPECT_EQ(expected_best(one), one);
  const std::vector<AverageRank> ranks = average_ranks({{0.2, 0.1}});
  EXPECT_EQ(ranks[0].mean, 1);
  EXPECT_FALSE(ranks[0].interval);
}

TEST(Statistics, NotANumberIsRefused) {
  const std::vector<double> values = {0.5, kNan}, none;
  for (const auto& f : std::vector<std::function<void()>>{
           [&] { summarise(values); }, [&] { student_interval(values); },
           [&] { bca_interval(values); }, [&] { sign_flip_test(values, {}); },
           [&] { expected_best(values); }, [&] { friedman_test({values}); }})
    expect_message<InputError>(f, "value 2 of 2 is nan, where a finite number is expected");
  const std::vector<double> endless = {-std::numeric_limits<double>::infinity()};
  expect_message<InputError>([&] { bca_interval(endless); }, "bootstrap: value 1 of 1 is -inf");
  expect_message<InputError>([&] { summarise(none); }, "expected at least one value, found none");
  expect_message<InputError>([&] { holm(values); }, "expected p values from 0 to 1, found nan");
  expect_message<InputError>([] { friedman_test({}); }, "scores of at least one cell, found none");
  expect_message<InputError>([] { friedman_test({{0.5}}); }, "two methods or more, found one");
  expect_message<InputError>(
      [] {
        average_ranks({{1, 2}, {1}});
      },
      "a score of each of 2 methods in every cell, found 1");
  expect_message<InputError>([] { pairwise_agreement({{1}}); }, "two runs or more, found 1");
  expect_message<InputError>([] { fleiss_kappa({{}, {}}); }, "expected rows, found none");
  expect_message<InputError>([] { fleiss_kappa({{1}, {1, 2}}); }, "the same rows of every run");
}

// The counted resamples are those that drawing n of n values in every order gives.
TEST(Statistics, CountedResamplesAreAllOfThem) {
  const std::vector<double> values = {0, 1, 3};
  const ResampledMeans means = resample_means(values, {});
  EXPECT_EQ(means.total, 27);
  EXPECT_EQ(means.means.front(), 0);
  EXPECT_EQ(means.counts.front(), 1);
  EXPECT_EQ(means.means.back(), 3);
  double sum = 0;
  for (size_t i = 0; i < means.means.size(); ++i)
    sum += means.means[i] * static_cast<double>(means.counts[i]);
  EXPECT_NEAR(sum / 27, 4.0 / 3, 1e-15);
  EXPECT_EQ(resample_means(std::vector<double>(8, 0.5), {}).total, 16777216);  // 8^8
}

TEST(Statistics, DrawsAreAFunctionOfTheKey) {
  const std::vector<double> values = normals(25, 1);
  const auto drawn = [&](uint64_t seed) { return bca_interval(values, {.key = {seed}}); };
  EXPECT_EQ(drawn(1), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
  EXPECT_EQ(sign_flip_test(values, RandomKey{1}).p, sign_flip_test(values, RandomKey{1}).p);
  EXPECT_NE(sign_flip_test(values, RandomKey{1}).p, sign_flip_test(values, RandomKey{2}).p);
}

TEST(Statistics, IntervalsMoveAndStretchWithTheValues) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const std::vector<double> values = normals(2 + seed % 12, seed);
    std::vector<double> moved, turned;
    for (const double v : values) {
      moved.push_back(4 * v + 8);
      turned.push_back(-v);
    }
    const Interval bca = bca_interval(values).value(), student = student_interval(values).value();
    EXPECT_NEAR(bca_interval(moved)->low, 4 * bca.low + 8, 1e-9);
    EXPECT_NEAR(student_interval(moved)->high, 4 * student.high + 8, 1e-9);
    EXPECT_LE(bca.low, bca.high);
    EXPECT_TRUE(student.contains(summarise(values).mean));
    const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
    EXPECT_TRUE(*least <= bca.low && bca.high <= *greatest);
    if (static_cast<int64_t>(values.size()) <= kMostCounted) {  // drawn ones are not turned
      EXPECT_NEAR(bca_interval(turned)->low, -bca.high, 1e-9);
    }
    EXPECT_EQ(sign_flip_test(turned, {}).p, sign_flip_test(values, {}).p);
  }
}

TEST(Statistics, SignFlipsNeedSixPairs) {
  EXPECT_EQ(sign_flip_test(std::vector<double>(5, 0.1), {}).p, 0.0625);
  EXPECT_EQ(sign_flip_test(std::vector<double>(6, 0.1), {}).p, 0.03125);
  EXPECT_EQ(fewest_pairs(0.05), 6);
  EXPECT_EQ(fewest_pairs(0.03125), 7);
  EXPECT_EQ(fewest_pairs(0.05 / 10), 9);
  EXPECT_EQ(fewest_pairs(0.5), 3);
  // Sums of the same numbers in other orders, such as 0.1 + 0.2 + 0.3, are as far.
  EXPECT_EQ(sign_flip_test(std::vector<double>{0.1, 0.2, 0.3}, {}).p, 0.25);
  EXPECT_EQ(sign_flip_test(std::vector<double>{0.3, 0.2, 0.1}, {}).p, 0.25);
  EXPECT_EQ(sign_flip_test(std::vector<double>(4, 0.0), {}).p, 1);
  EXPECT_EQ(sign_flip_test(std::vector<double>(30, 1.0), {}).p, 1e-5);  // no draw is as far
}

// Exact and drawn p of the same values: of 20 one more makes 21, which are drawn; a zero changes
// nothing.
TEST(Statistics, DrawnSignFlipsAreNearTheExactOnes) {
  std::vector<double> values = normals(20, 3);
  for (double& v : values) v += 0.4;
  const SignFlips exact = sign_flip_test(values, {});
  values.push_back(0);
  const SignFlips drawn = sign_flip_test(values, {});
  EXPECT_TRUE(exact.is_exact);
  EXPECT_FALSE(drawn.is_exact);
  EXPECT_NEAR(drawn.p, exact.p, 5 * std::sqrt(exact.p * (1 - exact.p) / 99999));
}

TEST(Statistics, HowManyPairsDecide) {
  EXPECT_EQ(pairs_to_decide(0, 1), std::nullopt);
  EXPECT_EQ(pairs_to_decide(1, 0), 6);
  EXPECT_EQ(pairs_to_decide(1e9, 1), 6);
  EXPECT_EQ(pairs_to_decide(1e-6, 1), std::nullopt);  // eight billions
  // 2.802^2 / effect^2 for a small effect, by the normal distribution, and two or three more.
  const int64_t pairs = pairs_to_decide(0.01, 1).value();
  EXPECT_NEAR(static_cast<double>(pairs), 78490, 5);
}

TEST(Statistics, RanksGiveTheBestTheFirst) {
  const std::vector<AverageRank> ranks = average_ranks({{0.9, 0.8, 0.8}, {0.7, 0.9, 0.1}});
  EXPECT_EQ(ranks[0].mean, 1.5);
  EXPECT_EQ(ranks[1].mean, 1.75);
  EXPECT_EQ(ranks[2].mean, 2.75);
  EXPECT_TRUE(ranks[2].interval->contains(2.75));
}

TEST(Statistics, TheBestOfManyTriesRisesToTheBestOne) {
  const std::vector<double> scores = normals(40, 9), best = expected_best(scores);
  ASSERT_EQ(best.size(), 40u);
  EXPECT_NEAR(best.front(), summarise(scores).mean, 1e-12);
  for (size_t n = 1; n < best.size(); ++n) EXPECT_GT(best[n], best[n - 1]);
  EXPECT_LT(best.back(), *std::max_element(scores.begin(), scores.end()));
}

}  // namespace
}  // namespace graft::test_statistics
