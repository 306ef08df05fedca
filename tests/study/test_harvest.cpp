// A run's folder as rows of a study.
#include "study/harvest.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "study/recorded.h"
#include "study/runs.h"
#include "tests/support/testing.h"

namespace graft::test_harvest {
namespace {

using testing::TempFolder;

TEST(Harvest, TakesScoresCurvesRecordsAndFacts) {
  const TempFolder folder;
  write_file_atomically(folder / "metrics.json", R"({
    "version": 1, "step": 4,
    "eval": {"rows": 30, "loss": 0.5, "accuracy": 0.75, "matthews": null,
             "majority": {"label": "no", "accuracy": 0.6}, "only_answer": null,
             "other": {"rows": 5, "loss": 1.5, "exact_match": 0.25}},
    "test": {"rows": 9, "loss": 0.25, "accuracy": 1},
    "loss": {"first": 0.7, "last": 0.4, "blind": null}, "warnings": [],
    "edit_parameters": 1200, "head_parameters": 34, "steps": 5, "tokens": 900,
    "seconds": 1.25, "peak_bytes": 1000})");
  write_file_atomically(folder / "log.jsonl",
                        R"({"event": "start", "total_steps": 5}
{"event": "step", "step": 1, "loss": 0.9, "learning_rate": 0.001, "gradient_norm": 2, "tokens": 9, "seconds": 0.1}
{"event": "evaluate", "step": 1, "epoch": 0.5, "loss": 0.6, "accuracy": null, "majority": {"label": "no", "accuracy": 0.6}, "only_answer": "no", "eval": {"other": {"rows": 5, "exact_match": 0.5}, "mean": 0.5}, "seconds": 0.2}
{"event": "records", "step": 1, "means": {"enc.0.gate": [0.25, 0.75]}}
{"event": "done", "steps": 5}
)");
  const MemberResult result = read_run_folder(folder.path(), "matthews");
  EXPECT_EQ(result.scores, (std::vector<FinalScore>{{"eval", "matthews", std::nullopt},
                                                    {"eval", "accuracy", 0.75},
                                                    {"eval", "loss", 0.5},
                                                    {"other", "exact_match", 0.25},
                                                    {"other", "loss", 1.5},
                                                    {"test", "accuracy", 1},
                                                    {"test", "loss", 0.25}}));
  EXPECT_EQ(result.curve, (std::vector<CurvePoint>{{"train", "loss", 1, 0.9},
                                                   {"train", "gradient_norm", 1, 2},
                                                   {"train", "learning_rate", 1, 0.001},
                                                   {"eval", "loss", 1, 0.6},
                                                   {"eval", "accuracy", 1, std::nullopt},
                                                   {"eval", "mean", 1, 0.5},
                                                   {"other", "exact_match", 1, 0.5}}));
  EXPECT_EQ(result.records, (std::vector<RecordedMeans>{{1, "enc.0.gate", "[0.25,0.75]"}}));
  EXPECT_EQ(result.facts, (std::vector<NamedNumber>{{"step", 4},
                                                    {"steps", 5},
                                                    {"tokens", 900},
                                                    {"edit_parameters", 1200},
                                                    {"head_parameters", 34},
                                                    {"loss_first", 0.7},
                                                    {"loss_last", 0.4}}));
  EXPECT_EQ(result.readings, (std::vector<NamedNumber>{{"seconds", 1.25}, {"peak_bytes", 1000}}));
}

// So that tables and searches know which way is better.
TEST(Harvest, AMeanOfPerplexitiesIsCalledSo) {
  const TempFolder folder;
  write_file_atomically(folder / "metrics.json", R"({
    "eval": {"a": {"rows": 5, "loss": 1, "perplexity": 3}, "b": {"rows": 5, "loss": 2, "perplexity": 7},
             "mean": 5}})");
  write_file_atomically(folder / "log.jsonl", "");
  const std::vector<FinalScore> scores = read_run_folder(folder.path(), "").scores;
  ASSERT_EQ(scores.size(), 5U);
  EXPECT_EQ(scores.front(), (FinalScore{"eval", "mean_perplexity", 5}));
}

// What a data set has first is not always what its mean is of.
TEST(Harvest, AMeanIsOfTheMetricThatTheRunNames) {
  const TempFolder folder;
  write_file_atomically(folder / "log.jsonl", "");
  const auto scores_of = [&](const std::string& first, const std::string& second,
                             const std::string& primary) {
    write_file_atomically(folder / "metrics.json",
                          "{\"eval\": {\"a\": {\"rows\": 5, \"" + first + "\": 1, \"" + second +
                              "\": 1}, \"groups\": {\"g\": 3}, \"mean\": 3, \"mean_of\": \"" +
                              primary + "\"}}");
    return read_run_folder(folder.path(), "").scores;
  };
  const std::vector<FinalScore> shares = scores_of("perplexity", "rouge_l", "rouge_l"),
                                losses = scores_of("rouge_l", "perplexity", "perplexity");
  ASSERT_EQ(shares.size(), 4U);
  EXPECT_EQ(shares.front(), (FinalScore{"eval", "mean", 3}));
  EXPECT_EQ(shares.back(), (FinalScore{"groups", "g", 3}));
  ASSERT_EQ(losses.size(), 4U);
  EXPECT_EQ(losses.front(), (FinalScore{"eval", "mean_perplexity", 3}));
  EXPECT_EQ(losses.back(), (FinalScore{"groups", "mean_perplexity g", 3}));
}

