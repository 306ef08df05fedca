// Checkpoints: whole or not at all, and the older one stays until the newer one is complete.
#include "train/checkpoint.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/initial.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/testing.h"

namespace graft::testing {
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
  c.best = {step - 1, 0.1 + 0.2, 2};
  c.tensors = {{"head/out.weight", normal_tensor({3, 4}, 1, RandomKey{static_cast<uint64_t>(step)}).requires_grad_(true)}};
  c.optimizer = {{"m/head/out.weight", normal_tensor({3, 4}, 1, RandomKey{7})},
                 {"t/head/out.weight", at::full({}, 5.0, at::kFloat)}};
  return c;
}

void expect_equal(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(std::tie(a.step, a.log_bytes, a.tokens, a.seconds, a.config, a.inputs, a.best.step, a.best.value, a.best.stale),
            std::tie(b.step, b.log_bytes, b.tokens, b.seconds, b.config, b.inputs, b.best.step, b.best.value, b.best.stale));
  expect_all_bits(a.tensors, b.tensors, "tensors");
  expect_all_bits(a.optimizer, b.optimizer, "optimizer");
}

TEST(Checkpoint, ReadsBackEqual) {
  const TempFolder run;
  EXPECT_FALSE(load_newest_checkpoint(run.path()).has_value());
  save_checkpoint(run.path(), sample(3));
  expect_equal(load_newest_checkpoint(run.path()).value(), sample(3));
}

TEST(Checkpoint, TakesThePlaceOfOlderOnes) {
  const TempFolder run;
  for (const int64_t step : {9, 10, 100}) save_checkpoint(run.path(), sample(step));
  expect_equal(load_newest_checkpoint(run.path()).value(), sample(100));  // by number, not by spelling
  EXPECT_EQ(std::distance(fs::directory_iterator(run / "checkpoints"), fs::directory_iterator()), 1);
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
  for (bool is_written = false; !is_written; bytes += 37) {  // the disk fills up at every 37th byte of what is written
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

// An interrupt right after a periodic checkpoint saves the same step again: the one that is there must not be lost.
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

TEST(Checkpoint, RefusesADamagedOne) {
  const auto spoiled = [](const std::function<void(const Path&)>& spoil, const std::string& message) {
    const TempFolder run;
    save_checkpoint(run.path(), sample(3));
    spoil(run / "checkpoints/step-3");
    expect_message<InputError>([&] { load_newest_checkpoint(run.path()); }, message);
  };
  spoiled([](const Path& dir) { write_file_atomically(dir / "state.json", "{"); }, "state.json");
  spoiled([](const Path& dir) { write_file_atomically(dir / "state.json", "{\"version\": 2}"); },
          "/version: expected an integer in 1..1, found \"2\"");
  spoiled([](const Path& dir) { fs::remove(dir / "state.safetensors"); }, "state.safetensors");
  spoiled([](const Path& dir) { fs::resize_file(dir / "state.safetensors", 150); }, "state.safetensors");
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

}  // namespace
}  // namespace graft::testing
