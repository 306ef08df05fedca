// Running a study with an engine that only pretends to train: each member once, whatever stops the
// process between.
#include "study/sweep.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "base/random.h"
#include "tests/support/testing.h"

namespace graft::test_sweep {
namespace {

using testing::expect_message;
using testing::TempFolder;

constexpr const char* kStudy = R"(study: pretended
model: m
methods: {lora: lora, head: head, bad: bad}
tasks: {cola: {task: cola, data: d}}
grid: {method: [lora, head], seed: [1, 2, 3, 4]}
)";

class PretendedEngine final : public StudyEngine {
 public:
  Node resolve(const StudyFile& study, const MemberDraft& member) override {
    Node out = Node::map({{"model", Node::text(study.model)},
                          {"adapter", Node::text(member.adapter)},
                          {"adapter_name", Node::text(member.folder)},
                          {"task", Node::text(member.task)}});
    for (const StudySetting& setting : member.settings) {
      if (setting.key == "width")
        throw InputError("--set width=" + setting.value + ": no edit has the option \"width\"");
      set_path(out, setting.key, setting.value);
    }
    if (member.adapter == "bad") throw InputError("adapter 'bad' does not fit the task");
    return out;
  }

  void check(const PlannedMember& member) override {
    if (member.name == refused) throw InputError(refusal);
  }

  bool run(const std::vector<StudyRun>& all, StudyEnds& ends) override {
    for (size_t begin = 0; begin < all.size(); begin += together) {
      const size_t end = std::min(all.size(), begin + together);
      for (size_t i = begin; i < end; ++i) {
        ++runs;
        if (stops_before == runs) return false;
        ends.started(all[i].member);
      }
      ends.advanced(0.5 * static_cast<double>(end - begin));
      for (size_t i = end; i-- > begin;) train(all[i], ends);  // the last ends first
    }
    return true;
  }

  void train(const StudyRun& each, StudyEnds& ends) const {
    ::usleep(static_cast<useconds_t>(microseconds));
    const Node settings = parse_json(each.planned->settings, "member");
    const int64_t seed = std::stoll(settings.find("seed")->scalar);
    if (fails_seed == seed) return ends.failed(each.member, "the loss is inf");
    make_directories(each.folder);
    MemberResult result;
    result.scores = {{"eval", "accuracy", 1 / (1.0 + static_cast<double>(seed))}};
    result.readings = {{"seconds", static_cast<double>(runs)}};
    ends.finished(each.member, result);
  }