TEST(Harvest, RunsAreJudgedByThePrimaryMetricOfTheirTask) {
  const TempFolder folder;
  make_directories(folder / "adapter");
  write_file_atomically(folder / "run.yaml", "adapter_name: lora\ntask: cola\n");
  write_file_atomically(folder / "adapter/adapter.json", R"({"task": {"primary": "matthews"}})");
  write_file_atomically(folder / "metrics.json",
                        R"({"eval": {"rows": 5, "loss": 1, "accuracy": 0.5, "matthews": 0.25}})");
  write_file_atomically(folder / "log.jsonl", "");
  EXPECT_EQ(study_of_runs({folder.path()}).result(0).scores.front(),
            (FinalScore{"eval", "matthews", 0.25}));
}

// Edited by hand, or of another program.
TEST(Harvest, DamagedFilesAreRefusedByName) {
  const auto refused = [](const std::string& name, const std::string& text,
                          const std::string& message) {
    const TempFolder folder;
    write_file_atomically(folder / "metrics.json", R"({"eval": {"rows": 5, "loss": 1}})");
    write_file_atomically(folder / "log.jsonl", "");
    write_file_atomically(folder / name, text);
    testing::expect_message<InputError>([&] { read_run_folder(folder.path(), ""); }, message);
  };
  const auto metrics = [&](const std::string& calibration, const std::string& message) {
    refused("metrics.json", "{\"eval\": {\"loss\": 1, \"calibration\": " + calibration + "}}",
            message);
  };
  metrics("{}", "metrics.json: is damaged: /reliability: expected a list, found nothing");
  metrics(R"({"reliability": [{"low": 0}]})",
          "eval reliability: is damaged: /0/1: expected a number, found nothing");
  metrics(R"({"reliability": [5]})",
          "metrics.json: is damaged: /reliability/0: expected keys and values, found \"5\"");
  const auto routes = [&](const std::string& experts, const std::string& message) {
    refused("log.jsonl",
            R"({"event": "step", "step": 1, "routes": {"0.stochastic": )" + experts + "}}\n",
            "log.jsonl:1: is damaged: " + message);
  };
  routes("[0, -1]", "/1: expected an integer in 0..1023, found \"-1\"");
  routes("[1000000000000]", "/0: expected an integer in 0..1023, found \"1000000000000\"");
  routes("3", "expected a list, found \"3\"");
  const auto records = [&](const std::string& summary, const std::string& message) {
    refused("records.json", "{\"eval\": {\"0.gate\": " + summary + "}}",
            "eval 0.gate: is damaged: " + message);
  };
  records(R"({"low": 0, "high": 1, "counts": []})", "/mean: expected a list, found nothing");
  records(R"({"mean": [0.5], "low": 0, "high": 1})",
          "/counts: expected a list of 1, found nothing");
  records(R"({"mean": [0.5], "low": 0, "high": 1, "counts": [[1], [2]]})",
          "/counts: expected a list of 1, found a list of 2");
  records(R"({"mean": [0.5], "low": "nan", "high": 1, "counts": [[1]]})",
          "/low: expected a number, found \"nan\"");
  records(R"({"mean": [0.5], "low": -1.7e308, "high": 1.7e308, "counts": [[1]]})",
          "/low: expected a number, found ");
}

TEST(Harvest, DamagedRecordsOfAStudyNameItsMember) {
  StudyPlan plan{"made", "", {}};
  plan.members.push_back({"lora", {{"method", "lora"}, {"seed", "1"}}, "{}"});
  StudyStore store = StudyStore::in_memory(plan);
  MemberResult result;
  result.scores = {{"eval", "accuracy", 0.5}};
  result.records = {{0, "eval reliability", "[[0, 1, 5]]"}};
  store.finish(0, result);
  testing::expect_message<InputError>(
      [&] { recorded_node(store, make_table(store)); },
      "': member \"lora\": eval reliability: is damaged: /0: expected a list of 5, found a list of "
      "3");
}

// Older runs have 0 there.
TEST(Harvest, ABinWithoutRowsHasNoMeans) {
  StudyPlan plan{"made", "", {}};
  for (const char* seed : {"1", "2"})
    plan.members.push_back(
        {std::string("lora ") + seed, {{"method", "lora"}, {"seed", seed}}, "{}"});
  StudyStore store = StudyStore::in_memory(plan);
  MemberResult result;
  result.scores = {{"eval", "accuracy", 0.5}};
  result.records = {{0, "eval reliability", "[[0, 0.5, 0, null, null], [0.5, 1, 4, 0.75, 0.5]]"}};
  store.finish(0, result);
  result.records = {{0, "eval reliability", "[[0, 0.5, 0, 0, 0], [0.5, 1, 4, 0.75, 1]]"}};
  store.finish(1, result);
  const Node recorded = recorded_node(store, make_table(store));
  EXPECT_EQ(to_json(*recorded.find("reliability")->items.front().find("bins"), -1),
            "[[0,0.5,0,null,null],[0.5,1,8,0.75,0.75]]");
}

TEST(Harvest, AnUnfinishedRunIsRefused) {
  const TempFolder folder;
  testing::expect_message<InputError>([&] { read_run_folder(folder.path(), "accuracy"); },
                                      "the run is not finished, for it has no metrics.json");
}

}  // namespace
}  // namespace graft::test_harvest
