// Runs on a mixture of tasks, judged by tasks held out: what an epoch holds, resuming bit for bit,
// scores and their mean.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "infer/choices.h"
#include "tests/support/compare.h"
#include "tests/train/runs.h"
#include "train/task_scores.h"

namespace graft::testing::test_mixture_run {
namespace {

constexpr const char* kLora = "{edits: [{lora: {sites: [attn.q, ffn.up], rank: 2, dropout: 0.1}}]}";
constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyz";

// A folder with a tiny GPT-2 whose tokens are letters, three tasks and their rows.
class MixtureRun : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy(golden_dir("trunks") / "gpt2-tiny", folder / "model");
    std::string vocabulary = R"("<s>": 0, "<pad>": 1, "</s>": 2, "Ġ": 3)";
    for (int i = 0; i < 26; ++i)
      vocabulary += std::string(", \"") + kLetters[i] + "\": " + std::to_string(4 + i);
    write(
        "model/tokenizer.json",
        R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}, "post_processor": null,
      "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
      "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "merges": [], "vocab": {)" +
            vocabulary + "}}}");
    write("copy.yaml",
          "{name: copy, kind: generation, prompt: a, target: ' {b}', metrics: [exact_match]}");
    write("pick.yaml",
          "{name: pick, kind: choice, prompt: input, options: options, target: target, group: "
          "template, metrics: "
          "[accuracy_median, accuracy]}");
    write("fluent.yaml",
          "{name: fluent, kind: generation, prompt: a, target: ' {b}', metrics: [perplexity]}");
    write("label.yaml",
          "{name: label, kind: classification, text: a, label: b, labels: [x, y], metrics: "
          "[accuracy]}");
    std::string copies, picks, few;
    for (int i = 0; i < 12; ++i) {
      const std::string word(static_cast<size_t>(1 + i % 4), kLetters[i]);
      copies += "{\"a\": \"" + word + "\", \"b\": \"" + word + "\"}\n";
      if (i == 2) few = copies;
      picks += "{\"template\": \"t" + std::to_string(i % 3) + "\", \"input\": \"" + word +
               "\", \"options\": [\" yes\", \" no\"], \"target\": " + std::to_string(i % 2) + "}\n";
    }
    write("copy.jsonl", copies);
    write("pick.jsonl", picks);
    write("few.jsonl", few);
  }

  void write(const std::string& name, const std::string& text) const {
    write_file_atomically(folder / name, text);
  }
  std::string at(const std::string& name) const { return (folder / name).string(); }
  std::string part(const std::string& name, const std::string& task, const std::string& data,
                   const std::string& more = "") const {
    return "{name: " + name + ", task: " + at(task) + ", data: " + at(data) + more + "}";
  }
  std::string mixture() const {
    return "mixture: [" + part("copying", "copy.yaml", "copy.jsonl") + ", " +
           part("picking", "pick.yaml", "pick.jsonl", ", rate: 36") + "]";
  }
  std::string held_out() const {
    return "eval_tasks: [" + part("one", "pick.yaml", "pick.jsonl") + ", " +
           part("two", "copy.yaml", "few.jsonl", ", rows: 2, group: copying") + "]";
  }

  RunConfig config(const std::string& data, const std::string& out,
                   const std::string& settings = "{}") const {
    const std::string least = "model: " + at("model") + "\nout: " + at(out) +
                              "\nadapter: " + kLora +
                              "\ncheckpoint_every: never\nepochs: 3\nbatch_size: 5\nlearning_rate: "
                              "0.01\ngeneration: {max_new_tokens: 4}\ndata: {" +
                              data + "}\n";
    return parse_run_config(yaml(settings), yaml(least), "test");
  }
  RunInputs inputs(const std::string& data, const std::string& out,
                   const std::string& settings = "{}") const {
    return load_inputs(config(data, out, settings), folder.path());
  }

  TempFolder folder;
};