  size_t together = 1;
  std::string refused, refusal = "it is too large for this machine";
  int runs = 0, stops_before = 0, microseconds = 0;
  int64_t fails_seed = 0;
};

struct Study {
  explicit Study(const std::string& text = kStudy) : file(parse_study(text, "s.yaml")) {
    plan = plan_study(file, engine);
  }
  SweepEnd sweep(const SweepOptions& options) { return graft::sweep(file, plan, engine, options); }
  StudyFile file;
  PretendedEngine engine;
  StudyPlan plan;
};

void expect_same(const Path& a, const Path& b) {
  const StudyStore one = StudyStore::read(a), other = StudyStore::read(b);
  EXPECT_EQ(one.plan().digest(), other.plan().digest());
  EXPECT_EQ(one.statuses(), other.statuses());
  for (size_t i = 0; i < one.plan().members.size(); ++i)
    EXPECT_TRUE(one.result(i).agrees_with(other.result(i))) << i;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(Sweep, RunsEachMemberOnce) {
  const TempFolder folder;
  Study study;
  std::vector<std::string> started;
  SweepOptions options{folder.path()};
  options.starts = [&](const std::string& member, const SweepProgress& progress) {
    started.push_back(member);
    EXPECT_EQ(progress.total, 8u);
    EXPECT_EQ(progress.done, started.size() - 1);
    EXPECT_EQ(progress.under_way, 1u);
  };
  options.advances = [&](const SweepProgress& progress) {
    EXPECT_EQ(progress.work, static_cast<double>(started.size()) - 0.5);
  };
  const SweepEnd end = study.sweep(options);
  EXPECT_EQ(end.done, 8u);
  EXPECT_FALSE(end.is_stopped);
  EXPECT_EQ(started.front(), "lora, cola, seed 1");
  EXPECT_EQ(study.sweep(options).done, 8u);
  EXPECT_EQ(study.engine.runs, 8);
  const StudyStore store = StudyStore::read(folder / "study.db");
  EXPECT_EQ(store.plan().file, kStudy);
  EXPECT_EQ(store.result(7).scores[0].value, 0.2);
  EXPECT_TRUE(std::filesystem::is_directory(folder / "runs/head_cola_seed-4"));
}

TEST(Sweep, WhatIsWrongIsToldBeforeAnythingRuns) {
  const auto expect = [](const std::string& from, const std::string& to,
                         const std::string& message) {
    expect_message<InputError>([&] { Study(with(kStudy, from, to)); }, message);
  };
  expect("[lora, head]", "[lora, bad]",
         "s.yaml:4:15: member \"bad, cola, seed 1\" and 3 more: adapter 'bad' does not fit");
  expect("seed: [1, 2, 3, 4]", "width: [4, 8]",
         "s.yaml:5:38: member \"lora, cola, width 4\" and 1 more: --set width=4: no edit has");
  expect(
      "head: head", "head: lora",
      "s.yaml:3:29: member \"head, cola, seed 1\" and 3 more: is the same run as a member of the "
      "method at s.yaml:3:17; leave one out");
  expect("1, 2, 3, 4",
         "1, 2], width: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, "
         "17, 18, 19, 20, 21, 22, 23, 24",
         "and 5 more faults");
}

TEST(Sweep, WhatCannotBeTrainedHereIsToldBeforeAnythingRuns) {
  const StudyFile file = parse_study(kStudy, "s.yaml");
  PretendedEngine engine;
  engine.refused = "head, cola, seed 2";
  expect_message<InputError>([&] { plan_study(file, engine); },
                             "s.yaml:3:29: member \"head, cola, seed 2\": it is too large");
}

// A setting of the study that a message only advises is not at fault.
TEST(Sweep, AdviceIsNotTakenForThePlaceOfAFault) {
  const StudyFile file = parse_study(std::string(kStudy) + "set: {precision: fp32}\n", "s.yaml");
  PretendedEngine engine;
  engine.refused = "head, cola, seed 2";
  engine.refusal = "it is too large: lower batch_size, or set precision: bf16";
  expect_message<InputError>([&] { plan_study(file, engine); },
                             "s.yaml:3:29: member \"head, cola, seed 2\": it is too large: lower");
  engine.refusal = "precision: expected fp32";
  expect_message<InputError>([&] { plan_study(file, engine); }, "s.yaml:6:18: member");
}

TEST(Sweep, AMemberThatFailsLeavesTheOthersAlone) {
  const TempFolder folder;
  Study study;
  study.engine.fails_seed = 2;
  std::string told;
  SweepOptions options{folder.path()};
  options.failed = [&](const std::string& member, const std::string& reason) {
    told += member + ": " + reason + "\n";
  };
  EXPECT_EQ(study.sweep(options).failed, 2u);
  EXPECT_EQ(told, "lora, cola, seed 2: the loss is inf\nhead, cola, seed 2: the loss is inf\n");
  EXPECT_EQ(StudyStore::read(folder / "study.db").statuses()[1].reason, "the loss is inf");
  EXPECT_EQ(study.sweep(options).done, 6u);  // not tried again
  EXPECT_EQ(study.engine.runs, 8);
  study.engine.fails_seed = 0;
  options.retries_failed = true;
  EXPECT_EQ(study.sweep(options).done, 8u);
  EXPECT_EQ(study.engine.runs, 10);
}

TEST(Sweep, StopsAndGoesOn) {
  const TempFolder folder, other;
  Study study, whole;
  study.engine.stops_before = 4;
  const SweepEnd end = study.sweep({folder.path()});
  EXPECT_TRUE(end.is_stopped);
  EXPECT_EQ(end.done, 3u);
  EXPECT_FALSE(study.sweep({folder.path()}).is_stopped);
  whole.sweep({other.path()});
  expect_same(folder / "study.db", other / "study.db");
}

TEST(Sweep, MembersMayTrainTogether) {
  const TempFolder folder, other;
  Study study, whole;
  study.engine.together = 3;
  study.engine.fails_seed = whole.engine.fails_seed = 3;
  SweepOptions options{folder.path()};
  size_t most = 0;
  options.advances = [&](const SweepProgress& progress) {
    most = std::max(most, progress.under_way);
    EXPECT_EQ(progress.work,
              static_cast<double>(progress.done) + 0.5 * static_cast<double>(progress.under_way));
  };
  EXPECT_EQ(study.sweep(options).done, 6u);
  EXPECT_EQ(most, 3u);
  whole.sweep({other.path()});
  expect_same(folder / "study.db", other / "study.db");
}

TEST(Sweep, AnotherStudyOrProcessIsRefused) {
  const TempFolder folder;
  Study study, other(with(kStudy, "pretended", "another"));
  study.sweep({folder.path()});
  expect_message<InputError>([&] { other.sweep({folder.path()}); }, "holds another study");
  SweepOptions options{folder / "new"};
  options.starts = [&](const std::string&, const SweepProgress&) {
    Study second;
    expect_message<IoError>([&] { second.sweep({folder / "new"}); },
                            "another process is running this study");
  };
  study.sweep(options);
}

TEST(Sweep, ShardsJoinedEqualOneFile) {
  const TempFolder folder, other;
  std::vector<Path> files;
  for (const char* text : {"1/3", "2/3", "3/3"}) {
    Study study;
    const Shard shard = parse_shard(text);
    EXPECT_EQ(study.sweep({folder.path(), shard}).total, shard.index == 3 ? 2u : 3u);
    files.push_back(store_path(folder.path(), shard));
  }
  EXPECT_EQ(files[1].filename(), "shard-2-of-3.db");
  join_studies(files, folder / "joined.db");
  Study whole;
  whole.sweep({other.path()});
  expect_same(folder / "joined.db", other / "study.db");
  for (const char* text : {"0/3", "4/3", "2", "2/", "/3", "2/3x", "a/b"})
    expect_message<InputError>([&] { parse_shard(text); }, "shard: expected K/N");
}

TEST(Sweep, KilledTwentyTimesEndsAsOneNeverInterrupted) {
  const TempFolder folder, other;
  Random random(RandomKey{}.with("sweep"));
  int cut = 0;
  for (int kills = 0;; ++kills) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Study study;
      study.engine.microseconds = 3000;
      study.sweep({folder.path()});
      ::_exit(0);
    }
    if (kills < 20) {
      ::usleep(static_cast<useconds_t>(random.below(25000)));
      ::kill(child, SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      if (kills >= 20) break;
    }
    cut += WIFSIGNALED(status) ? 1 : 0;
  }
  EXPECT_GE(cut, 3);
  Study whole;
  whole.sweep({other.path()});
  expect_same(folder / "study.db", other / "study.db");
}

}  // namespace
}  // namespace graft::test_sweep
