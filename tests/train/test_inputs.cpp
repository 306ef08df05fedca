// Which rows a run trains on, chooses by and is tested on.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "data/numpy_random.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/inputs.h"

namespace graft::testing::test_inputs {
namespace {

const std::string kToy = std::string(GRAFT_SOURCE_DIR) + "/examples/toy";

RunInputs inputs_of(const std::string& data, const std::string& settings = "") {
  const std::string text =
      "{model: " + kToy +
      "/model, task: 'text:no,yes', out: unused, adapter: {edits: [{lora: {}}]}, " + settings +
      "data: {train: " + kToy + "/train.tsv, " + data + "}}";
  return load_inputs(parse_run_config(yaml(text), {}, "run"),
                     std::string(GRAFT_SOURCE_DIR) + "/tasks");
}

RunInputs toy_inputs(const std::string& data, const std::string& settings = "") {
  return inputs_of("eval: " + kToy + "/dev.tsv, " + data, settings);
}

std::vector<int64_t> ids_of(const Dataset& data) {
  std::vector<int64_t> out;
  for (const Example& example : data.examples) out.push_back(example.id);
  return out;
}

std::vector<int64_t> sorted(std::vector<int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(Inputs, SplitsEvalBySeed) {
  const RunInputs whole = toy_inputs("rows: 4"), split = toy_inputs("rows: 4, split_eval: true");
  EXPECT_EQ(whole.test, nullptr);
  ASSERT_NE(split.test, nullptr);
  EXPECT_EQ(split.eval->rows.size(), whole.eval->rows.size() / 2);
  std::set<int64_t> ids;
  for (const EvalData* side : {&*split.eval, &*split.test}) {
    for (const Example& example : side->rows.examples)
      EXPECT_TRUE(ids.insert(example.id).second) << "no row is on both sides";
  }
  EXPECT_EQ(static_cast<int64_t>(ids.size()), whole.eval->rows.size());
}

TEST(Inputs, FewShotRowsOfEveryLabel) {
  const RunInputs inputs = toy_inputs("per_label: 3");
  std::map<double, int> counts;
  for (const Example& example : inputs.train->examples) ++counts[*example.label];
  EXPECT_EQ(counts, (std::map<double, int>{{0, 3}, {1, 3}}));
}

// UniPELT's rows: the first K of a shuffle by the data's seed train, the next evaluate, and those
// of a larger K hold those of a smaller.
TEST(Inputs, RowsOfAShuffle) {
  const int64_t all = inputs_of("").train->size();
  const std::vector<int64_t> order = numpy_permutation(all, 111);
  const auto part = [&](int64_t from, int64_t to) {
    return sorted({order.begin() + from, order.begin() + to});
  };
  const RunInputs few = inputs_of("shuffle: numpy, rows: 8, dev_rows: 10", "seeds: {rows: 111}, ");
  EXPECT_EQ(ids_of(*few.train), part(0, 8));
  EXPECT_EQ(ids_of(few.eval->rows), part(8, 18));
  const RunInputs more =
      inputs_of("shuffle: numpy, rows: 16, dev_rows: 10", "seeds: {rows: 111}, ");
  EXPECT_EQ(ids_of(*more.train), part(0, 16));
  EXPECT_EQ(ids_of(*inputs_of("shuffle: numpy, rows: 8", "seed: 111, ").train), part(0, 8))
      << "without a seed of their own they are drawn by the run's";
  EXPECT_EQ(ids_of(inputs_of("rows: 3, dev_rows: 2").eval->rows), (std::vector<int64_t>{3, 4}))
      << "in the file's order";
}

TEST(Inputs, RowsOfEveryLabelOfAShuffle) {
  const RunInputs whole = inputs_of("");
  const std::vector<int64_t> order = numpy_permutation(whole.train->size(), 5);
  std::vector<int64_t> chosen, next;
  int64_t counts[2] = {0, 0};
  for (const int64_t row : order) {
    const auto label = static_cast<size_t>(*whole.train->examples[static_cast<size_t>(row)].label);
    if (counts[label] < 4) {
      ++counts[label];
      chosen.push_back(row);
    } else if (next.size() < 6) {
      next.push_back(row);
    }
  }
  const RunInputs few =
      inputs_of("shuffle: numpy, per_label: 4, dev_rows: 6", "seeds: {rows: 5}, ");
  EXPECT_EQ(ids_of(*few.train), sorted(chosen));
  EXPECT_EQ(ids_of(few.eval->rows), sorted(next));
}

// What two runs of a process read alike is there once, and is what each reads alone.
TEST(Inputs, RunsShareTheRowsThatTheyReadAlike) {
  SharedRows shared;
  const auto load = [&](const std::string& data, const std::string& settings, SharedRows* rows) {
    return load_inputs(
        parse_run_config(yaml("{model: " + kToy + "/model, task: 'text:no,yes', out: unused, " +
                              "adapter: {edits: [{lora: {}}]}, " + settings +
                              "data: {train: " + kToy + "/train.tsv, " + data + "}}"),
                         {}, "run"),
        std::string(GRAFT_SOURCE_DIR) + "/tasks", nullptr, rows);
  };
  const std::string dev = "eval: " + kToy + "/dev.tsv";
  const RunInputs first = load("rows: 6, " + dev, "", &shared);
  struct Case {
    std::string data, settings;
    bool same_train, same_eval;
  };
  for (const Case& each : {Case{"rows: 6, " + dev, "seed: 9, batch_size: 2, ", true, true},
                           Case{"rows: 7, " + dev, "", false, true},
                           Case{"rows: 6, " + dev + ", eval_rows: 3", "", true, false},
                           Case{"rows: 6, " + dev, "max_length: 4, ", false, false},
                           Case{"rows: 6, " + dev, "seeds: {rows: 3}, ", false, true},
                           Case{"rows: 6, " + dev + ", split_eval: true", "", true, false},
                           Case{"rows: 6, dev_rows: 4", "", false, false},
                           Case{"rows: 6, held_out: 0.5", "", false, false}}) {
    SCOPED_TRACE(each.data + each.settings);
    const RunInputs own = load(each.data, each.settings, &shared),
                    alone = load(each.data, each.settings, nullptr),
                    again = load(each.data, each.settings, &shared);
    EXPECT_EQ(own.train == first.train, each.same_train);
    EXPECT_EQ(own.eval == first.eval, each.same_eval);
    EXPECT_EQ(again.train, own.train);
    EXPECT_EQ(again.eval, own.eval);
    EXPECT_EQ(again.test, own.test);
    EXPECT_EQ(own.text.tokenizer, first.text.tokenizer);
    EXPECT_EQ(ids_of(*own.train), ids_of(*alone.train));
    EXPECT_EQ(ids_of(own.eval->rows), ids_of(alone.eval->rows));
    EXPECT_EQ(own.test == nullptr, alone.test == nullptr);
    EXPECT_EQ(own.train->sequences.front().ids, alone.train->sequences.front().ids);
  }
}

// Its own seed draws the data, the run's all else: each can move while the other stands still.
TEST(Inputs, TheDatasSeedIsApartFromTheRuns) {
  for (const char* data : {"per_label: 3", "split_eval: true", "shuffle: numpy, rows: 9"}) {
    SCOPED_TRACE(data);
    const auto rows = [&](const std::string& seeds, const std::string& settings) {
      const RunInputs in = toy_inputs(data, seeds + settings);
      std::vector<int64_t> ids = ids_of(*in.train);
      const std::vector<int64_t> dev = ids_of(in.eval->rows);
      ids.insert(ids.end(), dev.begin(), dev.end());
      return ids;
    };
    EXPECT_EQ(rows("seeds: {rows: 7}, ", ""), rows("seeds: {rows: 7}, ", "seed: 8, "));
    EXPECT_NE(rows("seeds: {rows: 7}, ", ""), rows("seeds: {rows: 8}, ", ""));
    EXPECT_EQ(rows("seeds: {rows: 7}, ", ""), rows("", "seed: 7, "));
  }
  EXPECT_EQ(ids_of(*inputs_of("held_out: 0.2").train),
            ids_of(*inputs_of("held_out: 0.2", "seed: 8, ").train));
}

TEST(Inputs, FewRowsMayBeDrawn) {
  const RunInputs few = inputs_of("rows: 5, dev_rows: 4", "seeds: {rows: 3}, ");
  const RunInputs more = inputs_of("rows: 9", "seeds: {rows: 3}, ");
  std::vector<int64_t> both = ids_of(*few.train), dev = ids_of(few.eval->rows);
  both.insert(both.end(), dev.begin(), dev.end());
  EXPECT_EQ(sorted(both), ids_of(*more.train)) << "the next rows of the same order";
  EXPECT_NE(ids_of(*few.train), (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST(Inputs, ATaskIsChangedByTheRun) {
  const RunInputs in = inputs_of("rows: 4", "task_options: {metrics: [f1, accuracy]}, ");
  EXPECT_EQ(in.task.primary_metric, "f1");
  expect_message<InputError>(
      [] { inputs_of("rows: 4", "task_options: {primary: rouge}, "); },
      "/primary: expected one of the task's metrics (accuracy), found \"rouge\"");
  expect_message<InputError>([] { inputs_of("rows: 4", "task_options: f1, "); },
                             "/task_options: expected keys of a task such as {primary: f1}");
}

TEST(Inputs, APresetsLengthIsAtMostTheModels) {
  const auto length = [](const std::string& given, const std::string& preset) {
    const std::string text = "{model: " + kToy + "/model, task: 'text:no,yes', out: unused, " +
                             given + "adapter: {edits: [{lora: {}}]}, data: {train: " + kToy +
                             "/train.tsv, rows: 4}}";
    const RunInputs in = load_inputs(parse_run_config(yaml(text), yaml(preset), "run"),
                                     std::string(GRAFT_SOURCE_DIR) + "/tasks");
    EXPECT_EQ(in.config.max_length, in.max_length) << "run.yaml has the number";
    return in.max_length;
  };
  EXPECT_EQ(length("", "{max_length: 7}"), 7);
  EXPECT_EQ(length("", "{max_length: 1000000}"), read_config(kToy + "/model").max_positions);
  expect_message<InputError>([&] { length("max_length: 1000000, ", "{}"); },
                             "max_length: this model serves at most");
}

// `preset`: what the adapter suggests.
void record(const std::string& edits, const std::string& settings, const std::string& preset = "{}",
            const std::string& more_data = ", eval: " + kToy + "/dev.tsv") {
  const std::string text = "{model: " + kToy +
                           "/model, task: 'text:no,yes', out: unused, adapter_name: mine, adapter: "
                           "{edits: [" +
                           edits + "]}, record: {" + settings + "}, data: {train: " + kToy +
                           "/train.tsv, rows: 4" + more_data + "}}";
  load_inputs(parse_run_config(yaml(text), yaml(preset), "run"),
              std::string(GRAFT_SOURCE_DIR) + "/tasks");
}

TEST(Inputs, WhatHasNothingToRecordIsRefused) {
  const std::string lora = "{lora: {}}", prefix = "{prefix: {length: 2}}", full = "{full: {}}",
                    head, gated = "{gate: {}, of: {lora: {}}}",
                    routed = "{router: {experts: 2}, of: {lora: {}}}",
                    drawn = "{stochastic: {experts: 2}, of: {lora: {}}}",
                    learned = "{stochastic: {experts: 2, scores: learned}, of: {lora: {}}}";
  const std::map<std::string, std::vector<std::string>> with = {
      {"rows", {gated, routed}},
      {"tokens", {gated, routed}},
      {"changes", {lora, gated, routed, drawn, "{prompt: {length: 2}}", full + ", " + lora}},
      {"routes", {drawn}},
      {"gradients", {head, lora, full, prefix}},
      {"experts", {routed, drawn, learned}}};
  const std::map<std::string, std::vector<std::string>> without = {
      {"rows", {head, lora, full, drawn}},
      {"tokens", {head, lora, full}},
      {"changes", {head, prefix, full}},
      {"routes", {head, lora, routed, learned}},
      {"experts", {head, lora, gated}}};
  for (const auto& [key, adapters] : with) {
    for (const std::string& edits : adapters) {
      SCOPED_TRACE(key + " of " + edits);
      EXPECT_NO_THROW(record(edits, key + ": true"));
    }
  }
  for (const auto& [key, adapters] : without) {
    for (const std::string& edits : adapters) {
      SCOPED_TRACE(key + " of " + edits);
      expect_message<InputError>([&] { record(edits, key + ": true"); },
                                 "record." + key + ": found true, and adapter \"mine\" ");
      EXPECT_NO_THROW(record(edits, key + ": false"));
      EXPECT_NO_THROW(record(edits, "", "{record: {" + key + ": true}}")) << "a preset's";
    }
  }
  const std::string both =
      message_of<InputError>([&] { record(lora, "rows: true, experts: true"); });
  EXPECT_NE(both.find("nothing to record of rows but how large changes are (record.changes); leave "
                      "it out\nrecord.experts: "),
            std::string::npos)
      << both;
}

TEST(Inputs, RowsAreRecordedWhereTheyAreEvaluated) {
  const std::string routed = "{router: {experts: 2}, of: {lora: {}}}";
  for (const char* key : {"rows", "tokens", "changes", "experts"})
    expect_message<InputError>([&] { record(routed, std::string(key) + ": true", "{}", ""); },
                               std::string("record.") + key +
                                   ": found true, and there are no rows to evaluate on; give eval "
                                   "or data.held_out, or leave it out");
  EXPECT_NO_THROW(record(routed, "rows: true", "{}", ", test: " + kToy + "/dev.tsv"));
  expect_message<InputError>(
      [&] { record(routed, "experts: true", "{}", ", test: " + kToy + "/dev.tsv"); },
      "there are no rows to evaluate on");
}

TEST(Inputs, RefusesWhatCannotBe) {
  expect_message<InputError>([] { inputs_of("rows: 8, dev_rows: 100000"); },
                             "behind those that are trained on, 100000 were asked for");
  expect_message<InputError>([] { toy_inputs("rows: 8, dev_rows: 9"); },
                             "/data/dev_rows: data.eval is given; leave one of the two out");
  expect_message<InputError>([] { inputs_of("rows: 8, held_out: 0.5, dev_rows: 9"); },
                             "/data/dev_rows: data.held_out is given");
  expect_message<InputError>([] { inputs_of("dev_rows: 9"); },
                             "/data/dev_rows: counts rows behind those that are trained on");
  expect_message<InputError>([] { inputs_of("shuffle: numpy"); },
                             "/data/shuffle: says which rows data.rows and data.per_label take");
  const std::string train = "'" + kToy + "/train.tsv'", dev = "'" + kToy + "/dev.tsv'";
  expect_message<InputError>(
      [] { toy_inputs("per_label: 100000"); },
      "data.per_label: " + train + ": expected 100,000 rows of the label \"no\", found 150");
  expect_message<InputError>(
      [] { toy_inputs("rows: 6, per_label: 6"); },
      "data.per_label: " + train + ", the 6 rows of data.rows: expected 6 rows of the label ");
  expect_message<InputError>(
      [] { inputs_of("rows: 1, held_out: 0.5"); },
      "data.held_out: " + train + ": expected at least two rows to divide, found 1");
  expect_message<InputError>(
      [] { toy_inputs("split_eval: true, eval_rows: 1"); },
      "data.split_eval: " + dev + ": expected at least two rows to divide, found 1");
  expect_message<InputError>([] { toy_inputs("split_eval: true, test: x.tsv"); },
                             "needs data.eval, and no data.test");
  expect_message<InputError>([] { toy_inputs("eval_rows: 100000"); }, "data.eval_rows");
}

// Its loss is a squared error.
TEST(Inputs, HaveNoIdleSettingsUnlessTheRunWasBegunWithThem) {
  const TempFolder folder;
  write_file_atomically(folder / "score.yaml",
                        "name: score\nkind: regression\ntext: text\nlabel: score\n"
                        "metrics: [pearson]\n");
  write_file_atomically(folder / "rows.tsv", "text\tscore\nthis house\t1.5\ntable sun\t2\n");
  const auto inputs = [&](const std::string& own, const std::string& suggested,
                          const std::string& rows = "") {
    const std::string text =
        "{model: " + kToy + "/model, task: " + (folder / "score.yaml").string() +
        ", out: " + (folder / "run").string() + ", adapter: {edits: [{lora: {}}]}, " + own +
        "data: {train: " + (folder / "rows.tsv").string() + rows + "}}";
    return load_inputs(parse_run_config(yaml(text), yaml(suggested), "run"),
                       std::string(GRAFT_SOURCE_DIR) + "/tasks");
  };
  expect_message<InputError>([&] { inputs("label_smoothing: 0.1, ", "{}"); },
                             "label_smoothing: found 0.1, and task \"score\" is a regression");
  expect_message<InputError>([&] { inputs("z_loss: 0.01, ", "{}"); },
                             "z_loss: found 0.01, and task \"score\" is a regression");
  expect_message<InputError>([&] { inputs("", "{}", ", eval_rows: 5"); },
                             "data.eval_rows: counts the rows of data.eval, which is missing");
  expect_message<InputError>([&] { inputs("", "{}", ", eval_rows: 1, held_out: 0.5"); },
                             "data.eval_rows: counts");
  EXPECT_NO_THROW(inputs("", "{label_smoothing: 0.1, z_loss: 0.01}")) << "only suggested";
  make_directories(folder / "run");
  write_file_atomically(folder / "run/run.yaml", "of an earlier version\n");
  EXPECT_NO_THROW(inputs("label_smoothing: 0.1, z_loss: 0.01, ", "{}", ", eval_rows: 5"));
}

}  // namespace
}  // namespace graft::testing::test_inputs
