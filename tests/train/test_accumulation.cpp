// Several micro-batches equal one large batch, also when they are uneven; with dropout, too, since
// a mask belongs to its example.
#include <gtest/gtest.h>

#include <torch/csrc/autograd/autograd.h>

#include "tests/support/compare.h"
#include "tests/train/runs.h"
#include "train/objective.h"

namespace graft::testing::test_accumulation {
namespace {

// Gradients of the mean loss over all rows, from micro-batches of the given sizes on one
// BoundAdapter.
NamedTensors gathered(Rig& rig, const std::vector<Sequence>& rows,
                      const std::vector<double>& labels, const std::vector<int64_t>& sizes,
                      const Pass& pass) {
  BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  int64_t begin = 0;
  for (const int64_t size : sizes) {
    const std::vector<Sequence> some(rows.begin() + begin, rows.begin() + begin + size);
    const LaneResult result =
        run_lanes(*rig.model, pack_of(*rig.model, {lane_of(some)}, 64), {&bound}, pass).front();
    const at::Tensor loss = summed_loss(TaskKind::kClassification, result.logits,
                                        {labels.begin() + begin, labels.begin() + begin + size});
    torch::autograd::backward({loss / static_cast<double>(rows.size())}, {});
    begin += size;
  }
  EXPECT_EQ(begin, static_cast<int64_t>(rows.size()));
  bound.add_gradients_to_stored();
  NamedTensors out;
  for (auto& [name, tensor] : rig.tensors) {
    out[name] = tensor.grad();
    tensor.mutable_grad().reset();
  }
  return out;
}

TEST(Accumulation, EqualsALargeBatch) {
  for (const char* edit : {"{lora: {rank: 3, dropout: 0.2}}", "{bitfit: {}}", "{full: {}}"}) {
    for (const Precision precision : {Precision::kFloat32, Precision::kFloat64}) {
      const bool is_wide = precision == Precision::kFloat64;
      Rig rig(golden_model("bert-tiny", precision), std::string("{edits: [") + edit + "]}");
      rig.shake(0.1);
      if (is_wide) rig.widen();
      const std::vector<Sequence> rows = random_sequences(rig.model->config, 12, 20, 3);
      const std::vector<double> labels = class_labels(12, 3);
      for (const bool has_dropout : {false, true}) {
        const Pass pass{.dropout = 0.1, .is_training = has_dropout};
        const NamedTensors whole = gathered(rig, rows, labels, {12}, pass);
        for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{6, 6}, {1, 7, 4}, {11, 1}}) {
          const NamedTensors parts = gathered(rig, rows, labels, sizes, pass);
          expect_all_near(parts, whole, {is_wide ? 1e-13 : 2e-6, is_wide ? 1e-12 : 1e-5},
                          std::string(edit) + (has_dropout ? " with dropout" : ""));
          measured(std::string("accumulation ") + edit + (is_wide ? " float64" : ""),
                   largest_difference(parts, whole));
        }
      }
    }
  }
}

// The same through Run: batches of 8 rows, and of 5 + 3 (a file order whose second batch is short).
TEST(Accumulation, OfARunEqualsALargeBatch) {
  const TempFolder folder;
  const auto trained = [&](const std::string& name, const std::string& settings) {
    const Path out = folder / name;
    TrainingRun run(run_inputs("{edits: [{lora: {rank: 2}}], head: {dropout: 0}}", out,
                               "{epochs: 4, order: file, warmup: 0, " + settings + "}", 8),
                    StartMode::kFresh);
    EXPECT_EQ(run.total_steps(), 4);
    drive_to(run);
    run.finish();
    return load_adapter(out / "adapter", *golden_model("bert-tiny")).tensors;
  };
  const NamedTensors whole = trained("whole", "batch_size: 8"),
                     uneven = trained("uneven", "batch_size: 5, accumulate: 2");
  expect_all_near(uneven, whole, {1e-5, 1e-4}, "tensors after four steps");
  const std::vector<Node> a = log_events(folder / "whole", "step"),
                          b = log_events(folder / "uneven", "step");
  ASSERT_EQ(a.size(), 4U);
  ASSERT_EQ(b.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(number_of(*a[i].find("loss")), number_of(*b[i].find("loss")), 1e-5)
        << "step " << i + 1;
    EXPECT_EQ(a[i].find("tokens")->scalar, b[i].find("tokens")->scalar);
  }
}

}  // namespace
}  // namespace graft::testing::test_accumulation
