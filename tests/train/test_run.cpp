// Runs: resuming bit for bit, stopping where the numbers go wrong, keeping the best.
#include "train/run.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "model/families.h"
#include "tests/support/compare.h"
#include "tests/train/runs.h"

namespace graft::testing::test_run {
namespace {

constexpr const char* kLora = "{edits: [{lora: {rank: 2, dropout: 0.1}}]}";

NamedTensors tensors_of(const Path& run) {
  return load_adapter(run / "adapter", *golden_model("bert-tiny")).tensors;
}

// Losses and norms of every step, as text: equal text is equal bits.
std::string history(const Path& run) {
  std::string out;
  for (const Node& event : log_events(run, "step")) {
    for (const char* key : {"step", "loss", "learning_rate", "gradient_norm", "tokens"})
      out += event.find(key)->scalar + " ";
    out += "\n";
  }
  return out;
}

class Resumed : public ::testing::TestWithParam<std::string> {};

TEST_P(Resumed, GoesOnBitForBit) {
  const TempFolder folder;
  const std::string settings =
      "{epochs: 3, batch_size: 5, accumulate: 2, dropout: 0.1, order: length" + GetParam() + "}";
  {
    TrainingRun run(run_inputs(kLora, folder / "straight", settings), StartMode::kFresh);
    EXPECT_EQ(run.total_steps(), 9);
    drive_to(run);
    run.finish();
  }
  {
    TrainingRun run(run_inputs(kLora, folder / "broken", settings), StartMode::kFresh);
    drive_to(run, 4);
    run.checkpoint();
    drive_to(run, 6);  // two steps that no checkpoint holds: the log is cut back
  }
  {
    TrainingRun run(run_inputs(kLora, folder / "broken", settings), StartMode::kResume);
    EXPECT_EQ(run.steps_done(), 4);
    drive_to(run);
    run.finish();
  }
  expect_all_bits(tensors_of(folder / "broken"), tensors_of(folder / "straight"), "adapter");
  EXPECT_EQ(history(folder / "broken"), history(folder / "straight"));
}

INSTANTIATE_TEST_SUITE_P(Run, Resumed, ::testing::Values("", ", save_memory: true"),
                         [](const auto& p) { return p.param.empty() ? "plain" : "saves_memory"; });

TEST(Run, RefusesAFolderThatHoldsARunAndAChangedRunFile) {
  const TempFolder folder;
  {
    TrainingRun run(run_inputs(kLora, folder / "run", "{}"), StartMode::kFresh);
    drive_to(run, 1);
    run.checkpoint();
  }
  expect_message<InputError>(
      [&] { TrainingRun(run_inputs(kLora, folder / "run", "{}"), StartMode::kFresh); },
      "holds a run already: go on with resume");
  expect_message<InputError>(
      [&] {
        TrainingRun(run_inputs(kLora, folder / "run", "{learning_rate: 0.1}"), StartMode::kResume);
      },
      "run.yaml is not the one that the checkpoint at step 1 was made with");
}

TEST(Run, OfTwoStartsTheOneThatHasTheLogWritesTheFolder) {
  const TempFolder folder;
  make_directories(folder / "run");
  const auto start = [&] {
    return TrainingRun(run_inputs(kLora, folder / "run", "{}"), StartMode::kFresh).total_steps();
  };
  {
    const EventLog other(folder / "run" / "log.jsonl");
    expect_message<IoError>(start, "another process is writing this run");
    EXPECT_FALSE(std::filesystem::exists(folder / "run" / "run.yaml"));
  }
  EXPECT_GT(start(), 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "run" / "run.yaml"));
}

// Beside its tokens a row may have an embedding, rows of a subspace, and texts to be scored
// against.
TEST(Run, AResumeHoldsWhatStandsBesideTheTextsAgainstTheCheckpoint) {
  const TempFolder folder;
  const Path dir = folder / "run";
  const auto inputs = [&](float number, int64_t subspace, const std::string& reference) {
    RunInputs in = run_inputs(kLora, dir, "{max_steps: 3, evaluate_every: never}");
    EvalData eval{*in.train, *in.train};
    for (Example& example : eval.prompts->examples)
      example.row.emplace<GenerationRow>().references = {reference};
    in.eval = std::make_shared<const EvalData>(std::move(eval));
    Dataset& rows = own_rows(in);
    for (Sequence& sequence : rows.sequences) sequence.embedding = {1.0F, 2.0F};
    rows.sequences[5].embedding[1] = number;
    rows.sequences[5].subspace = {subspace};
    return in;
  };
  const auto steps_of_resumed = [](RunInputs in) {
    return TrainingRun(std::move(in), StartMode::kResume).steps_done();
  };
  {
    TrainingRun run(inputs(3, 0, "one"), StartMode::kFresh);
    drive_to(run, 1);
    run.checkpoint();
  }
  EXPECT_EQ(steps_of_resumed(inputs(3, 0, "one")), 1);
  const std::string then = " is not what the checkpoint at step 1 was made with",
                    of_training = "what stands beside the texts of the training data" + then;
  expect_message<InputError>([&] { steps_of_resumed(inputs(4, 0, "one")); }, of_training);
  expect_message<InputError>([&] { steps_of_resumed(inputs(3, 1, "one")); }, of_training);
  expect_message<InputError>([&] { steps_of_resumed(inputs(3, 0, "two")); },
                             "what stands beside the texts of the evaluation data" + then);
  // Earlier versions did not look at it.
  Checkpoint old = load_newest_checkpoint(dir).value();
  const auto is_newer = [](const auto& each) { return each.first.starts_with("what stands"); };
  EXPECT_EQ(std::erase_if(old.inputs, is_newer), 2U);
  remove_checkpoints(dir);
  save_checkpoint(dir, old);
  EXPECT_EQ(steps_of_resumed(inputs(4, 1, "two")), 1);
}

TEST(Run, AResumeSweepsWhatAKillLeftOfFiles) {
  const TempFolder folder;
  { TrainingRun run(run_inputs(kLora, folder / "run", "{}"), StartMode::kFresh); }
  std::vector<Path> left;
  for (const char* file : {".run.yaml", ".metrics.json", ".records.json", "adapter/.adapter.json",
                           "adapter/.adapter.safetensors", "records/.eval.jsonl",
                           "records/.test.jsonl", "records/sets/.one.jsonl"})
    left.push_back(folder / ("run/" + std::string(file) + ".abcdef"));
  const Path other = folder / "run/records/.one.jsonl.abcdef";
  for (const Path& file : left) {
    make_directories(file.parent_path());
    write_file_atomically(file, "half");
  }
  write_file_atomically(other, "of no file of this run");
  RunInputs inputs = run_inputs(kLora, folder / "run", "{}");
  inputs.eval_tasks.push_back({"sets/one", inputs.task, evaluation_rows(inputs)});
  const TrainingRun run(std::move(inputs), StartMode::kResume);
  for (const Path& file : left) EXPECT_FALSE(std::filesystem::exists(file)) << file;
  EXPECT_TRUE(std::filesystem::exists(other));
}

TEST(Run, StopsAtNumbersThatAreNotFinite) {
  const TempFolder folder;
  RunInputs inputs = run_inputs(kLora, folder / "run", "{epochs: 1, batch_size: 24, order: file}");
  set_task(inputs, regression_task());
  own_rows(inputs).examples[3].label = 1e30;  // its square is beyond float32
  TrainingRun run(std::move(inputs), StartMode::kFresh);
  const std::string message = message_of<InputError>([&] { run.step(); });
  for (const char* part : {"step 1: the loss is inf", "learning rate 0", "examples row 0, row 1",
                           "before this step changed anything"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  EXPECT_EQ(run.steps_done(), 0);
}

TEST(Run, NamesATensorThatStandsStill) {
  const TempFolder folder;
  // A label equal to the logits of the initial values: the loss is zero, and so is every gradient.
  RunInputs inputs = run_inputs("{edits: [{lora: {rank: 2}}], head: {dropout: 0}}", folder / "run",
                                "{epochs: 12, batch_size: 1, order: file, weight_decay: 0}", 1);
  set_task(inputs, regression_task());
  const RandomKey seed = RandomKey{}.with(uint64_t{42});
  Rig same(inputs.model, "{edits: [{lora: {rank: 2}}], head: {dropout: 0}}", regression_task());
  same.tensors = same.adapter->init(inputs.model->weights, seed.with("init"));
  own_rows(inputs).examples[0].label =
      logits_of(same, inputs.train->sequences, {}, 64).item<double>();
  TrainingRun run(std::move(inputs), StartMode::kFresh);
  while (!run.is_done()) run.step();
  const std::string log = read_file(folder / "run" / "log.jsonl");
  EXPECT_NE(log.find("\"still\""), std::string::npos) << log;
  EXPECT_NE(log.find("0.lora/enc.0.attn.q.lora_b"), std::string::npos) << log;
}

// A cloze reads the head that fills masks in, and no pooler.
TEST(Run, RefusesATensorThatTheLossDoesNotReach) {
  const TempFolder folder;
  const auto bare = tiny_model("bert", Precision::kFloat32);
  NamedTensors base = bare->weights.all_base();
  for (const TensorSlot& slot : mask_head_slots(bare->config))
    base[slot.name()] = at::full(slot.shape, 0.1);
  RunInputs inputs = run_inputs("{edits: [{full: {}}]}", folder / "run", "{epochs: 1}");
  inputs.model = std::make_shared<const Model>(
      Model{bare->source, bare->config, bare->sites,
            Weights(bare->config, std::move(base), Precision::kFloat32)});
  Dataset& rows = own_rows(inputs);
  rows.sequences = random_sequences(bare->config, 24, 8, 17);  // of the positions that it serves
  const auto words = std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{1, 2, 3});
  for (Sequence& sequence : rows.sequences) sequence.asked = Mask{0, words};
  Task cloze = inputs.task;
  cloze.at<Classification>().cloze = Cloze{{}, {"a", "b", "c"}};
  set_task(inputs, cloze);
  TrainingRun run(std::move(inputs), StartMode::kFresh);
  const std::string message = message_of<InputError>([&] { run.step(); });
  EXPECT_NE(message.find("step 1: no gradient for '0.full/pooler.weight' and '0.full/pooler.bias'"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("the loss does not reach these tensors"), std::string::npos) << message;
}

TEST(Run, KeepsTheBestAndStopsEarly) {
  const TempFolder folder;
  RunInputs inputs = run_inputs(
      kLora, folder / "run",
      "{epochs: 40, batch_size: 8, evaluate_every: 1 step, early_stop: 4, learning_rate: 0.02}");
  inputs.eval = evaluation_rows(inputs);
  TrainingRun run(std::move(inputs), StartMode::kFresh);
  drive_to(run);
  EXPECT_LT(run.steps_done(), run.total_steps());
  run.finish();
  double best = -1, loss = 0;
  int64_t at = 0, reached = 0, last = 0;
  for (const Node& event : log_events(folder / "run", "evaluate")) {
    last = static_cast<int64_t>(number_of(*event.find("step")));
    const double accuracy = number_of(*event.find("accuracy")),
                 its_loss = number_of(*event.find("loss"));
    if (accuracy > best) reached = last;
    if (accuracy > best || (accuracy == best && its_loss < loss))
      best = accuracy, loss = its_loss, at = last;
  }
  EXPECT_EQ(last - reached, 4);
  EXPECT_NEAR(
      number_of(
          *parse_json(read_file(folder / "run" / "metrics.json"), "m").find("eval")->find("loss")),
      loss, 1e-6);
  const Node metrics = parse_json(read_file(folder / "run" / "metrics.json"), "metrics.json");
  EXPECT_EQ(metrics.find("step")->scalar, std::to_string(at));
  EXPECT_NEAR(number_of(*metrics.find("eval")->find("accuracy")), best, 1e-12)
      << "what is on disk is the best one";
  EXPECT_FALSE(std::filesystem::exists(folder / "run" / "checkpoints"));
}

TEST(BestSoFar, IsDecidedByTheValueThenByTheLoss) {
  const BestSoFar none, best{3, 0.9, 0.5};
  EXPECT_TRUE((BestSoFar{1, -1e300, 9}).is_better_than(none));
  EXPECT_TRUE((BestSoFar{4, 0.91, 0.7}).is_better_than(best));
  EXPECT_FALSE((BestSoFar{4, 0.89, 0.1}).is_better_than(best));
  EXPECT_TRUE((BestSoFar{4, 0.9, 0.499}).is_better_than(best));
  EXPECT_FALSE((BestSoFar{4, 0.9, 0.5}).is_better_than(best)) << "the first of equals stays";
  EXPECT_FALSE((BestSoFar{4, 0.9, std::nan("")}).is_better_than(best));
}

// The end of a shorter run scores once more, and may score best.
TEST(BestSoFar, EarlyStopGoesByTheEvaluationsThatCount) {
  BestSoFar best;
  best.count(0.5);
  best.count(0.5);
  EXPECT_EQ(best.stale, 1) << "no improvement";
  best.step = 8;
  best.value = 0.9;
  best.count(0.6);
  EXPECT_EQ(best.stale, 0) << "better than all that count";
  EXPECT_EQ(best.counted, 0.6);
  EXPECT_EQ(best.value, 0.9);
}

TEST(Run, StartsFromAnAdapterOfItsOwnShapeOnly) {
  const TempFolder folder;
  const Rig rig(golden_model("bert-tiny"), "{edits: [{lora: {rank: 3}}]}");
  save_adapter(folder / "start", *rig.adapter, rig.tensors, *rig.model, {});
  const std::string settings = "{start_from: " + (folder / "start").string() + "}";
  expect_message<InputError>(
      [&] { TrainingRun(run_inputs(kLora, folder / "run", settings), StartMode::kFresh); },
      "' is not of this run's shape: lora.rank 3 there, 2 here");
  EXPECT_FALSE(std::filesystem::exists(folder / "run")) << "refused before the folder is touched";
}

// bf16: the trunk and the products of trained tensors in bfloat16 (8 bits of mantissa, one part in
// 256), the tensors themselves in float32. Ten steps stay within a few parts in a hundred of the
// float32 run's losses.
TEST(Run, TrainsInBfloat16) {
  const TempFolder folder;
  std::vector<std::vector<Node>> events;
  for (const std::string& precision : {std::string("fp32"), std::string("bf16")}) {
    TrainingRun run(
        run_inputs("{edits: [{lora: {rank: 2}}], head: {dropout: 0}}", folder / precision,
                   "{max_steps: 10, batch_size: 8, precision: " + precision + "}"),
        StartMode::kFresh);
    drive_to(run);
    run.finish();
    events.push_back(log_events(folder / precision, "step"));
  }
  double worst = 0;
  for (size_t i = 0; i < 10; ++i)
    worst = std::max(worst, std::abs(number_of(*events[0][i].find("loss")) -
                                     number_of(*events[1][i].find("loss"))));
  measured("bf16 losses", worst);
  EXPECT_LT(worst, 0.03);
  EXPECT_GT(worst, 0) << "bf16 was not used";
}

}  // namespace
}  // namespace graft::testing::test_run