std::string history(const Path& run) {
  std::string out;
  for (const char* kind : {"start", "step", "evaluate"}) {
    for (Node& event : log_events(run, kind)) {
      event["seconds"] = Node::null();
      out += to_json(event, -1) + "\n";
    }
  }
  return out;
}

TEST_F(MixtureRun, ResumesBitForBit) {
  for (const std::string& order : {std::string("shuffle"), std::string("length")}) {
    const std::string settings = "{accumulate: 2, dropout: 0.1, order: " + order + "}",
                      data = mixture() + ", mixture_rows: 33, " + held_out();
    const Path straight = folder / (order + "-straight"), broken = folder / (order + "-broken");
    {
      TrainingRun run(inputs(data, order + "-straight", settings), StartMode::kFresh);
      EXPECT_EQ(run.total_steps(), 12);  // 7 batches of 5 rows, 4 steps an epoch
      drive_to(run);
      run.finish();
    }
    {
      TrainingRun run(inputs(data, order + "-broken", settings), StartMode::kFresh);
      drive_to(run, 6);
      run.checkpoint();
      drive_to(run, 7);
    }
    {
      TrainingRun run(inputs(data, order + "-broken", settings), StartMode::kResume);
      EXPECT_EQ(run.steps_done(), 6);
      drive_to(run);
      run.finish();
    }
    EXPECT_EQ(read_file(broken / "adapter" / "adapter.safetensors"),
              read_file(straight / "adapter" / "adapter.safetensors"));
    EXPECT_EQ(history(broken), history(straight));
  }
}

TEST_F(MixtureRun, EpochsHoldWhatTheMixtureDraws) {
  const RunInputs in = inputs(mixture() + ", mixture_rows: 400", "run");
  ASSERT_TRUE(in.parts.has_value());
  EXPECT_EQ(in.parts->sizes, (std::vector<int64_t>{12, 12}));
  EXPECT_EQ(in.parts->rates, (std::vector<double>{12, 36}));
  EXPECT_EQ(in.train->size(), 24);
  EXPECT_EQ(in.train->examples[13].id_text, "picking:1");
  EXPECT_EQ(in.train->sequences[13].example, 13) << "rows of two parts draw dropout apart";
  for (const Order order : {Order::kShuffle, Order::kLength}) {
    const BatchOptions options{
        .batch_size = 7, .order = order, .key = RandomKey{3}, .parts = in.parts};
    const std::vector<int64_t> lengths(24, 4);
    std::vector<int64_t> counts(24, 0);
    std::vector<std::vector<Batch>> epochs;
    for (int64_t epoch = 0; epoch < 10; ++epoch) {
      epochs.push_back(plan_epoch(lengths, options, epoch));
      EXPECT_EQ(epochs.back(), plan_epoch(lengths, options, epoch));
      EXPECT_EQ(epochs.back().size(), 58U);  // 400 rows
      for (const Batch& batch : epochs.back()) {
        for (const int64_t row : batch) ++counts[static_cast<size_t>(row)];
      }
    }
    EXPECT_NE(epochs[0], epochs[1]);
    int64_t of_first = 0, all = 0;
    for (size_t row = 0; row < 24; ++row) {
      all += counts[row];
      of_first += row < 12 ? counts[row] : 0;
    }
    EXPECT_EQ(all, 4000);
    EXPECT_NEAR(static_cast<double>(of_first), 1000, 4 * std::sqrt(4000 * 0.25 * 0.75))
        << "four deviations of a binomial";
    for (size_t row = 0; row < 12;
         ++row) {  // every row of a part once before any comes twice, in each of ten epochs
      EXPECT_NEAR(static_cast<double>(counts[row]), static_cast<double>(of_first) / 12, 10);
      EXPECT_NEAR(static_cast<double>(counts[12 + row]), static_cast<double>(all - of_first) / 12,
                  10);
    }
  }
}

