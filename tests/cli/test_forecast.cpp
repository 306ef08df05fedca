// What a study is foretold to take: the work of a member, in tokens that are trained on.
#include "cli/study_forecast.h"

#include <gtest/gtest.h>

#include "tests/train/runs.h"

namespace graft::testing::test_forecast {
namespace {

// Of two epochs with three steps each.
RunInputs six_steps(const std::string& evaluate_every) {
  return run_inputs("{edits: [{lora: {rank: 2}}]}", "unused",
                    "{epochs: 2, batch_size: 8, evaluate_every: " + evaluate_every + "}");
}

// Thirds of tokens are not exact.
void expect_work(const RunInputs& inputs, double steps, double last) {
  const double rounding = 1e-9 * static_cast<double>(inputs.train->num_tokens);
  EXPECT_NEAR(work_of(inputs).steps, steps, rounding);
  EXPECT_NEAR(work_of(inputs).last, last, rounding);
}

TEST(Forecast, TheEvaluationsOfARunAreThoseThatFallDueAndTheOneAtItsEnd) {
  for (const auto& [evaluate_every, count] :
       {std::pair{"2 steps", 3}, {"4 steps", 2}, {"1 epoch", 2}, {"never", 1}}) {
    SCOPED_TRACE(evaluate_every);
    RunInputs inputs = six_steps(evaluate_every);
    inputs.eval = evaluation_rows(inputs);  // the rows that are trained on
    const auto tokens = static_cast<double>(inputs.train->num_tokens);
    expect_work(inputs, 2 * tokens + count * tokens / 3, tokens / 3);
  }
}

TEST(Forecast, RowsThatJudgeAreScoredAtTheEndAlone) {
  RunInputs inputs = six_steps("never");
  const auto tokens = static_cast<double>(inputs.train->num_tokens);
  expect_work(inputs, 2 * tokens, 0);
  inputs.test = evaluation_rows(inputs);
  expect_work(inputs, 2 * tokens, tokens / 3);
  inputs.eval_tasks.push_back({"one", inputs.task, evaluation_rows(inputs)});
  expect_work(inputs, 2 * tokens + tokens / 3, 2 * tokens / 3);
}

}  // namespace
}  // namespace graft::testing::test_forecast
