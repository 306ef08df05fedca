// Checkpoints: whole or not at all, and the older one stays until the newer one is complete.
#include "train/checkpoint.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/error.h"
#include "edit/initial.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/digests.h"

namespace graft::testing::test_checkpoint {
namespace {

namespace fs = std::filesystem;

Checkpoint sample(int64_t step) {
  Checkpoint c;
  c.step = step;
  c.log_bytes = 1234 + step;
  c.tokens = 99;
  c.seconds = 1.0 / 3;
  c.config = "digest";
  c.inputs = {{"data", "one"}, {"model", "two"}};
  c.best = {
      .step = step - 1, .value = 0.1 + 0.2, .loss = 1.0 / 7, .counted = 0.1 + 0.2, .stale = 2};
  c.tensors = {
      {"head/out.weight",
       normal_tensor({3, 4}, 1, RandomKey{static_cast<uint64_t>(step)}).requires_grad_(true)}};
  c.optimizer = {{"m/head/out.weight", normal_tensor({3, 4}, 1, RandomKey{7})},
                 {"t/head/out.weight", at::full({}, 5.0, at::kFloat)}};
  return c;
}

void expect_equal(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(std::tie(a.step, a.log_bytes, a.tokens, a.seconds, a.config, a.inputs),
            std::tie(b.step, b.log_bytes, b.tokens, b.seconds, b.config, b.inputs));
  EXPECT_EQ(std::tie(a.best.step, a.best.value, a.best.loss, a.best.counted, a.best.stale),
            std::tie(b.best.step, b.best.value, b.best.loss, b.best.counted, b.best.stale));
  expect_all_bits(a.tensors, b.tensors, "tensors");
  expect_all_bits(a.optimizer, b.optimizer, "optimizer");
}

TEST(Checkpoint, ReadsBackEqual) {
  const TempFolder run;
  EXPECT_FALSE(load_newest_checkpoint(run.path()).has_value());
  save_checkpoint(run.path(), sample(3));
  expect_equal(load_newest_checkpoint(run.path()).value(), sample(3));
}

// Older checkpoints do not have it, nor has one in which it is the best value.
TEST(Checkpoint, HoldsWhatEarlyStopGoesByWhereThatIsAnother) {
  using Value = std::optional<double>;
  for (const Value& counted : {Value(), Value(0.25), Value(0.1 + 0.2)}) {
    const TempFolder run;
    Checkpoint c = sample(3);
    c.best.counted = counted;
    save_checkpoint(run.path(), c);
    EXPECT_EQ(load_newest_checkpoint(run.path()).value().best.counted, counted);
    const Node json = parse_json(read_file(run / "checkpoints/step-3/state.json"), "state.json");
    EXPECT_EQ(json.find("counted_value") == nullptr, counted == Value(c.best.value));
  }
}

TEST(Checkpoint, TakesThePlaceOfOlderOnes) {
  const TempFolder run;
  for (const int64_t step : {9, 10, 100}) save_checkpoint(run.path(), sample(step));
  expect_equal(load_newest_checkpoint(run.path()).value(),
               sample(100));  // by number, not by spelling
  EXPECT_EQ(std::distance(fs::directory_iterator(run / "checkpoints"), fs::directory_iterator()),
            1);
}

TEST(Checkpoint, WithoutItsMarkerDoesNotCount) {
  const TempFolder run;
  save_checkpoint(run.path(), sample(3));
  fs::copy(run / "checkpoints/step-3", run / "checkpoints/step-5");
  fs::remove(run / "checkpoints/step-5/complete");
  fs::create_directories(run / "checkpoints/step-7");
  fs::create_directories(run / "checkpoints/step-9x");
  write_file_atomically(run / "checkpoints/step-9x/complete", "");
  expect_equal(load_newest_checkpoint(run.path()).value(), sample(3));
}

TEST(Checkpoint, AFailedWriteLeavesTheOlderOne) {
  const TempFolder run;
  save_checkpoint(run.path(), sample(3));
  int64_t failures = 0, bytes = 0;
  for (bool is_written = false; !is_written;
       bytes += 37) {  // the disk fills up at every 37th byte of what is written
    fail_writes_after(bytes);
    try {
      save_checkpoint(run.path(), sample(4));
      is_written = true;
    } catch (const IoError&) {
      ++failures;
    }
    fail_writes_after(-1);
    if (!is_written) expect_equal(load_newest_checkpoint(run.path()).value(), sample(3));
  }
  EXPECT_GT(failures, 10);
  expect_equal(load_newest_checkpoint(run.path()).value(), sample(4));
}

// An interrupt right after a periodic checkpoint saves the same step again: the one that is there
// must not be lost.
TEST(Checkpoint, AFailedRewriteOfOneStepLeavesIt) {
  const TempFolder run;
  save_checkpoint(run.path(), sample(3));
  for (const int64_t bytes : {0, 50, 400, 700}) {
    fail_writes_after(bytes);
    try {
      save_checkpoint(run.path(), sample(3));
    } catch (const IoError&) {
    }
    fail_writes_after(-1);
    const auto loaded = load_newest_checkpoint(run.path());
    ASSERT_TRUE(loaded.has_value()) << bytes << " bytes";
    expect_equal(*loaded, sample(3));
  }
}

// Whatever else it holds, nothing is wrong with it.
TEST(Checkpoint, OfANewerGraftIsNotSaidToBeDamaged) {
  const TempFolder run;
  save_checkpoint(run.path(), sample(3));
  write_file_atomically(run / "checkpoints/step-3/state.json",
                        R"({"version": 3, "step": "three"})");
  const std::string message = message_of<InputError>([&] { load_newest_checkpoint(run.path()); });
  EXPECT_TRUE(
      message.ends_with("state.json: version 3 is newer than this graft reads (2): update graft"))
      << message;
}

TEST(Checkpoint, RefusesADamagedOne) {
  const auto spoiled = [](const std::function<void(const Path&)>& spoil,
                          const std::string& message) {
    const TempFolder run;
    save_checkpoint(run.path(), sample(3));
    spoil(run / "checkpoints/step-3");
    expect_message<InputError>([&] { load_newest_checkpoint(run.path()); }, message);
  };
  spoiled([](const Path& dir) { write_file_atomically(dir / "state.json", "{"); }, "state.json");
  spoiled([](const Path& dir) { write_file_atomically(dir / "state.json", "{\"version\": 0}"); },
          "/version: expected an integer in 1..1000000, found \"0\"");
  spoiled([](const Path& dir) { fs::remove(dir / "state.safetensors"); }, "state.safetensors");
  spoiled([](const Path& dir) { fs::resize_file(dir / "state.safetensors", 150); },
          "state.safetensors");
  spoiled(
      [](const Path& dir) {
        save_safetensors(dir / "state.safetensors", {{"other", at::zeros({1})}});
      },
      "the bytes are not those that were written");
  spoiled(
      [](const Path& dir) {
        std::string bytes = read_file(dir / "state.safetensors");
        bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 1);
        write_file_atomically(dir / "state.safetensors", bytes);
      },
      "the checkpoint is damaged; remove ");
  spoiled(
      [](const Path& dir) {
        Node json = parse_json(read_file(dir / "state.json"), "state.json");
        std::erase_if(json.members, [](const auto& member) { return member.first == "inputs"; });
        write_file_atomically(dir / "state.json", to_json(json));
      },
      "/inputs: missing; expected the digests of what the run reads");
}

// A number changed by hand reads as well as the one that was written: only a digest tells them
// apart.
TEST(Checkpoint, RefusesChangedNumbers) {
  const auto changed = [](const std::string& key, Node value, const std::string& message) {
    const TempFolder run;
    save_checkpoint(run.path(), sample(130));
    const Path file = run / "checkpoints/step-130/state.json";
    Node json = parse_json(read_file(file), "state.json");
    json[key] = std::move(value);
    write_file_atomically(file, to_json(json));
    expect_message<InputError>([&] { load_newest_checkpoint(run.path()); }, message);
  };
  const std::string other = "state.json: the bytes are not those that were written";
  for (const int64_t step : {0, 1, 199, 65536}) changed("step", Node::integer(step), other);
  changed("log_bytes", Node::integer(0), other);
  changed("tokens", Node::integer(7), other);
  changed("best_value", Node::number(0.9), other);
  changed("best_loss", Node::number(0.9), other);
  changed("stale", Node::integer(0), other);
  changed("version", Node::integer(1), other);
  changed("config", Node::text("x"), "\n  the checkpoint is damaged; remove ");
}

TEST(Checkpoint, RefusesAFolderOfAnotherName) {
  const TempFolder run;
  save_checkpoint(run.path(), sample(130));
  fs::rename(run / "checkpoints/step-130", run / "checkpoints/step-131");
  expect_message<InputError>([&] { load_newest_checkpoint(run.path()); },
                             "expected step 131, as its folder is named, found 130");
}

TEST(Checkpoint, RefusesAnotherMarker) {
  for (const std::string& marker : {std::string(), std::string("x"), std::string(64, '0')}) {
    const TempFolder run;
    save_checkpoint(run.path(), sample(3));
    write_file_atomically(run / "checkpoints/step-3/complete", marker);
    expect_message<InputError>([&] { load_newest_checkpoint(run.path()); },
                               "the bytes are not those that were written");
  }
}

// Version 1 had an empty marker and no digest of state.json: what can be checked is.
TEST(Checkpoint, OfAnOlderVersionIsReadAndItsStepChecked) {
  const TempFolder run;
  save_checkpoint(run.path(), sample(3));
  const Path dir = run / "checkpoints/step-3";
  Node json = parse_json(read_file(dir / "state.json"), "state.json");
  json["version"] = Node::integer(1);
  write_file_atomically(dir / "state.json", to_json(json));
  write_file_atomically(dir / "complete", "");
  expect_equal(load_newest_checkpoint(run.path()).value(), sample(3));
  json["step"] = Node::integer(2);
  write_file_atomically(dir / "state.json", to_json(json));
  expect_message<InputError>([&] { load_newest_checkpoint(run.path()); },
                             "expected step 3, as its folder is named, found 2");
}

// Its settings have the digest that graft 0.1.0 wrote; one that came later counts where it says
// something.
TEST(Checkpoint, OfAnOlderVersionHasTheDigestOfItsSettings) {
  const std::string text =
      "{model: m, task: sst2, out: o, adapter_name: lora, adapter: {edits: [{lora: {rank: 2}}]}, "
      "data: {train: t.tsv}, epochs: "
      "3, "
      "learning_rate: 0.001, evaluate_every: 1 epochs, checkpoint_every: 20 steps}";
  const char* first =
      R"({"model": "m", "task": "sst2", "out": "", "adapter_name": "lora", "adapter": {"edits": [{"lora": {"rank": 2}}]},
          "start_from": "", "data": {"train": "t.tsv", "eval": "", "test": "", "held_out": 0, "mixture": [], "mixture_rows": 0,
          "eval_tasks": [], "rows": 0, "eval_rows": 0, "per_label": 0, "split_eval": false}, "optimizer": "adamw",
          "adafactor": {"first_step": 0, "scales_by_parameter": true}, "undrawn": "move", "label_smoothing": 0, "z_loss": 0,
          "consistency": 0, "save_memory": false, "loss_unit": "token", "consistency_targets": "detached", "device": "cpu",
          "epochs": 3, "max_steps": 0, "batch_size": 32, "token_budget": 0, "accumulate": 1, "order": "shuffle",
          "learning_rate": 0.001, "warmup": 0.06, "schedule": "linear", "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.999,
          "epsilon": 1e-08, "clip": 1, "dropout": null, "precision": "fp32", "max_length": 0, "seed": 42,
          "evaluate_every": "1 epochs", "checkpoint_every": "20 steps", "early_stop": 0, "keep_best": true,
          "generation": {"max_new_tokens": 0, "beams": 1, "length_penalty": 1, "temperature": 0, "top_k": 0, "top_p": 1,
          "repetition_penalty": 1, "no_repeat_ngram": 0, "min_new_tokens": 0}})";
  RunConfig config = parse_run_config(yaml(text), {}, "run.yaml");
  EXPECT_EQ(digest_of(config), sha256(to_json(parse_json(first, "0.1.0"), -1)));
  config.generation.sampling.forced_bos = 7;
  EXPECT_NE(digest_of(config), sha256(to_json(parse_json(first, "0.1.0"), -1)));
}

}  // namespace
}  // namespace graft::testing::test_checkpoint