// Each row is encoded by its own task: the target of a choice is its right option.
TEST_F(MixtureRun, EncodesEachPartByItsOwnTask) {
  const RunInputs in = inputs(mixture(), "run");
  EXPECT_EQ(in.parts->rows, 24) << "as many as the parts have together";
  const auto text = [&](size_t row, bool is_target) {
    std::vector<int64_t> ids;
    for (size_t i = 0; i < in.train->sequences[row].ids.size(); ++i) {
      if (in.train->sequences[row].is_target()[i] == is_target)
        ids.push_back(in.train->sequences[row].ids[i]);
    }
    return in.text.tokenizer->decode(ids, SpecialTokens::kKeep);
  };
  EXPECT_EQ(text(1, false), "bb");
  EXPECT_EQ(text(1, true), " bb</s>");
  EXPECT_EQ(text(12, true), " yes</s>");
  EXPECT_EQ(text(13, false), "bb");
  EXPECT_EQ(text(13, true), " no</s>");
  EXPECT_EQ(in.task.name, "copy")
      << "without a task of its own the run's is that of the first part";
}

TEST_F(MixtureRun, IsJudgedByTheMeanOverItsEvaluationTasks) {
  Path dir = folder / "run";
  {
    RunInputs in = inputs(mixture() + ", eval: " + at("few.jsonl") + ", " + held_out(), "run",
                          "{evaluate_every: 2 steps, epochs: 6}");
    TrainingRun run(std::move(in), StartMode::kFresh);
    drive_to(run);
    run.finish();
  }
  double best = -1, least = 0;
  std::string at_step;
  for (const Node& event : log_events(dir, "evaluate")) {
    const Node& eval = *event.find("eval");
    const double one = number_of(*eval.find("one")->find("accuracy_median")),
                 two = number_of(*eval.find("two")->find("exact_match"));
    const double mean = number_of(*eval.find("mean"));
    EXPECT_NEAR(mean, (one + two) / 2, 1e-12);
    EXPECT_NE(event.find("exact_match"), nullptr) << "data.eval, by the run's own task";
    const double loss =
        (number_of(*eval.find("one")->find("loss")) + number_of(*eval.find("two")->find("loss"))) /
        2;
    if (mean > best || (mean == best && loss < least))
      best = mean, least = loss, at_step = event.find("step")->scalar;
  }
  const Node metrics = parse_json(read_file(dir / "metrics.json"), "metrics.json");
  EXPECT_EQ(metrics.find("step")->scalar, at_step);
  const Node& eval = *metrics.find("eval");
  EXPECT_NEAR(number_of(*eval.find("mean")), best, 1e-12) << "what is on disk is the best one";
  EXPECT_EQ(eval.find("rows")->scalar, "3");
  EXPECT_EQ(eval.find("one")->find("rows")->scalar, "12");
  EXPECT_EQ(eval.find("two")->find("rows")->scalar, "2");
  const Node shares = *log_events(dir, "start").front().find("mixture");
  EXPECT_EQ(number_of(*shares.find("copying")->find("share")), 0.25);

  // The scores are those of the same task alone.
  const RunInputs again = inputs(mixture() + ", " + held_out(), "other");
  const LoadedAdapter kept = load_adapter(dir / "adapter", *again.model);
  const BoundAdapter bound(*again.model, kept.adapter, kept.tensors);
  const Choices choices =
      choose(*again.model, bound, again.eval_tasks[0].task, again.eval_tasks[0].data->rows);
  std::map<std::string, std::vector<double>> right;
  for (size_t i = 0; i < 12; ++i)
    right["t" + std::to_string(i % 3)].push_back(
        choices.chosen[i] == static_cast<int64_t>(i % 2) ? 1 : 0);
  std::vector<double> shares_right;
  for (const auto& [name, rows] : right)
    shares_right.push_back((rows[0] + rows[1] + rows[2] + rows[3]) / 4);
  std::sort(shares_right.begin(), shares_right.end());
  EXPECT_NEAR(number_of(*eval.find("one")->find("accuracy_median")), shares_right[1], 1e-12);
}

