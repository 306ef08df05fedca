// What a run tells its observer, and that one can stop it.
#include <gtest/gtest.h>

#include "base/wording.h"
#include "tests/train/runs.h"
#include "train/loop.h"

namespace graft::testing::test_observer {
namespace {

constexpr const char* kLora = "{edits: [{lora: {rank: 2}}]}";
constexpr const char* kFourSteps = "{max_steps: 4, batch_size: 6, checkpoint_every: 2 steps}";

// Writes down what it is told, and asks for the end after step `stop_after`.
class Notes final : public Observer {
 public:
  explicit Notes(int64_t stop_after = -1) : stop_after_(stop_after) {}

  std::string text;
  double last_loss = 0;

  void started(int64_t steps_done, int64_t total_steps) override {
    text += "start " + std::to_string(steps_done) + "/" + std::to_string(total_steps);
  }
  void stepped(const StepReport& report) override {
    step_ = report.step;
    last_loss = report.loss;
    text += ", " + std::to_string(report.step) + "/" + std::to_string(report.total_steps);
  }
  void checkpointed(int64_t step) override { text += ", checkpoint " + std::to_string(step); }
  void finished(const std::vector<std::string>& warnings) override {
    text += ", end";
    if (!warnings.empty()) text += " with warnings";
  }
  bool wants_stop() override { return step_ == stop_after_; }

 private:
  int64_t step_ = 0, stop_after_;
};

RunEnd drive_one(const Path& out, StartMode mode, Observer& observer) {
  Run run(run_inputs(kLora, out, kFourSteps), mode, &observer);
  return drive(run);
}

TEST(Observer, IsToldEveryStepCheckpointAndTheEnd) {
  const TempFolder folder;
  Notes notes;
  EXPECT_EQ(drive_one(folder / "run", StartMode::kFresh, notes), RunEnd::kDone);
  EXPECT_EQ(notes.text, "start 0/4, 1/4, 2/4, checkpoint 2, 3/4, 4/4, end with warnings");
  const std::vector<Node> events = log_events(folder / "run", "step");
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(number_text(notes.last_loss),
            number_text(std::stod(events.back().find("loss")->scalar)));
}

TEST(Observer, StopsTheRunWithACheckpointToGoOnFrom) {
  const TempFolder folder;
  Notes first(/*stop_after=*/3);
  EXPECT_EQ(drive_one(folder / "run", StartMode::kFresh, first), RunEnd::kStopped);
  EXPECT_EQ(first.text, "start 0/4, 1/4, 2/4, checkpoint 2, 3/4, checkpoint 3");
  Notes rest;
  EXPECT_EQ(drive_one(folder / "run", StartMode::kResume, rest), RunEnd::kDone);
  EXPECT_EQ(rest.text, "start 3/4, 4/4, end with warnings");
}

// Asked for with the last step, the end is that of a whole run.
TEST(Observer, CannotStopWhatIsDone) {
  const TempFolder folder;
  Notes notes(/*stop_after=*/4);
  EXPECT_EQ(drive_one(folder / "run", StartMode::kFresh, notes), RunEnd::kDone);
  EXPECT_TRUE(Run::is_finished(folder / "run"));
}

}  // namespace
}  // namespace graft::testing::test_observer
