// A run that learned nothing says so, with the way out.
#include "train/loss_course.h"

#include <gtest/gtest.h>

#include "tests/support/compare.h"
#include "tests/train/runs.h"

namespace graft::testing::test_loss_course {
namespace {

TEST(LossCourse, ComparesTenthsOfTheRunWithBlindAnswers) {
  std::vector<double> losses(20, 1.5);
  losses[0] = 2, losses[1] = 1.9, losses[18] = 1, losses[19] = 0.5;
  const LossCourse course = loss_course(losses, 1.9);
  EXPECT_DOUBLE_EQ(course.first, 1.95);
  EXPECT_DOUBLE_EQ(course.last, 0.75);
  EXPECT_FALSE(has_hardly_fallen(course));
  EXPECT_TRUE(has_hardly_fallen({1.95, 1.91, 1.946}));
  EXPECT_FALSE(has_hardly_fallen({1.95, 1.5, 1.946}));
  EXPECT_TRUE(has_hardly_fallen({2.0, 1.99, std::nullopt})) << "of texts beside the start";
  EXPECT_FALSE(has_hardly_fallen({2.0, 1.9, std::nullopt}));
  EXPECT_EQ(loss_course({0.3}, std::nullopt).last, 0.3) << "a run of one step";
}

// One run of the same rows at a rate that is far too small, and one that learns.
TEST(LossCourse, IsInTheMetricsOfARun) {
  for (const bool learns : {false, true}) {
    const TempFolder folder;
    const std::string rate = learns ? "0.01" : "1e-7";
    RunInputs inputs = run_inputs("{edits: [{full: {}}]}", folder / "run",
                                  "{epochs: 30, batch_size: 8, learning_rate: " + rate + "}");
    inputs.eval = evaluation_rows(inputs);
    TrainingRun run(std::move(inputs), StartMode::kFresh);
    drive_to(run);
    run.finish();
    const Node metrics = parse_json(read_file(folder / "run" / "metrics.json"), "metrics.json");
    const Node& loss = *metrics.find("loss");
    std::vector<double> losses;
    for (const Node& event : log_events(folder / "run", "step"))
      losses.push_back(number_of(*event.find("loss")));
    EXPECT_DOUBLE_EQ(number_of(*loss.find("first")), loss_course(losses, std::nullopt).first);
    EXPECT_NEAR(number_of(*loss.find("blind")), std::log(3.0), 0.1);
    std::string warnings;
    for (const Node& warning : metrics.find("warnings")->items) warnings += warning.scalar + "\n";
    EXPECT_EQ(warnings.find("the loss hardly left its start") != std::string::npos, !learns)
        << warnings;
    if (!learns) {
      EXPECT_NE(warnings.find("Try learning_rate=1e-06 (now 1e-07)"), std::string::npos)
          << warnings;
    }
  }
}

}  // namespace
}  // namespace graft::testing::test_loss_course
