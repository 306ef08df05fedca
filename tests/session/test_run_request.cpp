// What is asked of a run, resolved; and runs that a program trains.
#include "session/run_request.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <optional>
#include <stdexcept>

#include "base/error.h"
#include "base/files.h"
#include "base/spelling.h"
#include "data/task.h"
#include "session/presets.h"
#include "session/public_errors.h"
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

// One switch for trunk and head, whoever gives it.
TEST(RunRequest, GivesThePresetsDropoutToTheHeadToo) {
  RunRequest request = toy_request();
  request.adapter = "adamix-lora:published";  // dropout: 0
  EXPECT_EQ(*resolve_run(request, kShare).adapter.find("head")->find_number("dropout"), 0);
  request.settings = {"dropout=0.2"};
  EXPECT_EQ(*resolve_run(request, kShare).adapter.find("head")->find_number("dropout"), 0.2);
}

TEST(RunRequest, KnowsPresetsByNameOnlyWhereTheyLie) {
  expect_message<InputError>([&] { load_preset("lroa", kShare); }, "did you mean 'lora'");
  const std::string share = "give share, the folder with presets/ and tasks/";
  expect_message<InputError>([&] { load_preset("lora:published", Share{}); },
                             "unknown adapter \"lora\": " + share);
  RunRequest request = toy_request();
  request.adapter.clear();
  expect_message<InputError>([&] { resolve_run(request, Share{}); },
                             "no adapter: give adapter with a preset (" + share + ")");
  request.definition = "edits: [{lora: {rank: 2}}]";
  request.task = "sst2";
  expect_message<InputError>([&] { resolve_run(request, Share{}); },
                             "unknown task \"sst2\": " + share);
}

// A file of the working folder is none of the presets.
TEST(RunRequest, OpensNoPresetWhereNoFolderIsGiven) {
  const TempFolder folder;
  write_file_atomically(folder / "lora.yaml", "edits: [{lora: {rank: 2}}]");
  write_file_atomically(folder / "mine.yaml", "text: text\nlabel: label\nlabels: [a, b]\n");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const std::string preset = message_of<InputError>([] { load_preset("lora", Share{}); });
  const std::string task = message_of<InputError>([] { load_task("mine", Share{}.tasks()); });
  std::filesystem::current_path(before);
  EXPECT_TRUE(preset.starts_with("unknown adapter \"lora\": give share")) << preset;
  EXPECT_TRUE(task.starts_with("unknown task \"mine\": give share")) << task;
}

// The edits alone, without the key that they belong to.
TEST(RunRequest, ADefinitionIsASectionNotItsList) {
  const TempFolder folder;
  const std::string head = "model: " + kToy +
                           "/model\ntask: \"text:no,yes\"\ndata: {train: " + kToy +
                           "/train.tsv}\nout: nowhere\n";
  const std::string list = head + "adapter:\n  - lora: {rank: 2}\n";
  RunRequest request;
  request.file = folder / "run.yaml";
  const auto refused = [&](const std::string& text, const std::string& message) {
    write_file_atomically(request.file, text);
    expect_message<InputError>([&] { resolve_run(request, kShare); }, message);
  };
  const std::string expected =
      request.file +
      ":6:3: /adapter: expected a preset's name, a YAML file, or a section with edits: and head:, "
      "found a list; put it below edits:";
  refused(list, expected);
  refused(list + "dropout: 0.1\n", expected);
  request.settings = {"rank=8"};
  refused(list, expected);
  refused(head + "adapter:\n", "head:, found nothing");
}

RunRequest small_run(const std::filesystem::path& out) {
  RunRequest request = toy_request();
  request.adapter.clear();
  request.definition = "edits: [{lora: {rank: 2}}]";
  request.out = out;
  request.settings = {"max_steps=2"};
  return request;
}

