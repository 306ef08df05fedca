#include "data/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "tests/data/expect_error.h"

namespace graft::test_split {
namespace {

TEST(HoldOut, CoversEveryRowExactlyOnce) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (const int64_t count : {2, 3, 10, 101, 2000}) {
      for (const double fraction : {0.001, 0.1, 0.25, 0.5, 0.999}) {
        SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::to_string(count) +
                     " rows, fraction " + std::to_string(fraction));
        const Split split = hold_out(count, fraction, seed);
        EXPECT_TRUE(std::is_sorted(split.kept.begin(), split.kept.end()));
        EXPECT_TRUE(std::is_sorted(split.held_out.begin(), split.held_out.end()));
        const int64_t expected =
            std::clamp<int64_t>(std::llround(fraction * static_cast<double>(count)), 1, count - 1);
        EXPECT_EQ(static_cast<int64_t>(split.held_out.size()), expected);
        std::vector<int64_t> all = split.kept, rows(static_cast<size_t>(count));
        all.insert(all.end(), split.held_out.begin(), split.held_out.end());
        std::sort(all.begin(), all.end());
        std::iota(rows.begin(), rows.end(), int64_t{0});
        EXPECT_EQ(all, rows);
      }
    }
  }
}

TEST(HoldOut, DependsOnTheSeedOnly) {
  EXPECT_EQ(hold_out(1000, 0.1, 7).held_out, hold_out(1000, 0.1, 7).held_out);
  EXPECT_NE(hold_out(1000, 0.1, 7).held_out, hold_out(1000, 0.1, 8).held_out);
  // Fixed for ever: a split that changes between versions would mix training and test rows.
  EXPECT_EQ(hold_out(12, 0.25, 1).held_out, (std::vector<int64_t>{5, 6, 9}));
}

TEST(HoldOut, TakesRowsEvenly) {
  std::vector<int> times(20);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    for (const int64_t row : hold_out(20, 0.25, seed).held_out) ++times[static_cast<size_t>(row)];
  }
  for (const int count : times) EXPECT_NEAR(count, 500, 100);  // binomial, deviation 19
}

// Wu et al. 2024: 1,000 rows choose when there are more than 5,000, else half.
TEST(ChooseAndTest, SizesOfTheProtocol) {
  for (const auto& [count, choosing] : std::vector<std::pair<int64_t, size_t>>{
           {2, 1}, {277, 138}, {872, 436}, {5000, 2500}, {5001, 1000}, {9815, 1000}}) {
    SCOPED_TRACE(count);
    const Split split = choose_and_test(count, 42);
    EXPECT_EQ(split.held_out.size(), choosing);
    std::vector<int64_t> all = split.kept;
    all.insert(all.end(), split.held_out.begin(), split.held_out.end());
    std::sort(all.begin(), all.end());
    for (int64_t i = 0; i < count; ++i) ASSERT_EQ(all.at(static_cast<size_t>(i)), i);
    EXPECT_EQ(all.size(), static_cast<size_t>(count));
  }
  EXPECT_EQ(choose_and_test(277, 42).kept, choose_and_test(277, 42).kept);
  EXPECT_NE(choose_and_test(277, 42).kept, choose_and_test(277, 43).kept);
  EXPECT_EQ(input_error([] { choose_and_test(1, 0); }),
            "expected at least two rows to divide, found 1");
}

TEST(Rows, InRandomOrder) {
  std::vector<int64_t> order = random_order(100, 3);
  EXPECT_NE(order, random_order(100, 4));
  EXPECT_EQ(order, random_order(100, 3));
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  std::vector<int64_t> all(100);
  std::iota(all.begin(), all.end(), int64_t{0});
  EXPECT_EQ(order, all);
}

TEST(Rows, PerLabel) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < 60; ++i) labels.push_back(i % 7 == 0 ? 1 : 0);
  const std::vector<int64_t> rows = random_rows_per_label(labels, {"no", "yes"}, 5, 11);
  ASSERT_EQ(rows.size(), 10u);
  EXPECT_EQ(std::count_if(rows.begin(), rows.end(),
                          [&](int64_t row) { return labels[static_cast<size_t>(row)] == 1; }),
            5);
  EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end()));
  EXPECT_EQ(first_rows_per_label({5, 7, 2, 0, 3}, labels, {"no", "yes"}, 1),
            (std::vector<int64_t>{5, 7}));
}

TEST(SplitMessages, EveryBadRequest) {
  EXPECT_EQ(input_error([] { hold_out(10, 1.5, 0, "held_out: "); }),
            "held_out: expected a fraction between 0 and 1, both excluded, found 1.5");
  EXPECT_EQ(input_error([] { hold_out(10, std::nan(""), 0); }),
            "expected a fraction between 0 and 1, both excluded, found nan");
  EXPECT_EQ(input_error([] { hold_out(1, 0.5, 0, "held_out: "); }),
            "held_out: expected at least two rows to divide, found 1");
  EXPECT_EQ(input_error([] {
              random_rows_per_label({0, 1}, {"no", "yes"}, 0, 0);
            }),
            "expected at least one row of each label, found 0");
  EXPECT_EQ(input_error([] {
              random_rows_per_label({0, 0, 1}, {"no", "yes"}, 2, 0, "per_label: ");
            }),
            "per_label: expected 2 rows of the label \"yes\", found 1; ask for fewer, or give more "
            "of it");
}

}  // namespace
}  // namespace graft::test_split