TEST(Goodness, IsMoreOfAccuracyAndLessOfPerplexity) {
  const double nan = std::nan(""), infinity = HUGE_VAL;
  EXPECT_GT(goodness("accuracy", 0.9), goodness("accuracy", 0.8));
  EXPECT_GT(goodness("perplexity", 3), goodness("perplexity", 4));
  for (const char* metric : {"accuracy", "perplexity"}) {
    EXPECT_LT(goodness(metric, nan), goodness(metric, 0.5)) << metric;
    EXPECT_TRUE(std::isfinite(goodness(metric, nan))) << metric;
  }
  EXPECT_LT(goodness("perplexity", infinity), goodness("perplexity", 1e9));
  EXPECT_TRUE(std::isfinite(goodness("perplexity", infinity)));
}

TEST_F(MixtureRun, JudgedByPerplexityItKeepsItsLowest) {
  {
    TrainingRun run(inputs("train: " + at("copy.jsonl") + ", eval: " + at("copy.jsonl"), "run",
                           "{task: " + at("fluent.yaml") + ", evaluate_every: 2 steps}"),
                    StartMode::kFresh);
    drive_to(run);
    run.finish();
  }
  std::vector<double> found;
  std::vector<std::string> steps;
  for (const Node& event : log_events(folder / "run", "evaluate")) {
    found.push_back(number_of(*event.find("perplexity")));
    steps.push_back(event.find("step")->scalar);
  }
  ASSERT_EQ(found.size(), 5U) << "9 steps";
  const auto least = std::min_element(found.begin(), found.end());
  ASSERT_GT(found.front(), *least);
  const Node metrics = parse_json(read_file(folder / "run" / "metrics.json"), "metrics.json");
  EXPECT_EQ(metrics.find("step")->scalar, steps[static_cast<size_t>(least - found.begin())]);
  EXPECT_NEAR(number_of(*metrics.find("eval")->find("perplexity")), *least, 1e-6 * *least)
      << "scored anew, of the tensors that were written";
}

// ANLI's three rounds are one column of T0's tables.
TEST_F(MixtureRun, TasksOfAGroupCountOnceInTheMean) {
  const std::string held = "eval_tasks: [" +
                           part("r1", "pick.yaml", "pick.jsonl", ", group: anli") + ", " +
                           part("other", "copy.yaml", "few.jsonl") + ", " +
                           part("r2", "pick.yaml", "pick.jsonl", ", rows: 5, group: anli") + "]";
  const RunInputs in = inputs(mixture() + ", " + held, "run");
  const Rig bare(in.model, "{}", std::nullopt);
  const BoundAdapter bound(*in.model, *bare.adapter, bare.tensors);
  const TaskScores scores = score_tasks(*in.model, bound, in.eval_tasks, in.text, {});
  const Node node = scores.node(in.eval_tasks);
  const auto of = [&](const char* name, const char* metric) {
    return number_of(*node.find(name)->find(metric));
  };
  const double anli = (of("r1", "accuracy_median") + of("r2", "accuracy_median")) / 2;
  EXPECT_NEAR(of("groups", "anli"), anli, 1e-12);
  EXPECT_NEAR(number_of(*node.find("mean")), (anli + of("other", "exact_match")) / 2, 1e-12);
  EXPECT_NEAR(scores.mean, (anli + of("other", "exact_match")) / 2, 1e-12);
  EXPECT_EQ(node.find("mean_of")->scalar, "accuracy_median and exact_match");
}

