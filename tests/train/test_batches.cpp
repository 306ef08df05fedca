// Batches: every row exactly once, whatever the order and the budget; a pure function of its
// arguments.
#include "train/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace graft::testing::test_batches {
namespace {

std::vector<int64_t> random_lengths(int64_t count, uint64_t seed) {
  Random random(RandomKey{seed});
  std::vector<int64_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(1 + static_cast<int64_t>(random.below(60)));
  return out;
}

int64_t tokens_of(const Batch& batch, const std::vector<int64_t>& lengths) {
  int64_t sum = 0;
  for (const int64_t row : batch) sum += lengths[static_cast<size_t>(row)];
  return sum;
}

TEST(Batches, HoldEveryRowExactlyOnce) {
  for (const Order order : {Order::kShuffle, Order::kLength, Order::kFile}) {
    for (const int64_t budget : {0, 1, 40, 100, 100'000}) {
      for (const int64_t rows : {1, 7, 8, 9, 433}) {
        for (const uint64_t seed : {1, 2}) {
          SCOPED_TRACE("order " + std::to_string(static_cast<int>(order)) + " budget " +
                       std::to_string(budget) + " rows " + std::to_string(rows) + " seed " +
                       std::to_string(seed));
          const std::vector<int64_t> lengths = random_lengths(rows, seed);
          const BatchOptions options{
              .batch_size = 8, .token_budget = budget, .order = order, .key = RandomKey{seed}};
          const std::vector<Batch> batches = plan_epoch(lengths, options, 3);
          std::vector<int64_t> seen;
          size_t smaller = 0;
          for (const Batch& batch : batches) {
            ASSERT_FALSE(batch.empty());
            seen.insert(seen.end(), batch.begin(), batch.end());
            EXPECT_TRUE(budget > 0 ? tokens_of(batch, lengths) <= budget || batch.size() == 1
                                   : batch.size() <= 8);
            smaller += batch.size() < 8 ? 1 : 0;
          }
          EXPECT_TRUE(budget > 0 || smaller == (rows % 8 == 0 ? 0U : 1U));
          std::sort(seen.begin(), seen.end());
          std::vector<int64_t> all(static_cast<size_t>(rows));
          std::iota(all.begin(), all.end(), int64_t{0});
          EXPECT_EQ(seen, all);
          EXPECT_EQ(plan_epoch(lengths, options, 3), batches)
              << "the same arguments give the same plan";
        }
      }
    }
  }
}

TEST(Batches, FileOrderIsTheFiles) {
  const std::vector<int64_t> lengths = {5, 1, 9, 2, 2};
  EXPECT_EQ(plan_epoch(lengths, {.batch_size = 2, .order = Order::kFile, .key = {}}, 4),
            (std::vector<Batch>{{0, 1}, {2, 3}, {4}}));
  EXPECT_EQ(plan_epoch(lengths, {.token_budget = 10, .order = Order::kFile, .key = {}}, 0),
            (std::vector<Batch>{{0, 1}, {2}, {3, 4}}));
}

TEST(Batches, DifferBetweenEpochsAndSeeds) {
  const std::vector<int64_t> lengths = random_lengths(100, 1);
  for (const Order order : {Order::kShuffle, Order::kLength}) {
    const auto plan = [&](uint64_t seed, int64_t epoch) {
      return plan_epoch(lengths, {.batch_size = 8, .order = order, .key = RandomKey{seed}}, epoch);
    };
    EXPECT_NE(plan(1, 0), plan(1, 1));
    EXPECT_NE(plan(1, 0), plan(2, 0));
  }
}

TEST(Batches, LengthOrderPutsSimilarLengthsTogether) {
  const std::vector<int64_t> lengths = random_lengths(400, 5);
  const auto waste =
      [&](Order order) {  // share of rows' room that padding to the longest would waste
        int64_t room = 0, tokens = 0;
        for (const Batch& batch :
             plan_epoch(lengths, {.batch_size = 8, .order = order, .key = RandomKey{5}}, 0)) {
          int64_t longest = 0;
          for (const int64_t row : batch)
            longest = std::max(longest, lengths[static_cast<size_t>(row)]);
          room += longest * static_cast<int64_t>(batch.size());
          tokens += tokens_of(batch, lengths);
        }
        return 1.0 - static_cast<double>(tokens) / static_cast<double>(room);
      };
  EXPECT_LT(waste(Order::kLength), 0.05);
  EXPECT_GT(waste(Order::kShuffle), 0.3);
}

}  // namespace
}  // namespace graft::testing::test_batches
