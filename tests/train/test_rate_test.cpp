// The learning-rate range test.
#include "train/rate_test.h"

#include <gtest/gtest.h>

#include "tests/support/compare.h"
#include "tests/train/runs.h"

namespace graft::testing::test_rate_test {
namespace {

std::vector<double> decades(size_t count) {
  std::vector<double> rates;
  for (size_t i = 0; i < count; ++i) rates.push_back(std::pow(10.0, static_cast<double>(i) - 6));
  return rates;
}

TEST(RateTest, SuggestsTheMiddleOfTheLongestFall) {
  EXPECT_EQ(suggest_rate(decades(7), {1.0, 1.0, 0.9, 0.7, 0.5, 0.8, 2.0}), decades(7)[2])
      << "from step 0 to step 4";
  EXPECT_EQ(suggest_rate(decades(7), {1.0, 1.1, 1.05, 0.9, 0.7, 0.5, 3.0}), decades(7)[3])
      << "steps that rise are left out";
  EXPECT_EQ(suggest_rate(decades(4), {1.0, 1.1, 1.2, 1.3}), std::nullopt) << "nothing falls";
  EXPECT_EQ(suggest_rate(decades(3), {1.0, 0.999, 0.995}), std::nullopt) << "by less than 2 %";
  EXPECT_EQ(suggest_rate({}, {}), std::nullopt);
}

TEST(RateTest, RaisesTheRateAndKeepsNothing) {
  const TempFolder folder;
  const auto inputs = [&] {
    return run_inputs("{edits: [{full: {}}]}", folder / "run", "{batch_size: 8}");
  };
  RateTestOptions options;
  options.steps = 40;
  const RateTest found = test_rates(inputs(), options);
  ASSERT_FALSE(found.rates.empty());
  EXPECT_DOUBLE_EQ(found.rates.front(), 1e-6);
  EXPECT_LE(found.rates.back(), 1 + 1e-12);
  for (size_t i = 1; i < found.rates.size(); ++i)
    EXPECT_NEAR(found.rates[i] / found.rates[i - 1], std::pow(1e6, 1.0 / 39), 1e-9);
  ASSERT_TRUE(found.suggestion);
  EXPECT_GT(*found.suggestion, 1e-5);
  EXPECT_LT(*found.suggestion, 0.1);
  EXPECT_EQ(test_rates(inputs(), options).losses, found.losses) << "the same again";
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

// A head of zeros, as one that the model's folder brings, gives all three labels alike.
TEST(RateTest, BeginsWithTheRunsInitialValues) {
  const TempFolder folder;
  RunInputs inputs = run_inputs("{edits: [{full: {}}]}", folder / "run", "{batch_size: 8}");
  inputs.head_start = {{"head/out.weight", at::zeros({3, inputs.model->config.width})}};
  RateTestOptions options;
  options.steps = 2;
  EXPECT_NEAR(test_rates(std::move(inputs), options).losses.front(), std::log(3.0), 1e-6);
}

}  // namespace
}  // namespace graft::testing::test_rate_test
