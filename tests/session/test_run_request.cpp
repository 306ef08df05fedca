// What is asked of a run, resolved; and runs that a program trains.
#include "session/run_request.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/spelling.h"
#include "session/presets.h"
#include "tests/support/testing.h"

namespace graft::testing::test_run_request {
namespace {

const std::string kToy = GRAFT_SOURCE_DIR "/examples/toy";
const Share kShare{GRAFT_SOURCE_DIR};

RunRequest toy_request() {
  RunRequest request;
  request.model = kToy + "/model";
  request.task = "text:no,yes";
  request.data = kToy;
  request.adapter = "lora";
  request.out = "nowhere";
  return request;
}

TEST(RunRequest, GivesFilesOfAFolderThePresetsSettingsAndEveryDefault) {
  RunRequest request = toy_request();
  request.settings = {"rank=3", "epochs=2"};
  const RunConfig config = resolve_run(request, kShare);
  EXPECT_EQ(config.data.train, kToy + "/train.tsv");
  EXPECT_EQ(config.data.eval, kToy + "/dev.tsv");
  EXPECT_EQ(config.learning_rate, 1e-3);  // the preset's
  EXPECT_EQ(config.epochs, 2);
  const Node& lora = *config.adapter.find("edits")->items.front().find("lora");
  EXPECT_EQ(lora.find("rank")->scalar, "3");
  EXPECT_EQ(lora.find("alpha")->scalar, "16");
  EXPECT_NE(lora.find("init"), nullptr);  // a default that the preset does not give
}

TEST(RunRequest, IsToldWhatOfASettingMayBeMeantOtherwise) {
  RunRequest request = toy_request();
  request.settings = {"dropout=0.2"};
  std::string told;
  resolve_run(request, kShare, [&](const std::string& line) { told += line; });
  EXPECT_EQ(told,
            "note: dropout=0.2 is a setting of the run (doc/run_folder.md); the option of that "
            "name of an edit is adapter.0.lora.dropout");
}

TEST(RunRequest, NamesWhatIsWrongAsItsUserGaveIt) {
  RunRequest request = toy_request();
  request.settings = {"rnak=3"};
  expect_message<InputError>([&] { resolve_run(request, kShare); },
                             "rnak=3: no edit of this adapter has the option \"rnak\"");
  request = toy_request();
  request.data = kToy + "/none";
  const std::string message = message_of<InputError>([&] { resolve_run(request, kShare); });
  EXPECT_EQ(message, "data '" + kToy + "/none': no such file or folder");
  set_spelling({.option_prefix = "--", .settings_flag = "--set"});
  expect_message<InputError>([&] { resolve_run(request, kShare); }, "--data '");
  EXPECT_EQ(option_name("route_seed"), "--route-seed");
  EXPECT_EQ(setting_text("epochs=5"), "--set epochs=5");
  set_spelling({});
  EXPECT_EQ(option_name("route_seed"), "route_seed");
  EXPECT_EQ(setting_text("epochs=5"), "epochs=5");
}

TEST(RunRequest, KnowsPresetsByNameOnlyWhereTheyLie) {
  expect_message<InputError>([&] { load_preset("lroa", kShare); }, "did you mean 'lora'");
  expect_message<IoError>([&] { load_preset("lora", Share{}); },
                          "cannot list the folder of presets");
}

class Steps final : public Observer {
 public:
  explicit Steps(int64_t stop_after) : stop_after_(stop_after) {}
  int64_t last = 0;

  void stepped(const StepReport& report) override { last = report.step; }
  bool wants_stop() override { return last == stop_after_; }

 private:
  int64_t stop_after_;
};

TEST(Train, StopsWhereItsObserverWantsAndResumes) {
  const TempFolder folder;
  RunRequest request = toy_request();
  request.adapter.clear();
  request.definition = "edits: [{lora: {rank: 2}}]";
  request.out = folder / "run";
  request.settings = {"max_steps=6"};
  Steps steps(/*stop_after=*/4);
  EXPECT_EQ(train(request, "", &steps), RunEnd::kStopped);
  EXPECT_FALSE(std::filesystem::exists(folder / "run/metrics.json"));
  EXPECT_EQ(resume(request.out), RunEnd::kDone);
  EXPECT_TRUE(std::filesystem::exists(folder / "run/metrics.json"));
  EXPECT_EQ(resume(request.out), RunEnd::kDone);  // and stays as it is
}

}  // namespace
}  // namespace graft::testing::test_run_request
