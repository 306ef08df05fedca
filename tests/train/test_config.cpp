// A run's settings: defaults, what each key may be, and that a resolved document reads back equal.
#include "train/config.h"

#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_config {
namespace {

constexpr const char* kLeast = "model: m\ntask: sst2\nout: o\ndata: {train: t.tsv}\n";

RunConfig parsed(const std::string& text, const std::string& defaults = "{}") {
  return parse_run_config(parse_yaml(kLeast + text, "run.yaml"), parse_yaml(defaults, "preset"),
                          "run.yaml");
}

TEST(RunConfig, HasTheDocumentedDefaults) {
  const RunConfig c = parsed("");
  EXPECT_EQ(c.epochs, std::nullopt);  // auto
  EXPECT_EQ(c.batch_size, 32);
  EXPECT_EQ(c.learning_rate, 1e-3);
  EXPECT_EQ(c.warmup.share, 0.06);
  EXPECT_EQ(c.schedule, Schedule::kLinear);
  EXPECT_EQ(c.weight_decay, 0.01);
  EXPECT_EQ(c.clip, 1);
  EXPECT_EQ(c.dropout, std::nullopt);
  EXPECT_EQ(c.seed, 42);
  EXPECT_EQ(c.evaluate_every.unit, Period::Unit::kAuto);
  EXPECT_EQ(c.evaluate_every.count, 1);
  EXPECT_TRUE(c.keep_best);
}

TEST(RunConfig, ReadsPeriodsAndWarmUps) {
  const auto period = [](const std::string& text) {
    return parsed("evaluate_every: " + text + "\n").evaluate_every;
  };
  EXPECT_EQ(period("500").unit, Period::Unit::kSteps);
  EXPECT_EQ(period("500").count, 500);
  EXPECT_EQ(period("1 step").unit, Period::Unit::kSteps);
  EXPECT_EQ(period("20 steps").count, 20);
  EXPECT_EQ(period("0.5 epochs").unit, Period::Unit::kEpochs);
  EXPECT_EQ(period("0.5 epochs").count, 0.5);
  EXPECT_EQ(period("never").unit, Period::Unit::kNever);
  EXPECT_EQ(period("auto").unit, Period::Unit::kAuto);
  EXPECT_EQ(parsed("epochs: auto\n", "{epochs: 5}").epochs, std::nullopt);
  EXPECT_EQ(parsed("warmup: 0.1\n").warmup.share, 0.1);
  EXPECT_EQ(parsed("warmup: 100\n").warmup.steps, 100);
  EXPECT_EQ(parsed("warmup: 100\n").warmup.share, 0);
  EXPECT_EQ(parsed("warmup: 0\n").warmup.share, 0);
}

TEST(RunConfig, LiesOverThePresetsTrainSection) {
  const RunConfig c =
      parsed("epochs: 7\n", "{epochs: 5, learning_rate: 0.1, data: {held_out: 0.2}}");
  EXPECT_EQ(c.epochs, 7);
  EXPECT_EQ(c.learning_rate, 0.1);
  EXPECT_EQ(c.data.held_out, 0.2);
  EXPECT_EQ(c.data.train, "t.tsv");
}

TEST(RunConfig, RefusesEachByItsPlace) {
  const struct {
    const char *text, *message;
  } rows[] = {
      {"epochs: -1", R"(/epochs: expected a number in 0..1e+06, found "-1")"},
      {"max_steps: 1.5", "/max_steps: expected an integer in 0.."},
      {"batch_size: 0", R"(/batch_size: expected an integer in 1..1048576, found "0")"},
      {"token_budget: x", "/token_budget: expected an integer in 0..16777216"},
      {"accumulate: 0", "/accumulate: expected an integer in 1..1048576"},
      {"order: lenght",
       R"(/order: expected shuffle, length or file, found "lenght" (did you mean 'length'?))"},
      {"learning_rate: nan", "/learning_rate: expected a number in 0..100"},
      {"warmup: 2.5", "/warmup: expected a share below 1 or a whole number of steps"},
      {"warmup: -1", "/warmup: expected a number in 0..1e+12"},
      {"schedule: cos", "/schedule: expected linear, cosine or constant, found \"cos\""},
      {"weight_decay: -0.1", "/weight_decay: expected a number in 0..10"},
      {"beta1: 1", "/beta1: expected a number in 0..0.999999"},
      {"beta2: 1", "/beta2: expected a number in 0..0.9999999"},
      {"epsilon: 2", "/epsilon: expected a number in 0..1"},
      {"clip: -1", "/clip: expected a number in 0..1e+09"},
      {"dropout: 1", "/dropout: expected a number in 0..0.99"},
      {"precision: fp16", R"(/precision: expected fp32 or bf16, found "fp16")"},
      {"max_length: -5", "/max_length: expected an integer in 0..4194304"},
      {"seed: -5", "/seed: expected an integer in 0.."},
      {"early_stop: -1", "/early_stop: expected an integer in 0..1048576"},
      {"keep_best: perhaps", "/keep_best: expected true or false"},
      {"optimizer: adam",
       "/optimizer: expected adamw or adafactor, found \"adam\" (did you mean 'adamw'?)"},
      {"device: cuda", "/device: expected cpu, found \"cuda\""},
      {"evaluate_every: soon",
       R"(/evaluate_every: expected steps such as 500, epochs such as '1 epoch', never, or auto, found "soon")"},
      {"evaluate_every: 0", "/evaluate_every: expected steps such as 500"},
      {"evaluate_every: 1.5", "/evaluate_every: expected steps such as 500"},
      {"evaluate_every: 2 hours", "/evaluate_every: expected steps such as 500"},
      {"evaluate_every: nan epochs", "/evaluate_every: expected steps such as 500"},
      {"evaluate_every: inf epochs", "/evaluate_every: expected steps such as 500"},
      {"checkpoint_every: 1e300", "/checkpoint_every: expected steps such as 500"},
      {"learning_rat: 1", "/learning_rat: unknown key (did you mean 'learning_rate'?)"},
  };
  for (const auto& row : rows) {
    expect_message<InputError>([&] { parsed(std::string(row.text) + "\n"); }, row.message);
    expect_message<InputError>([&] { parsed(std::string(row.text) + "\n"); }, "run.yaml:5:");
  }
  const auto whole = [](const std::string& text) {
    return [text] { parse_run_config(parse_yaml(text, "run.yaml"), {}, "run.yaml"); };
  };
  expect_message<InputError>(
      whole("model: m\ntask: t\nout: o\ndata: {train: a, eval: b, held_out: 0.1}"),
      "/data/held_out: data.eval is given; leave one of the two out");
  expect_message<InputError>(whole("model: m\ntask: t\nout: o\ndata: {train: a, tset: b}"),
                             "/data/tset: unknown key (did you mean 'test'?)");
  expect_message<InputError>(whole("model: m\ntask: t\nout: o\ndata: {train: a, held_out: 0.95}"),
                             "/data/held_out: expected a number in 0..0.9");
}

// What has no effect is refused where the user wrote it, and dropped where only the adapter's own
// suggestions have it.
TEST(RunConfig, RefusesWhatHasNoEffect) {
  expect_message<InputError>([] { parsed("adafactor: {first_step: 7}\n"); },
                             "/adafactor/first_step: found 7, and the optimizer is adamw; set "
                             "optimizer: adafactor, or leave it out");
  expect_message<InputError>(
      [] { parsed("adafactor: {scales_by_parameter: false}\n"); },
      "/adafactor/scales_by_parameter: found false, and the optimizer is adamw");
  expect_message<InputError>([] { parsed("early_stop: 3\nevaluate_every: never\n"); },
                             "/early_stop: found 3, and evaluate_every is never; give "
                             "evaluate_every a period, or leave it out");
  for (const char* key : {"weight_decay: 0.1", "beta1: 0.8", "beta2: 0.9", "epsilon: 1e-6",
                          "missing_gradient: skip"}) {
    const std::string setting = key;
    const size_t colon = setting.find(':');
    expect_message<InputError>([&] { parsed("optimizer: adafactor\n" + setting + "\n"); },
                               "/" + setting.substr(0, colon) + ": found " +
                                   setting.substr(colon + 2) + ", and the optimizer is adafactor");
  }
  EXPECT_EQ(parsed("optimizer: adafactor\nweight_decay: 0\n").weight_decay, 0)
      << "no decay is what adafactor does";
  expect_message<InputError>([] { parsed("consistency_targets: attached\n"); },
                             "/consistency_targets: found attached, and consistency is 0");
  expect_message<InputError>([] { parsed("token_budget: 100\nbatch_size: 4\n"); },
                             "/batch_size: found 4, and batches are made of token_budget");
  EXPECT_EQ(parsed("token_budget: 100\nbatch_size: 4\norder: length\n").batch_size, 4)
      << "of it the sorted windows are made";
  EXPECT_EQ(parsed("adafactor: {first_step: 7}\n", "{optimizer: adafactor}").adafactor.first_step,
            7);
  const RunConfig dropped = parsed("optimizer: adamw\nevaluate_every: never\n",
                                   "{optimizer: adafactor, adafactor: {first_step: 7, "
                                   "scales_by_parameter: false}, early_stop: 3}");
  EXPECT_EQ(dropped.adafactor.first_step, 0);
  EXPECT_TRUE(dropped.adafactor.scales_by_parameter);
  EXPECT_EQ(dropped.early_stop, 0);
  const Node node = run_config_node(dropped);
  EXPECT_EQ(to_yaml(run_config_node(parse_run_config(node, {}, "again"))), to_yaml(node))
      << "a resume reads it back as the user's own";
}

TEST(RunConfig, KnowsTheNamesOfEarlierVersions) {
  const RunConfig old = parsed("undrawn: rest\n"), present = parsed("missing_gradient: skip\n");
  EXPECT_EQ(old.missing_gradient, MissingGradient::kSkip);
  EXPECT_EQ(to_yaml(run_config_node(old)), to_yaml(run_config_node(present)));
  EXPECT_EQ(
      old.notes,
      (std::vector<std::string>{"run.yaml: undrawn: rest is called missing_gradient: skip now"}));
  EXPECT_TRUE(present.notes.empty());
  EXPECT_EQ(parsed("", "{undrawn: rest}").missing_gradient, MissingGradient::kSkip);
  EXPECT_EQ(parsed("undrawn: move\n").missing_gradient, MissingGradient::kZero);
  expect_message<InputError>([] { parsed("undrawn: sleep\n"); }, "found \"sleep\"");
  expect_message<InputError>([] { parsed("missing_gradient: zero\nundrawn: rest\n"); },
                             "/undrawn: unknown key (did you mean 'missing_gradient'?)");
}

// Each is a key of metrics.json, a side of a study's results and a file below RUN/records.
TEST(RunConfig, NamesOfEvaluationTasksAreOfNothingElse) {
  const auto name_of = [](const std::string& name) {
    const std::string text = "model: m\ntask: t\nout: o\ndata: {train: a, eval_tasks: [{name: \"" +
                             name + "\", task: t, data: d}]}";
    return parse_run_config(parse_yaml(text, "run.yaml"), {}, "run.yaml")
        .data.eval_tasks.front()
        .name;
  };
  for (const char* name : {"anli/r1", "r.1", "..a", "a..", "evaluation"})
    EXPECT_EQ(name_of(name), name);
  for (const char* name :
       {"..", ".", "/a", "a/", "a/../b", "a//b", "eval", "test", "train", "plain", "forgetting",
        "rows", "loss", "mean", "mean_of", "groups", "calibration", "seconds", "accuracy"})
    expect_message<InputError>([&] { name_of(name); }, "/data/eval_tasks/0/name: expected letters");
}

TEST(RunConfig, ReportsEveryFaultAtOnce) {
  const std::string message = message_of<InputError>([] {
    parse_run_config(parse_yaml("epochs: x\nclip: y\nlearning_rat: 1\ndata: {tain: a}", "run.yaml"),
                     {}, "run.yaml");
  });
  for (const char* part :
       {"/epochs: ", "/clip: ", "/learning_rat: ", "/data/tain: ",
        "/model: missing; give model or write it in the file", "/task: missing; give task",
        "/out: missing; give out", "train is missing; give data or write data.train in the file"}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
  }
}

TEST(RunConfig, ResolvedReadsBackEqual) {
  for (const char* text : {"",
                           "dropout: 0.1\nwarmup: 30\nevaluate_every: 20 steps\ncheckpoint_every: "
                           "never\nprecision: bf16\n",
                           "warmup: 0\nevaluate_every: 0.25 epochs\n",
                           "adapter: {edits: [{lora: {rank: 4}}], head: {dropout: "
                           "0}}\nadapter_name: lora\nstart_from: s\n",
                           "epochs: 0.1\nmax_steps: 9\nbatch_size: 3\ntoken_budget: "
                           "1024\naccumulate: 2\norder: length\nlearning_rate: "
                           "0.1\nschedule: cosine\nweight_decay: 0.3\n"
                           "beta1: 0.8\nbeta2: 0.98\nepsilon: 1e-6\nclip: 0\nmax_length: 64\nseed: "
                           "0\nearly_stop: 3\nkeep_best: false\n"}) {
    const RunConfig config = parsed(text);
    const Node node = run_config_node(config);
    const RunConfig again = parse_run_config(parse_yaml(to_yaml(node), "again"), {}, "again");
    EXPECT_EQ(to_yaml(run_config_node(again)), to_yaml(node));
    EXPECT_EQ(again.warmup.steps, config.warmup.steps);
    EXPECT_EQ(again.warmup.share, config.warmup.share);
    EXPECT_EQ(again.evaluate_every.count, config.evaluate_every.count);
    EXPECT_EQ(again.dropout, config.dropout);
    EXPECT_EQ(again.learning_rate, config.learning_rate);
    EXPECT_EQ(again.order, config.order);
    EXPECT_EQ(again.precision, config.precision);
    EXPECT_EQ(again.keep_best, config.keep_best);
    EXPECT_EQ(again.adapter, config.adapter);
    EXPECT_EQ(again.start_from, config.start_from);
  }
}

// A key that the writer forgets would be lost on a resume.
TEST(RunConfig, ResolvedHoldsEveryKeyThatIsKnown) {
  const std::string message = message_of<InputError>([] { parsed("moon: 1\n"); });
  const Node node = run_config_node(parsed(""));
  std::string keys = message.substr(message.find("known here: ") + 12);
  for (const std::string& sign : {std::string(" and "), std::string(", ")}) {
    for (size_t at = keys.find(sign); at != std::string::npos; at = keys.find(sign))
      keys.replace(at, sign.size(), "\n");
  }
  std::istringstream lines(keys);
  int64_t count = 0;
  for (std::string key; std::getline(lines, key); ++count)
    EXPECT_NE(node.find(key), nullptr) << key;
  EXPECT_EQ(count, static_cast<int64_t>(node.members.size()));
}

// What a table of the settings says is what a document without them gives.
TEST(RunConfig, ListsEverySettingWithItsDefault) {
  const Node node = run_config_node(parsed(""));
  int64_t compared = 0;
  for (const OptionRow& row : option_rows(RunConfig{})) {
    EXPECT_GT(row.meaning.size(), 7u) << row.name;
    EXPECT_FALSE(row.values.empty()) << row.name;
    const size_t dot = row.name.find('.');
    const Node* found = node.find(row.name.substr(0, dot));
    if (found != nullptr && dot != std::string::npos) found = found->find(row.name.substr(dot + 1));
    ASSERT_NE(found, nullptr) << row.name;
    if (found->kind != Node::Kind::kScalar || found->scalar.empty()) continue;
    const bool is_given =
        row.name == "model" || row.name == "task" || row.name == "out" || row.name == "data.train";
    if (is_given || row.name == "max_length") continue;  // 0 there; the table says what it means
    EXPECT_EQ(found->scalar, row.usual) << row.name;
    ++compared;
  }
  EXPECT_EQ(compared, 65);
}

}  // namespace
}  // namespace graft::testing::test_config
