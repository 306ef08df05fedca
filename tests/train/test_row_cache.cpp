// What a run keeps of its rows from epoch to epoch, and that it leaves no trace in what it writes.
#include "train/row_cache.h"

#include <gtest/gtest.h>

#include "tests/support/limited_allocator.h"
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
    const RowCache kept =
        plan_row_cache(inputs_of(definition, folder / "auto", settings + "auto}"));
    EXPECT_GT(kept.train_bytes, 0) << definition;
    EXPECT_GT(kept.eval_bytes, 0) << definition;
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

// Memory may end between any two tensors: the next pass that asks finds each row whole, or not yet.
TEST(RowCache, IsWholeAfterMemoryHasEnded) {
  for (const char* type : {"bert", "gpt2", "t5"}) {
    SCOPED_TRACE(type);
    const auto model = tiny_model(type, Precision::kFloat32);
    const bool is_text = model->config.has_decoder();
    const std::string site =
        is_text ? "dec.1.attn.q" : "enc.1.attn.q";  // above both stacks' states
    const Rig rig(model, "{edits: [{lora: {rank: 2, sites: [" + site + "]}}]}",
                  is_text ? std::nullopt : std::optional(class_task(3)));
    const auto data = std::make_shared<Dataset>();
    data->sequences =
        is_text ? random_texts(model->config, 4, 8, 3) : random_sequences(model->config, 4, 8, 3);
    data->examples.resize(data->sequences.size());
    const std::optional<KeptPlace> place = kept_place(*rig.adapter, model->config, is_text);
    ASSERT_TRUE(place.has_value());
    const std::vector<int64_t> rows = {0, 2, 3};
    const auto kept_of = [&](KeptRows& kept) {
      KnownRows known;
      kept.add(rows, known);
      std::vector<at::Tensor> all = known.rows;
      all.insert(all.end(), known.encoder_rows.begin(), known.encoder_rows.end());
      all.insert(all.end(), {known.filler, known.encoder_filler});
      return all;
    };
    KeptRows undisturbed(model, data, *place);
    const std::vector<at::Tensor> expected = kept_of(undisturbed);
    bool has_ended = true;
    int64_t times_ended = 0;
    for (int64_t refused = 0; has_ended; ++refused) {
      KeptRows kept(model, data, *place);
      has_ended = false;
      try {
        LimitedAllocator memory;
        memory.refused = refused;
        kept_of(kept);
      } catch (const c10::Error&) {
        has_ended = true;
        ++times_ended;
      }
      const std::vector<at::Tensor> found = kept_of(kept);
      ASSERT_EQ(found.size(), expected.size());
      for (size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(found[i].defined(), expected[i].defined()) << refused;
        if (!found[i].defined()) continue;
        ASSERT_TRUE(found[i].equal(expected[i])) << refused;
      }
    }
    EXPECT_GT(times_ended, std::ssize(rows))
        << "each kept row is one, and so is what a pass computes";
  }
}

}  // namespace
}  // namespace graft::testing::test_row_cache
