// Steps and epochs: how many there are, which batches each has, and when a period falls due.
#include "train/epochs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace graft::testing::test_epochs {
namespace {

Epochs epochs_of(int64_t rows, int64_t batch_size, int64_t accumulate, double epochs,
                 int64_t max_steps) {
  return Epochs(std::vector<int64_t>(static_cast<size_t>(rows), 4),
                {.batch_size = batch_size, .order = Order::kShuffle, .key = RandomKey{1}},
                accumulate, epochs, max_steps);
}

std::vector<int64_t> due(const Epochs& epochs, const Period& period) {
  std::vector<int64_t> out;
  for (int64_t step = 1; step <= epochs.total_steps(); ++step) {
    if (epochs.falls_due(period, step)) out.push_back(step);
  }
  return out;
}

using Ints = std::vector<int64_t>;
constexpr auto kSteps = Period::Unit::kSteps, kEpochs = Period::Unit::kEpochs;

TEST(Epochs, CountSteps) {
  EXPECT_EQ(epochs_of(80, 8, 1, 1, 0).total_steps(), 10);
  EXPECT_EQ(epochs_of(81, 8, 1, 1, 0).total_steps(), 11);
  EXPECT_EQ(epochs_of(81, 8, 2, 3, 0).total_steps(),
            18);  // 11 batches an epoch: 6 steps, the last of one batch
  EXPECT_EQ(epochs_of(80, 8, 1, 2.5, 0).total_steps(), 25);
  EXPECT_EQ(epochs_of(80, 8, 1, 0.01, 0).total_steps(), 1);
  EXPECT_EQ(epochs_of(80, 8, 1, 1.1, 0).total_steps(), 11);  // 1.1 - 1 is above 0.1
  EXPECT_EQ(epochs_of(80, 8, 1, 2.1, 0).total_steps(), 21);
  EXPECT_EQ(epochs_of(80, 8, 1, 0, 0).total_steps(), 0);
  EXPECT_EQ(epochs_of(80, 8, 1, 3, 7).total_steps(), 7);  // max_steps decides, also beyond `epochs`
  EXPECT_EQ(epochs_of(80, 8, 1, 1, 37).total_steps(), 37);
  EXPECT_EQ(epochs_of(3, 8, 4, 2, 0).total_steps(), 2);
}

TEST(Epochs, StepsOfAnEpochHoldEveryRowOnce) {
  Epochs epochs = epochs_of(45, 4, 5, 3, 0);  // 12 batches, 3 steps an epoch: 5 + 5 + 2
  ASSERT_EQ(epochs.total_steps(), 9);
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::multiset<int64_t> seen;
    for (int64_t step = 0; step < 3; ++step) {
      const std::vector<Batch> batches = epochs.batches_of(3 * epoch + step);
      EXPECT_EQ(batches.size(), step < 2 ? 5U : 2U);
      for (const Batch& batch : batches) seen.insert(batch.begin(), batch.end());
    }
    EXPECT_EQ(seen.size(), 45U);
    EXPECT_EQ(std::set<int64_t>(seen.begin(), seen.end()).size(), 45U);
  }
  const std::vector<Batch> first = epochs.batches_of(0), fourth = epochs.batches_of(3);
  EXPECT_NE(first, fourth);
  EXPECT_EQ(epochs.batches_of(0), first) << "going back gives the same";
}

TEST(Epochs, WithATokenBudgetFollowTheirOwnPlans) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 50; ++i) lengths.push_back(1 + i * i % 23);
  const BatchOptions options{.token_budget = 40, .order = Order::kShuffle, .key = RandomKey{1}};
  Epochs epochs(lengths, options, 1, 3, 0);
  int64_t batches = 0;
  for (int64_t epoch = 0; epoch < 3; ++epoch)
    batches += static_cast<int64_t>(plan_epoch(lengths, options, epoch).size());
  EXPECT_EQ(epochs.total_steps(), batches);
  std::multiset<int64_t> seen;
  for (int64_t step = 0; step < batches; ++step) {
    for (const Batch& batch : epochs.batches_of(step)) seen.insert(batch.begin(), batch.end());
  }
  for (int64_t row = 0; row < 50; ++row) EXPECT_EQ(seen.count(row), 3U) << row;
}

TEST(Epochs, TellHowFarTheyAre) {
  const Epochs epochs = epochs_of(80, 8, 1, 2, 0);
  EXPECT_DOUBLE_EQ(epochs.epochs_done(0), 0);
  EXPECT_DOUBLE_EQ(epochs.epochs_done(5), 0.5);
  EXPECT_DOUBLE_EQ(epochs.epochs_done(10), 1);
  EXPECT_DOUBLE_EQ(epochs.epochs_done(20), 2);
}

TEST(Periods, FallDueAtTheirBorders) {
  const Epochs ten = epochs_of(80, 8, 1, 2, 0);  // 10 steps an epoch
  EXPECT_EQ(due(ten, {kSteps, 7}), (Ints{7, 14}));
  EXPECT_EQ(due(ten, {kSteps, 1}).size(), 20U);
  EXPECT_EQ(due(ten, {kEpochs, 1}), (Ints{10, 20}));
  EXPECT_EQ(due(ten, {kEpochs, 0.5}), (Ints{5, 10, 15, 20}));
  EXPECT_EQ(due(ten, {kEpochs, 2}), (Ints{20}));
  EXPECT_EQ(due(ten, {kEpochs, 3}), Ints{});
  EXPECT_EQ(due(ten, {Period::Unit::kNever, 0}), Ints{});
  EXPECT_EQ(due(epochs_of(81, 8, 1, 2, 0), {kEpochs, 0.5}),
            (Ints{6, 11, 17, 22}));  // 11 steps: the first step at or past the border
  EXPECT_EQ(due(epochs_of(80, 8, 1, 3, 0), {kEpochs, 0.1}).size(),
            30U);  // no border is lost to rounding
  EXPECT_EQ(due(epochs_of(80, 8, 1, 1, 25), {kEpochs, 1}), (Ints{10, 20}));
  EXPECT_EQ(due(epochs_of(8, 8, 1, 4, 0), {kEpochs, 0.25}),
            (Ints{1, 2, 3, 4}));  // several borders in a step: once
}

}  // namespace
}  // namespace graft::testing::test_epochs
