// What a run keeps of its rows from epoch to epoch, and that it leaves no trace in what it writes.
#include "train/row_cache.h"

#include <gtest/gtest.h>

#include "tests/train/runs.h"
#include "train/plan.h"

namespace graft::testing::test_row_cache {
namespace {

constexpr const char* kLate = "{edits: [{lora: {rank: 2, dropout: 0.1, layers: [1]}}]}";
constexpr const char* kHead = "{edits: []}";
constexpr const char* kSkills = "{edits: [{reft: {rank: 3, positions: all, layers: [1]}}]}";

RunInputs inputs_of(const char* definition, const Path& out, const std::string& settings) {
  RunInputs inputs = run_inputs(definition, out, settings);
  if (std::string_view(definition) == kSkills) name_subspaces(own_rows(inputs));
  inputs.eval = evaluation_rows(inputs);
  return inputs;
}

TEST(RowCache, HoldsWhatPassesAgainAndIsTheSame) {
  const TempFolder folder;
  const auto cache = [&](const char* definition, const std::string& settings) {
    return plan_row_cache(inputs_of(definition, folder / "run", settings));
  };
  const RowCache late = cache(kLate, "{epochs: 2}"), head = cache(kHead, "{epochs: 2}");
  EXPECT_GT(late.train_bytes, 0);
  EXPECT_EQ(late.eval_bytes, late.train_bytes) << "the same rows";
  EXPECT_LT(head.train_bytes, late.train_bytes) << "one row of each text is read";
  EXPECT_EQ(cache(kLate, "{epochs: 1}").train_bytes, 0) << "every row passes once";
  EXPECT_GT(cache(kLate, "{epochs: 1}").eval_bytes, 0) << "at the last step, and at the end";
  EXPECT_GT(cache(kLate, "{epochs: 1, consistency: 1}").train_bytes, 0) << "twice in a step";
  EXPECT_EQ(cache(kLate, "{epochs: 2, dropout: 0.1}").train_bytes, 0);
  EXPECT_GT(cache(kLate, "{epochs: 2, dropout: 0.1}").eval_bytes, 0);
  EXPECT_EQ(cache("{edits: [{lora: {}}]}", "{epochs: 2}").bytes(), 0);
  EXPECT_EQ(cache(kLate, "{epochs: 2, cache: never}").bytes(), 0);
  const std::string room = std::to_string(late.train_bytes);
  EXPECT_EQ(cache(kLate, "{epochs: 2, cache: " + room + "}").bytes(), late.train_bytes);
  EXPECT_EQ(cache(kLate, "{epochs: 2, cache: 1 kB}").bytes(), 0);
}

TEST(RowCache, IsCountedByThePlan) {
  const TempFolder folder;
  const RunInputs kept = inputs_of(kLate, folder / "run", "{epochs: 2}"),
                  never = inputs_of(kLate, folder / "run", "{epochs: 2, cache: never}");
  EXPECT_EQ(make_plan(kept).memory.peak() - make_plan(never).memory.peak(),
            plan_row_cache(kept).bytes());
}

// All that a run writes but for times, memory and settings.
std::vector<std::string> written_by(const Path& run) {
  std::vector<std::string> out = {read_file(run / "adapter" / "adapter.safetensors")};
  for (const char* kind : {"step", "evaluate", "records"}) {
    for (Node event : log_events(run, kind)) {
      for (const char* key : {"time", "seconds"}) {
        if (event.find(key) != nullptr) event[key] = Node::null();
      }
      out.push_back(to_json(event));
    }
  }
  Node metrics = parse_json(read_file(run / "metrics.json"), "metrics.json");
  for (const char* key : {"seconds", "peak_bytes"}) metrics[key] = Node::null();
  out.push_back(to_json(metrics));
  return out;
}

TEST(RowCache, LeavesNoTraceInARun) {
  for (const char* definition : {kLate, kHead, kSkills}) {
    const TempFolder folder;
    const std::string settings = "{epochs: 4, batch_size: 7, evaluate_every: 3 steps, cache: ";
    for (const char* cache : {"auto", "never"}) {
      TrainingRun run(inputs_of(definition, folder / cache, settings + cache + "}"),
                      StartMode::kFresh);
      drive_to(run);
      run.finish();
    }
    {
      TrainingRun run(inputs_of(definition, folder / "again", settings + "auto}"),
                      StartMode::kFresh);
      drive_to(run, 5);
      run.checkpoint();
    }
    TrainingRun run(inputs_of(definition, folder / "again", settings + "auto}"),
                    StartMode::kResume);
    drive_to(run);
    run.finish();
    EXPECT_EQ(written_by(folder / "auto"), written_by(folder / "never"));
    EXPECT_EQ(written_by(folder / "again"), written_by(folder / "never"));
  }
}

}  // namespace
}  // namespace graft::testing::test_row_cache
