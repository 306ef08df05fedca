// Learning-rate schedules: continuous at the end of the warm-up, and equal to the transformers
// library's.
#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace graft::testing::test_schedule {
namespace {

TEST(Schedule, HasTheValuesOfTransformers) {
  // get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup with 3 warm-up steps of 10,
  // transformers 4.57.
  const double linear[] = {0,       1.0 / 3, 2.0 / 3, 1,       6.0 / 7,
                           5.0 / 7, 4.0 / 7, 3.0 / 7, 2.0 / 7, 1.0 / 7};
  const double cosine[] = {0,
                           1.0 / 3,
                           2.0 / 3,
                           1,
                           0.9504844339512095,
                           0.8117449009293668,
                           0.6112604669781572,
                           0.3887395330218429,
                           0.1882550990706332,
                           0.04951556604879048};
  for (int64_t step = 0; step < 10; ++step) {
    EXPECT_NEAR(rate_factor(Schedule::kLinear, step, 3, 10), linear[step], 1e-15) << step;
    EXPECT_NEAR(rate_factor(Schedule::kCosine, step, 3, 10), cosine[step], 1e-15) << step;
    EXPECT_NEAR(rate_factor(Schedule::kConstant, step, 3, 10),
                std::min(1.0, linear[step] >= 1 || step > 3 ? 1.0 : linear[step]), 1e-15)
        << step;
  }
  EXPECT_EQ(rate_factor(Schedule::kLinear, 10, 3, 10), 0);
  EXPECT_NEAR(rate_factor(Schedule::kCosine, 10, 3, 10), 0, 1e-15);
}

TEST(Schedule, IsContinuousAndInRange) {
  for (const Schedule schedule : {Schedule::kLinear, Schedule::kCosine, Schedule::kConstant}) {
    for (const int64_t warmup : {0, 1, 60, 1000}) {
      double before = rate_factor(schedule, 0, warmup, 1000);
      EXPECT_EQ(before, warmup == 0 ? 1.0 : 0.0);
      for (int64_t step = 0; step <= 1000; ++step) {
        const double factor = rate_factor(schedule, step, warmup, 1000);
        EXPECT_GE(factor, 0);
        EXPECT_LE(factor, 1);
        const double steepest = warmup > 1 && step <= warmup ? 1.0 / static_cast<double>(warmup)
                                : warmup == 1 && step <= 1   ? 1.0
                                                             : 0.002;
        EXPECT_LE(std::abs(factor - before), steepest + 1e-12)
            << "warm-up " << warmup << " step " << step;
        before = factor;
      }
      EXPECT_TRUE(warmup == 1000 || rate_factor(schedule, warmup, warmup, 1000) == 1.0)
          << "the full rate comes right after the warm-up";
    }
  }
}

TEST(Schedule, RoundsTheWarmUpUp) {
  EXPECT_EQ(warmup_steps({0.06, 0}, 100), 6);
  EXPECT_EQ(warmup_steps({0.06, 0}, 101), 7);
  EXPECT_EQ(warmup_steps({0.06, 0}, 1), 1);
  EXPECT_EQ(warmup_steps({0, 12}, 100), 12);
  EXPECT_EQ(warmup_steps({0, 0}, 100), 0);
}

}  // namespace
}  // namespace graft::testing::test_schedule