TEST(TrainTogether, ChecksAllFoldersBeforeItWritesOne) {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "used");
  write_file_atomically(folder / "used/run.yaml", "");
  expect_message<InputError>(
      [&] {
        train_together({small_run(folder / "one"), small_run(folder / "used")});
      },
      "used' holds a run already");
  expect_message<InputError>(
      [&] {
        train_together({small_run(folder / "one"), small_run(folder / "./one/")});
      },
      "is the folder of two of the runs; give each its own");
  EXPECT_FALSE(std::filesystem::exists(folder / "one"));
}

TEST(TrainTogether, CountsObserversAndRuns) {
  Observer observer;
  expect_message<InputError>(
      [&] {
        train_together({small_run("a"), small_run("b"), small_run("c")}, "", {&observer});
      },
      "observers: expected none or one a run, found 1 observer for 3 runs");
}

// Where one cannot begin, those before it have their files already.
TEST(TrainTogether, ARunThatCannotBeginLeavesTheOthers) {
  const TempFolder folder;
  write_file_atomically(folder / "file", "");
  const std::vector<RunOutcome> outcomes = train_together(
      {small_run(folder / "one"), small_run(folder / "file/run"), small_run(folder / "two")});
  ASSERT_EQ(outcomes.size(), 3U);
  for (const size_t i : {size_t{0}, size_t{2}}) {
    EXPECT_EQ(outcomes[i].failure, "");
    EXPECT_EQ(outcomes[i].end, RunEnd::kDone);
    EXPECT_EQ(outcomes[i].steps_done, 2);
  }
  EXPECT_EQ(outcomes[1].out, (folder / "file/run").string());
  EXPECT_TRUE(outcomes[1].failure.starts_with("cannot create folder")) << outcomes[1].failure;
  EXPECT_EQ(outcomes[1].end, RunEnd::kStopped);
  EXPECT_EQ(outcomes[1].steps_done, 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "two/metrics.json"));
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
  RunRequest request = small_run(folder / "run");
  request.settings = {"max_steps=6"};
  Steps steps(/*stop_after=*/4);
  EXPECT_EQ(train(request, "", &steps), RunEnd::kStopped);
  EXPECT_FALSE(std::filesystem::exists(folder / "run/metrics.json"));
  EXPECT_EQ(resume(request.out), RunEnd::kDone);
  EXPECT_TRUE(std::filesystem::exists(folder / "run/metrics.json"));
  // As a kill leaves it while checkpoints are removed.
  make_directories(folder / "run/checkpoints/step-4");
  EXPECT_EQ(resume(request.out), RunEnd::kDone);  // and stays as it is
  EXPECT_FALSE(std::filesystem::exists(folder / "run/checkpoints"));
}

class Quits final : public Observer {
 public:
  struct Enough : std::exception {};
  void stepped(const StepReport&) override { throw Enough(); }
};

// What leaves a public function is of graft/errors.h, or the program's own.
TEST(PublicErrors, AreThoseThatTheHeaderPromises) {
  const auto thrown = [](const auto& error) {
    return [error] { with_public_errors("Ask for less", [&] { throw error; }); };
  };
  const std::error_code denied = std::make_error_code(std::errc::permission_denied);
  const std::filesystem::filesystem_error refused("status", "some/folder", denied);
  expect_message<IoError>(thrown(refused), "cannot look at 'some/folder': Permission denied");
  expect_message<IoError>(thrown(std::bad_alloc()), "out of memory: ");
  expect_message<IoError>(thrown(std::bad_alloc()), ". Ask for less, or ");
  const c10::Error shapes({__func__, __FILE__, __LINE__}, "sizes differ");
  expect_message<InternalError>(thrown(shapes), "sizes differ");
  expect_message<InternalError>(thrown(std::out_of_range("stod")), "stod");
  expect_message<InternalError>(thrown(std::bad_optional_access()), "optional");
  expect_message<InputError>(thrown(InputError("yours")), "yours");
  EXPECT_EQ(with_public_errors("", [] { return 3; }), 3);
  const TempFolder folder;
  Quits observer;
  EXPECT_THROW(train(small_run(folder / "run"), "", &observer), Quits::Enough);
}

}  // namespace
}  // namespace graft::testing::test_run_request
