// The file of a study: what is written comes back, a foreign or damaged file is left as it is, a
// killed process leaves whole members, and files of one study are put together.
#include "study/store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "base/random.h"
#include "study/database.h"
#include "study/result_node.h"
#include "tests/support/testing.h"

namespace graft::test_store {
namespace {

using testing::expect_message;
using testing::TempFolder;

constexpr size_t kMembers = 6;

StudyPlan plan_of(const std::string& name = "small") {
  StudyPlan plan{name, "study: " + name + "\n", {}};
  for (size_t i = 0; i < kMembers; ++i) {
    const std::string method = i % 2 == 0 ? "lora" : "head", seed = std::to_string(i / 2);
    plan.members.push_back({method + ", seed " + seed,
                            {{"method", method}, {"seed", seed}},
                            "{\"adapter\": \"" + method + "\", \"seed\": " + seed + "}"});
  }
  return plan;
}

MemberResult result_of(size_t member, double seconds = 1.5) {
  const auto x = static_cast<double>(member);
  MemberResult result;
  result.scores = {{"eval", "accuracy", 0.5 + x / 100}, {"eval", "matthews", std::nullopt}};
  for (int64_t step = 1; step <= 20; ++step)
    result.curve.push_back({"train", "loss", step, 1 / static_cast<double>(step)});
  for (int64_t row = 0; row < 50; ++row)
    result.answers.push_back(
        {"eval", row, "row " + std::to_string(row), "yes", row % 3 ? "yes" : "no"});
  result.records = {{10, "enc.0.gate", "[0.25, 0.75]"}};
  result.facts = {{"steps", 20}, {"edit_parameters", 1e9 + x}};
  result.readings = {{"seconds", seconds}};
  return result;
}

void expect_same(const StudyStore& a, const StudyStore& b) {
  EXPECT_EQ(a.plan().digest(), b.plan().digest());
  ASSERT_EQ(a.statuses(), b.statuses());
  for (size_t i = 0; i < kMembers; ++i)
    EXPECT_TRUE(a.result(i).agrees_with(b.result(i))) << "member " << i;
}

TEST(StudyStore, WhatIsWrittenComesBack) {
  const TempFolder folder;
  const Path path = folder / "study.db";
  const std::string odd = std::string("a\0b \xc3\xa9 '\"", 10);
  {
    StudyStore store = StudyStore::open(path, plan_of());
    MemberResult result = result_of(3);
    result.answers[7].answer = odd;
    store.finish(3, result);
    store.fail(4, "the loss is inf at step 2");
  }
  const StudyStore store = StudyStore::read(path);
  EXPECT_EQ(store.plan().name, "small");
  EXPECT_EQ(store.plan().file, "study: small\n");
  EXPECT_EQ(store.plan().members, plan_of().members);
  EXPECT_EQ(*store.plan().members[2].factor("seed"), "1");
  EXPECT_EQ(store.plan().members[2].factor("rank"), nullptr);
  const std::vector<MemberStatus> statuses = store.statuses();
  EXPECT_EQ(statuses[0], MemberStatus{});
  EXPECT_EQ(statuses[3].state, MemberState::kDone);
  EXPECT_EQ(statuses[4], (MemberStatus{MemberState::kFailed, "the loss is inf at step 2"}));
  MemberResult expected = result_of(3);
  EXPECT_FALSE(store.result(3).agrees_with(expected));
  expected.answers[7].answer = odd;
  EXPECT_TRUE(store.result(3).agrees_with(expected));
  EXPECT_EQ(store.result(3).readings, expected.readings);
  EXPECT_FALSE(store.result(3).scores[1].value);
}

// As one process hands it to another.
TEST(ResultNode, ComesBackBitForBit) {
  MemberResult result = result_of(3, 0.1 + 0.2);
  result.answers[7].answer = std::string("a\0b \xc3\xa9 '\"\n", 11);
  result.curve[4].value = std::nullopt;
  result.curve[5].value = -5e-324;
  result.facts.push_back({"largest", 1.7976931348623157e308});
  const MemberResult back = parse_result(parse_json(to_json(result_node(result), -1), "line"));
  EXPECT_TRUE(back.agrees_with(result));
  EXPECT_EQ(back.answers, result.answers);
  EXPECT_EQ(back.curve, result.curve);
  EXPECT_EQ(back.facts, result.facts);
  EXPECT_EQ(back.readings, result.readings);
}

// Tables of many members hold no more than they show.
TEST(StudyStore, GivesPartsOfAResult) {
  StudyStore store = StudyStore::in_memory(plan_of());
  MemberResult result = result_of(3);
  result.answers.push_back({"test", 0, "t", "no", "yes"});
  store.finish(3, result);
  const MemberResult summary = store.summary(3);
  EXPECT_EQ(summary.scores, result.scores);
  EXPECT_EQ(summary.facts, result.facts);
  EXPECT_EQ(summary.readings, result.readings);
  EXPECT_TRUE(summary.curve.empty() && summary.answers.empty() && summary.records.empty());
  EXPECT_EQ(store.answers(3, "test"), std::vector<RowAnswer>{result.answers.back()});
  EXPECT_EQ(store.answers(3, "eval").size(), 50u);
}

// A connection that reads already does not wait for another's transaction.
TEST(StudyStore, ABusyFileIsNoFaultOfWhatIsWritten) {
  const TempFolder folder;
  Database one(folder / "s.db", Database::Mode::kCreate);
  one.execute("CREATE TABLE t (x)");
  Database other(folder / "s.db", Database::Mode::kOpen);
  other.execute("BEGIN");
  EXPECT_EQ(other.integer("SELECT count(*) FROM t"), 0);
  one.execute("BEGIN IMMEDIATE");
  expect_message<IoError>([&] { other.execute("INSERT INTO t VALUES (1)"); },
                          "s.db': another process is at it");
}

TEST(StudyStore, AMemberThatIsDoneAnewCountsOnce) {
  const TempFolder folder;
  StudyStore store = StudyStore::open(folder / "study.db", plan_of());
  store.fail(0, "no memory");
  store.finish(0, result_of(0));
  EXPECT_EQ(store.statuses()[0], (MemberStatus{MemberState::kDone, ""}));
  store.finish(0, result_of(0, 9));
  EXPECT_EQ(store.result(0).answers.size(), 50u);
  EXPECT_EQ(store.result(0).readings, (std::vector<NamedNumber>{{"seconds", 9}}));
}

TEST(StudyStore, AnotherStudyIsNeverWrittenOver) {
  const TempFolder folder;
  const Path path = folder / "study.db";
  StudyStore::open(path, plan_of()).finish(0, result_of(0));
  const std::string before = read_file(path);
  const auto open = [&](const StudyPlan& plan) { return [&] { StudyStore::open(path, plan); }; };
  const StudyPlan other = plan_of("other");
  expect_message<InputError>(open(other),
                             "holds another study than this one: it holds the study "
                             "\"small\"");
  StudyPlan fewer = plan_of();
  fewer.members.pop_back();
  expect_message<InputError>(open(fewer), "its study has 6 members, this one 5");
  StudyPlan changed = plan_of();
  changed.members[5].settings = "{\"seed\": 3}";
  expect_message<InputError>(open(changed), "the settings of its member \"head, seed 2\"");
  StudyPlan comment = plan_of();  // what the file says beside the study is free
  comment.file += "# a remark\n";
  EXPECT_EQ(StudyStore::open(path, comment).statuses()[0].state, MemberState::kDone);
  EXPECT_EQ(read_file(path), before);
}

// A seed and a method more, and other names of the same runs: what was done stays done.
TEST(StudyStore, AStudyMayGetMoreMembers) {
  const TempFolder folder;
  const Path path = folder / "study.db";
  {
    StudyStore store = StudyStore::open(path, plan_of());
    store.finish(1, result_of(1));
    store.finish(4, result_of(4));
    store.fail(5, "no memory");
  }
  StudyPlan more = plan_of();
  const PlannedMember added{"prefix, seed 0", {{"method", "prefix"}, {"seed", "0"}}, "{}"};
  more.members.insert(more.members.begin() + 2, added);
  more.members[1].name = "the head alone, seed 0";
  {
    const StudyStore store = StudyStore::open(path, more);
    EXPECT_EQ(store.plan().members, more.members);
    using enum MemberState;
    const std::vector<MemberStatus> expected = {
        {kWaiting, ""}, {kDone, ""}, {kWaiting, ""},        {kWaiting, ""},
        {kWaiting, ""}, {kDone, ""}, {kFailed, "no memory"}};
    EXPECT_EQ(store.statuses(), expected);
    EXPECT_TRUE(store.result(1).agrees_with(result_of(1)));
    EXPECT_TRUE(store.result(5).agrees_with(result_of(4)));
    EXPECT_EQ(store.readings(5), result_of(4).readings);
  }
  const std::string before = read_file(path);
  expect_message<InputError>([&] { StudyStore::open(path, plan_of()); },
                             "its study has 7 members, this one 6");
  EXPECT_EQ(read_file(path), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(StudyStore, ForeignAndDamagedFilesAreLeftAsTheyAre) {
  const TempFolder folder;
  const Path path = folder / "study.db";
  const auto expect_left = [&](const std::string& bytes, const std::string& message) {
    write_file_atomically(path, bytes);
    expect_message<InputError>([&] { StudyStore::open(path, plan_of()); }, message);
    expect_message<InputError>([&] { StudyStore::read(path); }, message);
    EXPECT_EQ(read_file(path), bytes);
  };
  expect_left("", "is no study, and is left as it is");
  expect_left(
      "notes of mine, which are long enough to be more than a header of a database file, "
      "whose length is a hundred bytes",
      "is damaged, or no SQLite file");
  {
    Database foreign(folder / "foreign.db", Database::Mode::kCreate);
    foreign.execute("CREATE TABLE mine (x)");
  }
  expect_left(read_file(folder / "foreign.db"), "is no study, and is left as it is");
  StudyStore::open(folder / "good.db", plan_of()).finish(0, result_of(0));
  const std::string good = read_file(folder / "good.db");
  expect_left(good.substr(0, good.size() / 2), "is damaged");
  expect_left(good.substr(0, good.size() - 1000), "is damaged");
  std::string hole = good;
  std::fill(hole.begin() + 8192, hole.begin() + 12288, '\0');
  expect_left(hole, "is damaged");
  {
    Database later(folder / "good.db", Database::Mode::kOpen);
    later.execute("PRAGMA user_version = 2");
  }
  expect_left(read_file(folder / "good.db"), "expected a study of version 1, found version 2");
}

TEST(StudyStore, AFileThatWasChangedByHandIsSaidToBeDamaged) {
  for (const auto& [change, message] : std::vector<std::pair<std::string, std::string>>{
           {"DROP TABLE records", "is damaged (expected \"CREATE TABLE records"},
           {"ALTER TABLE facts RENAME COLUMN value TO number",
            "is damaged (expected \"CREATE TABLE facts"},
           {"DELETE FROM study", "is damaged (its table 'study' is empty)"},
           {"DELETE FROM members WHERE member = 2", "is damaged (member 2 is missing)"},
           {"INSERT INTO factors VALUES (-1, 0, 'method', 'mine')",
            "is damaged (a factor of member -1, of which there is none)"},
           {"PRAGMA ignore_check_constraints = ON; UPDATE members SET state = 'over'",
            "is damaged (CHECK constraint failed in members)"}}) {
    const TempFolder folder;
    const Path path = folder / "study.db";
    StudyStore::open(path, plan_of()).finish(0, result_of(0));
    Database(path, Database::Mode::kOpen).execute(change.c_str());
    expect_message<InputError>([&] { StudyStore::read(path); }, "study.db': " + message);
  }
}

// It is there and is not: what a name that leads nowhere stands for is nobody's to replace.
TEST(StudyStore, ALinkThatLeadsNowhereIsLeft) {
  const TempFolder folder;
  const Path path = folder / "study.db";
  std::filesystem::create_symlink(folder / "nowhere", path);
  expect_message<IoError>([&] { StudyStore::open(path, plan_of()); }, "cannot make");
  EXPECT_TRUE(std::filesystem::is_symlink(path));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

// A child finishes members until it is killed; what it leaves is whole, and going on ends in the
// same study.
TEST(StudyStore, AKilledProcessLeavesWholeMembers) {
  const TempFolder folder;
  const Path path = folder / "study.db";
  StudyStore whole = StudyStore::open(folder / "whole.db", plan_of());
  for (size_t i = 0; i < kMembers; ++i) whole.finish(i, result_of(i));
  Random random(RandomKey{}.with("kills"));
  int kills = 0, cut = 0;
  for (bool is_done = false; !is_done; ++kills) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      StudyStore store = StudyStore::open(path, plan_of());
      const std::vector<MemberStatus> statuses = store.statuses();
      for (size_t i = 0; i < kMembers; ++i) {
        if (statuses[i].state == MemberState::kWaiting) store.finish(i, result_of(i));
        if (kills == 0 && i == kMembers / 2) ::raise(SIGSTOP);  // the first one gets no further
      }
      ::_exit(0);
    }
    int status = 0;
    if (kills == 0) {
      ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
    }
    if (kills < 20) {
      if (kills > 0) ::usleep(static_cast<useconds_t>(random.below(15000)));
      ::kill(child, SIGKILL);
    }
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    is_done = WIFEXITED(status);
    cut += is_done ? 0 : 1;
    if (!std::filesystem::exists(path)) continue;
    const StudyStore left = StudyStore::read(path);
    const std::vector<MemberStatus> statuses = left.statuses();
    for (size_t i = 0; i < kMembers; ++i) {
      if (statuses[i].state == MemberState::kDone)
        EXPECT_TRUE(left.result(i).agrees_with(result_of(i)));
      else EXPECT_TRUE(left.result(i).answers.empty());
    }
  }
  EXPECT_GE(cut, 1);
  expect_same(StudyStore::read(path), whole);
}

TEST(StudyStore, ShardsJoinedEqualOneFile) {
  const TempFolder folder;
  StudyStore whole = StudyStore::open(folder / "whole.db", plan_of());
  std::vector<Path> shards;
  for (size_t shard = 0; shard < 3; ++shard) {
    shards.push_back(folder / ("shard" + std::to_string(shard) + ".db"));
    StudyStore store = StudyStore::open(shards.back(), plan_of());
    for (size_t i = shard; i < kMembers; i += 3) {
      if (i == 4) {
        whole.fail(i, "no memory");
        store.fail(i, "no memory");
        continue;
      }
      whole.finish(i, result_of(i));
      store.finish(i, result_of(i, static_cast<double>(shard)));
    }
  }
  join_studies(shards, folder / "joined.db");
  expect_same(StudyStore::read(folder / "joined.db"), whole);
  expect_message<InputError>([&] { join_studies(shards, folder / "joined.db"); },
                             "is there already");
  shards.push_back(shards.front());  // doubles that agree are one
  join_studies(shards, folder / "again.db");
  expect_same(StudyStore::read(folder / "again.db"), whole);

  StudyStore other = StudyStore::open(folder / "other.db", plan_of());
  MemberResult result = result_of(2);
  result.answers[3].answer = "maybe";
  other.finish(2, result);
  shards.back() = folder / "other.db";
  expect_message<InputError>([&] { join_studies(shards, folder / "third.db"); },
                             "the member \"lora, seed 1\" is there and in a file before it");
  StudyStore::open(folder / "stranger.db", plan_of("stranger"));
  shards.back() = folder / "stranger.db";
  expect_message<InputError>([&] { join_studies(shards, folder / "third.db"); },
                             "is of another study than");
  EXPECT_FALSE(std::filesystem::exists(folder / "third.db"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 8);
}

// A limit on the size of files stands for a full disk: the member that finds no room waits still.
TEST(StudyStore, AFullDiskIsAnErrorOfTheSystem) {
  const TempFolder folder;
  const Path path = folder / "study.db";
  StudyStore::open(path, plan_of()).finish(0, result_of(0));
  const auto size = static_cast<rlim_t>(std::filesystem::file_size(path));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{size + 4096, size + 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      StudyStore store = StudyStore::open(path, plan_of());
      for (size_t i = 1; i < kMembers; ++i) store.finish(i, result_of(i));
    } catch (const IoError&) {
      ::_exit(7);
    } catch (...) {
      ::_exit(8);
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  const StudyStore left = StudyStore::read(path);
  const std::vector<MemberStatus> statuses = left.statuses();
  EXPECT_EQ(statuses.front().state, MemberState::kDone);
  EXPECT_EQ(statuses.back().state, MemberState::kWaiting);
  for (size_t i = 0; i < kMembers; ++i) {
    const bool is_done = statuses[i].state == MemberState::kDone;
    EXPECT_EQ(left.result(i).agrees_with(result_of(i)), is_done) << i;
    EXPECT_EQ(left.result(i).answers.empty(), !is_done) << i;
  }
}

}  // namespace
}  // namespace graft::test_store
