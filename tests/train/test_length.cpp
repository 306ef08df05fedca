// How long a run is that leaves it to the data.
#include "train/length.h"

#include <gtest/gtest.h>

#include "tests/train/runs.h"

namespace graft::testing::test_length {
namespace {

TEST(Length, HasEnoughStepsWithinItsBounds) {
  const LengthRule labels = length_rule(/*is_answered_in_words=*/false);
  EXPECT_EQ(auto_epochs(labels, 7), 43);    // 200 rows in batches of 32: 301 steps
  EXPECT_EQ(auto_epochs(labels, 15), 20);   // 478 rows
  EXPECT_EQ(auto_epochs(labels, 100), 3);   // the least steps are reached
  EXPECT_EQ(auto_epochs(labels, 2105), 3);  // SST-2
  EXPECT_EQ(auto_epochs(labels, 1), 100);   // a handful of rows
  EXPECT_EQ(auto_epochs(length_rule(/*is_answered_in_words=*/true), 7), 15);
}

TEST(Length, PutsNumbersInThePlaceOfAuto) {
  RunConfig config;
  settle_length(length_rule(false), 7, config);
  EXPECT_EQ(config.epochs, 43);
  EXPECT_EQ(config.evaluate_every.unit, Period::Unit::kEpochs);
  EXPECT_EQ(config.evaluate_every.count, 5) << "ten times a run";
  EXPECT_EQ(config.checkpoint_every.count, 5);

  RunConfig given;
  given.epochs = 40;
  given.checkpoint_every = {Period::Unit::kNever, 0};
  settle_length(length_rule(false), 7, given);
  EXPECT_EQ(given.epochs, 40);
  EXPECT_EQ(given.evaluate_every.count, 1) << "epochs that were asked for are evaluated one by one";
  EXPECT_EQ(given.checkpoint_every.unit, Period::Unit::kNever);

  RunConfig counted;
  counted.early_stop = 4;
  settle_length(length_rule(false), 7, counted);
  EXPECT_EQ(counted.evaluate_every.count, 1) << "early_stop counts evaluations";

  RunConfig few;
  few.max_steps = 9;
  settle_length(length_rule(false), 7, few);
  EXPECT_EQ(few.evaluate_every.count, 1) << "of nine steps";
}

TEST(Length, OfARunIsByItsRows) {
  const TempFolder folder;
  const RunInputs inputs =
      run_inputs("{edits: [{lora: {rank: 2}}]}", folder / "run", "{batch_size: 5}", 24);
  EXPECT_EQ(epochs_of(inputs).total_steps(), 300);  // 5 steps an epoch
}

}  // namespace
}  // namespace graft::testing::test_length