TEST_F(MixtureRun, RefusesAResumeOnOtherRows) {
  const std::string data = mixture() + ", " + held_out();
  {
    TrainingRun run(inputs(data, "run", "{evaluate_every: never}"), StartMode::kFresh);
    drive_to(run, 1);
    run.checkpoint();
  }
  std::string rows = read_file(folder / "pick.jsonl");
  rows.replace(rows.find(" no"), 3, " oh");
  write("pick.jsonl", rows);
  const std::string message = message_of<InputError>(
      [&] { TrainingRun(inputs(data, "run", "{evaluate_every: never}"), StartMode::kResume); });
  EXPECT_NE(
      message.find(
          "the data of evaluation task 'one' is not what the checkpoint at step 1 was made with"),
      std::string::npos)
      << message;
}

TEST_F(MixtureRun, RefusesWhatHasNoSense) {
  const auto refused = [&](const std::string& data, const std::string& message,
                           const std::string& settings = "{}") {
    expect_message<InputError>([&] { inputs(data, "run", settings); }, message);
  };
  refused(mixture() + ", train: x", "/data/train: data.mixture is given; leave one of the two out");
  refused(mixture() + ", held_out: 0.1", "/data/held_out: a mixture is not split");
  refused(mixture() + ", rows: 3", "/data/rows: counts the rows of data.train");
  refused(mixture(), "/order: a mixture is drawn at random", "{order: file}");
  refused("train: x, mixture_rows: 3",
          "/data/mixture_rows: counts the rows of data.mixture, which is missing");
  refused("mixture: [{name: a, task: t}]", "/data/mixture/0/data: ");
  refused("mixture: [" + part("copying", "copy.yaml", "copy.jsonl") + ", " +
              part("labelling", "label.yaml", "copy.jsonl") + "]",
          "data.mixture: labelling: task \"" + at("label.yaml") + "\" has a head of its own");
  refused(mixture() + ", eval_tasks: [{name: mean, task: t, data: d}]",
          "/data/eval_tasks/0/name: expected letters");
  refused(mixture() + ", eval_tasks: [{name: accuracy, task: t, data: d}]",
          "/data/eval_tasks/0/name: expected letters");
  refused(mixture() + ", eval_tasks: [{name: a, task: t, data: d, group: mean}]",
          "/data/eval_tasks/0/group: expected letters");
  refused(mixture() + ", dev_rows: 3", "/data/dev_rows: a mixture is not split");
  refused(mixture() + ", shuffle: numpy", "/data/shuffle: says which rows of data.train are taken");
  refused(mixture() +
              ", eval_tasks: [{name: a, task: t, data: d}, {name: a, task: t, data: d, row: 1}]",
          "/data/eval_tasks/1/name: the name \"a\" appears twice");
  refused(mixture() + ", eval_tasks: [" + part("a", "copy.yaml", "few.jsonl") + ", " +
              part("b", "fluent.yaml", "few.jsonl") + "]",
          "the mean over data sets needs metrics of one kind, found exact_match of \"a\" and "
          "perplexity of \"b\"");
  refused(mixture() + ", eval_tasks: [" + part("a", "copy.yaml", "few.jsonl", ", rows: 9") + "]",
          "data.eval_tasks: a: '" + at("few.jsonl") + "' has 3 rows, 9 were asked for");
}

TEST_F(MixtureRun, ResolvedSettingsReadBackEqual) {
  const RunConfig first = config(mixture() + ", mixture_rows: 9, " + held_out(), "run");
  const Node node = run_config_node(first);
  const RunConfig again = parse_run_config(parse_yaml(to_yaml(node), "again"), {}, "again");
  EXPECT_EQ(to_yaml(run_config_node(again)), to_yaml(node));
  EXPECT_EQ(again.data.mixture, first.data.mixture);
  EXPECT_EQ(again.data.eval_tasks[1].rows, 2);
  EXPECT_EQ(again.data.eval_tasks[1].group, "copying");
  EXPECT_EQ(again.data.eval_tasks[0].group, "");
  EXPECT_EQ(again.task, at("copy.yaml"));
}

}  // namespace
}  // namespace graft::testing::test_mixture_run
