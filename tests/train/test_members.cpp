// Members of a study: each makes the files that it makes alone, whoever trains beside it, joins or
// leaves.
#include "train/members.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <new>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/limited_allocator.h"
#include "tests/train/runs.h"

namespace graft::testing::test_members {
namespace {

namespace fs = std::filesystem;

struct Wanted {
  std::string name, definition, settings;
};

// They differ in all that runs may differ in; the last three take turns.
std::vector<Wanted> different_runs() {
  return {
      {"lora", "{edits: [{lora: {rank: 2, dropout: 0.1}}]}",
       "{epochs: 2, batch_size: 5, dropout: 0.1, learning_rate: 1e-2}"},
      {"rank", "{edits: [{lora: {rank: 5}}]}",
       "{epochs: 3, batch_size: 8, dropout: 0.3, seed: 7, schedule: cosine, clip: 0.1}"},
      {"adamix", "{edits: [{stochastic: {experts: 2}, of: {bottleneck: {reduction: 2}}}]}",
       "{epochs: 2, batch_size: 6, dropout: 0.1, consistency: 1, seed: 5}"},
      {"unipelt",
       "{edits: [{gate: {}, of: {prefix: {length: 3}}}, {gate: {}, of: {bottleneck: {}}}, "
       "{gate: {}, of: {lora: {rank: 2}}}]}",
       "{epochs: 2, batch_size: 7, dropout: 0.1}"},
      {"loreft", "{edits: [{reft: {rank: 2, positions: f2+l1}}]}",
       "{epochs: 2, batch_size: 24, order: length, weight_decay: 0.1}"},
      {"molora",
       "{edits: [{router: {experts: 3, top_k: 2, balance: 0.1, input: site}, of: {lora: {rank: "
       "2}}}]}",
       "{epochs: 2, batch_size: 5, accumulate: 2, dropout: 0.1, save_memory: true}"},
      {"prompt", "{edits: [{prompt: {length: 4}}]}", "{max_steps: 3, batch_size: 3, dropout: 0}"},
      {"stops", "{edits: [{lora: {rank: 2, dropout: 0.1}}]}",
       "{epochs: 40, batch_size: 8, evaluate_every: 1 step, early_stop: 4, learning_rate: 0.02}"},
      {"head", "{edits: [], head: {pooler: trained}}", "{epochs: 1, batch_size: 9, dropout: 0.2}"},
      {"late", "{edits: [{lora: {rank: 2, dropout: 0.1, layers: [1]}}]}",
       "{epochs: 3, batch_size: 5, dropout: 0}"},
      {"later", "{edits: [{reft: {rank: 2, layers: [1]}}]}",
       "{epochs: 3, batch_size: 7, dropout: 0}"},
      {"skills", "{edits: [{reft: {rank: 4, positions: f2, clamp: length}}]}",
       "{epochs: 2, batch_size: 6, dropout: 0.1}"},
      {"late skills", "{edits: [{reft: {rank: 3, positions: all, layers: [1]}}]}",
       "{epochs: 3, batch_size: 5, dropout: 0}"},
      {"last", "{edits: []}", "{epochs: 4, batch_size: 9, dropout: 0}"},
      {"full", "{edits: [{full: {}}]}", "{epochs: 1, batch_size: 5, dropout: 0.1}"},
      {"bitfit", "{edits: [{bitfit: {}}]}", "{epochs: 2, batch_size: 5, dropout: 0.1}"},
      {"top", "{edits: [{top-layers: {count: 1}}]}", "{epochs: 1, batch_size: 4}"},
  };
}

RunInputs inputs_of(const Wanted& wanted, const Path& folder) {
  RunInputs inputs = run_inputs(wanted.definition, folder / wanted.name, wanted.settings);
  if (wanted.name == "stops") inputs.eval = evaluation_rows(inputs);
  if (wanted.name.ends_with("skills")) name_subspaces(own_rows(inputs));
  return inputs;
}

void run_alone(const Wanted& wanted, const Path& folder) {
  TrainingRun run(inputs_of(wanted, folder), StartMode::kFresh);
  drive_to(run);
  run.finish();
}

// All that a run writes but for times, memory and its own name: adapter, losses, norms, scores.
std::map<std::string, std::string> written_by(const Path& run) {
  std::map<std::string, std::string> out;
  out["adapter.safetensors"] = read_file(run / "adapter" / "adapter.safetensors");
  out["adapter.json"] = read_file(run / "adapter" / "adapter.json");
  std::string events;
  for (const char* kind : {"start", "step", "evaluate", "records", "still", "done"}) {
    for (Node event : log_events(run, kind)) {
      for (const char* key : {"time", "seconds", "peak_bytes"}) {
        if (event.find(key) != nullptr) event[key] = Node::integer(0);
      }
      events += to_json(event);
    }
  }
  out["log.jsonl"] = events;
  Node metrics = parse_json(read_file(run / "metrics.json"), "metrics.json");
  for (const char* key : {"seconds", "peak_bytes"}) metrics[key] = Node::integer(0);
  out["metrics.json"] = to_json(metrics);
  for (const auto& entry : fs::recursive_directory_iterator(run))
    out["files"] += entry.path().lexically_relative(run).string() + "\n";
  return out;
}

void expect_same_files(const Path& found, const Path& expected) {
  const auto own = written_by(found), other = written_by(expected);
  for (const auto& [file, bytes] : other)
    EXPECT_TRUE(own.at(file) == bytes) << found.filename() << ": " << file << "\n"
                                       << (file == "log.jsonl" ? own.at(file) + "\n" + bytes : "");
}

TEST(Members, WriteTheFilesThatEachWritesAlone) {
  const TempFolder folder;
  Members members;
  for (const Wanted& wanted : different_runs()) {
    run_alone(wanted, folder / "alone");
    members.join(inputs_of(wanted, folder / "together"));
  }
  while (!members.is_done()) members.step();
  for (size_t i = 0; i < members.size(); ++i) {
    EXPECT_EQ(members.status(i).state, Members::State::kDone) << members.status(i).failure;
    EXPECT_GT(members.status(i).steps_done, 0);
    const std::string name = different_runs()[i].name;
    expect_same_files(folder / "together" / name, folder / "alone" / name);
  }
}

TEST(Members, DoNotDependOnHowManyTokensShareAPass) {
  const TempFolder folder;
  const Wanted wanted = different_runs().front();
  run_alone(wanted, folder / "alone");
  for (const int64_t tokens : {int64_t{1}, int64_t{200}}) {
    const Path own = folder / std::to_string(tokens);
    Members members(tokens);
    for (const Wanted& each : different_runs()) {
      if (each.name != "full") members.join(inputs_of(each, own));
    }
    while (!members.is_done()) members.step();
    expect_same_files(own / wanted.name, folder / "alone" / wanted.name);
  }
}

TEST(Members, JoinAndLeaveBetweenSteps) {
  const TempFolder folder;
  const std::vector<Wanted> wanted = different_runs();
  for (size_t i = 0; i < 3; ++i) run_alone(wanted[i], folder / "alone");
  const Path together = folder / "together";
  Members members;
  members.join(inputs_of(wanted[0], together));
  members.step();
  members.join(inputs_of(wanted[1], together));
  members.step();
  members.leave(0);
  EXPECT_EQ(members.status(0).state, Members::State::kLeft);
  members.join(inputs_of(wanted[2], together));
  members.step();
  members.step();
  // It goes on among the others, and comes to its own end.
  const size_t again = members.join(inputs_of(wanted[0], together), StartMode::kResume);
  EXPECT_EQ(members.status(again).steps_done, 2);
  while (!members.is_done()) members.step();
  for (size_t i = 0; i < 3; ++i)
    expect_same_files(together / wanted[i].name, folder / "alone" / wanted[i].name);
}

// One whose loss overflows leaves with its reason; the passes that it was in give the others what
// they get without it.
TEST(Members, OneThatFailsLeavesTheOthersTheirBits) {
  const TempFolder folder;
  const std::vector<Wanted> wanted = different_runs();
  run_alone(wanted[0], folder / "alone");
  run_alone(wanted[2], folder / "alone");
  RunInputs bad = run_inputs("{edits: [{lora: {rank: 2}}]}", folder / "together" / "bad",
                             "{epochs: 1, batch_size: 8, order: file}");
  bad.task = regression_task();
  own_rows(bad).examples[11].label = 1e30;  // in the second step; its square is beyond float32
  RunInputs no_number = run_inputs("{edits: [{bottleneck: {}}]}", folder / "together" / "nan",
                                   "{epochs: 2, batch_size: 8, order: file}");
  no_number.task = regression_task();
  own_rows(no_number).examples[20].label = std::nan("");
  RunInputs long_row = run_inputs("{edits: [{lora: {}}]}", folder / "together" / "long",
                                  "{epochs: 1, batch_size: 24, order: file}");
  Sequence& longest = own_rows(long_row).sequences[4];
  longest.ids.assign(9999, 5);
  longest.type_ids.assign(9999, 0);
  Members members;
  members.join(inputs_of(wanted[0], folder / "together"));
  const size_t overflows = members.join(std::move(bad)),
               is_nan = members.join(std::move(no_number)),
               is_long = members.join(std::move(long_row));
  members.join(inputs_of(wanted[2], folder / "together"));
  while (!members.is_done()) members.step();
  for (const auto& [member, steps, reason] : {std::tuple(overflows, 1, "step 2: the loss is inf"),
                                              std::tuple(is_nan, 2, "step 3: the loss is nan"),
                                              std::tuple(is_long, 0, "takes 9999 positions")}) {
    const Members::Status& status = members.status(member);
    EXPECT_EQ(status.state, Members::State::kFailed);
    EXPECT_EQ(status.steps_done, steps);
    EXPECT_NE(status.failure.find(reason), std::string::npos) << status.failure;
  }
  for (const size_t i : {size_t{0}, size_t{2}})
    expect_same_files(folder / "together" / wanted[i].name, folder / "alone" / wanted[i].name);
}

TEST(Members, OneThatLeavesAndCannotBeSavedLeavesTheOthersTheirBits) {
  const TempFolder folder;
  const std::vector<Wanted> wanted = different_runs();
  run_alone(wanted[0], folder / "alone");
  Members members;
  for (size_t i = 0; i < 2; ++i) members.join(inputs_of(wanted[i], folder / "together"));
  members.step();
  fail_writes_after(0);
  EXPECT_NO_THROW(members.leave(1));
  fail_writes_after(-1);
  EXPECT_EQ(members.status(1).state, Members::State::kFailed);
  EXPECT_THROW(std::rethrow_exception(members.status(1).error), IoError);
  while (!members.is_done()) members.step();
  EXPECT_EQ(members.status(0).state, Members::State::kDone) << members.status(0).failure;
  expect_same_files(folder / "together" / wanted[0].name, folder / "alone" / wanted[0].name);
}

// In one pass with the others, or behind theirs in the same step: what the step had done by then
// leaves no trace, and where there is no memory for all at once each has it by itself.
TEST(Members, OneWithoutMemoryLeavesTheOthersTheirBits) {
  const TempFolder folder;
  const std::vector<Wanted> all = different_runs();
  const std::vector<Wanted> small = {all[0], all[2], all[9]};  // of which one keeps rows
  const Wanted large = {"large", "{edits: [{lora: {rank: 2}}]}", "{epochs: 2, batch_size: 24}"};
  LimitedAllocator memory;
  for (const Wanted& wanted : small) run_alone(wanted, folder / "alone");
  const size_t enough = memory.largest;
  run_alone(large, folder / "alone");
  ASSERT_GT(memory.largest, enough) << "the large run takes more than any of the small ones";
  for (const int64_t tokens : {int64_t{1}, Members::kPassTokens}) {
    SCOPED_TRACE(tokens);
    const Path own = folder / std::to_string(tokens);
    Members members(tokens);
    for (const Wanted& wanted : {small[0], small[2], large, small[1]})
      members.join(inputs_of(wanted, own));
    memory.limit = enough;
    while (!members.is_done()) members.step();
    memory.limit = SIZE_MAX;
    for (const size_t i : {size_t{0}, size_t{1}, size_t{3}})
      EXPECT_EQ(members.status(i).state, Members::State::kDone) << members.status(i).failure;
    const Members::Status& status = members.status(2);
    EXPECT_EQ(status.state, Members::State::kFailed);
    EXPECT_EQ(status.steps_done, 0);
    EXPECT_TRUE(status.failure.starts_with("out of memory: ")) << status.failure;
    EXPECT_NE(status.failure.find("Lower batch_size"), std::string::npos) << status.failure;
    EXPECT_THROW(std::rethrow_exception(status.error), InputError);
    for (const Wanted& wanted : small)
      expect_same_files(own / wanted.name, folder / "alone" / wanted.name);
  }
}

// Memory that is short for a moment costs one member at most, whenever the moment is: none where it
// is that of a shared pass, which is taken apart.
TEST(Members, AMomentWithoutMemoryCostsOneMemberAtMost) {
  const TempFolder folder;
  std::vector<Wanted> wanted = {different_runs()[0], different_runs()[2], different_runs()[9]};
  for (Wanted& each : wanted) {
    each.settings.replace(each.settings.find("epochs"), 9, "max_steps: 6");
    run_alone(each, folder / "alone");
  }
  // The allocation that is refused, counted from the first step on; all of them where it is far.
  const auto failures = [&](int64_t refused, int64_t& count) {
    const Path own = folder / std::to_string(refused);
    Members members;
    for (const Wanted& each : wanted) members.join(inputs_of(each, own));
    LimitedAllocator memory;
    memory.refused = refused;
    while (!members.is_done()) members.step();
    count = memory.count;
    int64_t failed = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      if (members.status(i).state == Members::State::kFailed) ++failed;
      else expect_same_files(own / wanted[i].name, folder / "alone" / wanted[i].name);
    }
    return failed;
  };
  int64_t count = 0, ignored = 0, unharmed = 0;
  ASSERT_EQ(failures(INT64_MAX, count), 0);
  constexpr int64_t kMoments = 24;
  ASSERT_GT(count, kMoments);
  for (int64_t i = 0; i < kMoments; ++i) {
    const int64_t failed = failures(count * i / kMoments, ignored);
    EXPECT_LE(failed, 1);
    unharmed += failed == 0 ? 1 : 0;
  }
  EXPECT_GT(unharmed, 0) << "some moments are those of shared passes";
}

// Memory may also end between two steps, in the library's own containers.
TEST(Members, OneWithoutMemoryForItsReportsLeavesToo) {
  struct Full final : Observer {
    void stepped(const StepReport& report) override {
      if (report.step == 2) throw std::bad_alloc();
    }
  };
  const TempFolder folder;
  const std::vector<Wanted> wanted = different_runs();
  run_alone(wanted[0], folder / "alone");
  Full full;
  Members members;
  members.join(inputs_of(wanted[1], folder / "together"), StartMode::kFresh, &full);
  members.join(inputs_of(wanted[0], folder / "together"));
  while (!members.is_done()) members.step();
  EXPECT_EQ(members.status(0).state, Members::State::kFailed);
  EXPECT_TRUE(members.status(0).failure.starts_with("out of memory: "));
  expect_same_files(folder / "together" / wanted[0].name, folder / "alone" / wanted[0].name);
}

// What is wrong with Graft is no member's failure.
TEST(Members, AnErrorOfOursIsNotTakenForWantOfMemory) {
  struct Wrong final : Observer {
    void stepped(const StepReport&) override { throw InternalError("a claim does not hold"); }
  };
  const TempFolder folder;
  Wrong wrong;
  Members members;
  members.join(inputs_of(different_runs()[0], folder.path()), StartMode::kFresh, &wrong);
  EXPECT_THROW(members.step(), InternalError);
}

TEST(Members, ShareOneModelInMemory) {
  const TempFolder folder;
  Members members;
  const std::vector<Wanted> wanted = different_runs();
  members.join(inputs_of(wanted[0], folder.path()));
  RunInputs other = inputs_of(wanted[1], folder.path());
  other.model = std::make_shared<const Model>(*other.model);
  expect_message<InputError>([&] { members.join(std::move(other)); },
                             "all members of a study share one model in memory");
  expect_message<InputError>([&] { members.join(inputs_of(wanted[0], folder.path())); },
                             "holds a run already");
  EXPECT_EQ(members.size(), 1U);
  members.checkpoint();
  EXPECT_TRUE(fs::exists(folder.path() / wanted[0].name / "checkpoints" / "step-0"));
}

}  // namespace
}  // namespace graft::testing::test_members
