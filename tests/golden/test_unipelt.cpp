// Every case of tests/golden/unipelt: gates, prefixes and prompts beside AdapterHub and PEFT,
// from the first logits to ten losses.
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "train/objective.h"
#include "train/optimizer.h"

#include <torch/csrc/autograd/autograd.h>

namespace graft::testing::test_unipelt {
namespace {

using at::Tensor;

constexpr Tolerance kFloat{1e-5, 1e-4};

const Node& manifest() {
  static const Node node = golden_manifest("unipelt");
  return node;
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : manifest().find("cases")->members) names.push_back(name);
  return names;
}

struct UnipeltCase {
  const Node* entry;
  NamedTensors file;
  std::vector<Sequence> sequences;
  std::vector<double> labels;
  size_t batch = static_cast<size_t>(number_of(*manifest().find("batch_size")));

  explicit UnipeltCase(const std::string& name)
      : entry(manifest().find("cases")->find(name)),
        file(load_safetensors(golden_dir("unipelt") / name / "case.safetensors").tensors) {
    sequences = cut_sequences(file.at("ids"), file.at("token_types"), file.at("lengths"));
    const Tensor values = file.at("labels").to(at::kDouble).contiguous();
    labels.assign(values.const_data_ptr<double>(),
                  values.const_data_ptr<double>() + values.numel());
  }

  NamedTensors stored(const std::string& kind) const {
    NamedTensors out;
    for (const auto& [name, tensor] : file) {
      if (name.starts_with(kind + ".")) out[name.substr(kind.size() + 1)] = tensor;
    }
    return out;
  }

  Rig rig() const {
    Rig rig(golden_model(entry->find("model")->scalar),
            "{edits: " + entry->find("edits")->scalar + ", head: {dropout: 0}}",
            class_task(static_cast<int64_t>(number_of(*entry->find("num_labels")))));
    const at::NoGradGuard no_grad;
    const NamedTensors init = stored("init");
    for (const auto& [name, tensor] : rig.tensors) {
      const Tensor& value = init.at(name);
      if (value.sizes() != tensor.sizes())
        throw InternalError("another shape than the reference's: " + name);
      tensor.copy_(value);
    }
    return rig;
  }

  std::vector<Sequence> sequences_of(size_t step) const {
    return {sequences.begin() + static_cast<int64_t>(step * batch),
            sequences.begin() + static_cast<int64_t>((step + 1) * batch)};
  }
  std::vector<double> labels_of(size_t step) const {
    return {labels.begin() + static_cast<int64_t>(step * batch),
            labels.begin() + static_cast<int64_t>((step + 1) * batch)};
  }
};

class GoldenUnipelt : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenUnipelt, FirstBatch) {
  const UnipeltCase golden(GetParam());
  Rig rig = golden.rig();
  EXPECT_EQ(rig.tensors.size(), golden.stored("init").size())
      << "tensors that the reference trains";
  expect_near(logits_of(rig, golden.sequences_of(0), {}, 64), golden.file.at("logits"), kFloat,
              "logits");
  LossAndGradients found = gradients_of(rig, golden.sequences_of(0), golden.labels_of(0), {}, 64);
  for (auto& [name, gradient] : found.gradients)
    gradient = gradient / static_cast<double>(golden.batch);
  expect_all_near(found.gradients, golden.stored("grad"), kFloat, "gradients of the first batch");
  measured(GetParam() + " gradients", largest_difference(found.gradients, golden.stored("grad")));
}

// Every gate of every layer, by its record.
TEST_P(GoldenUnipelt, Gates) {
  const UnipeltCase golden(GetParam());
  const Rig rig = golden.rig();
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  const LaneAdapter lane{&bound, {.keeps_records = true}};
  const std::vector<Sequence> rows = golden.sequences_of(0);
  const std::vector<SideOutput> records =
      compute_logits(*rig.model, pack_of(*rig.model, {lane_of(rig, rows)}), {lane}, {})
          .front()
          .side.records;
  NamedTensors found;
  for (const auto& [name, value, of_lane] : records) found[name.substr(name.find('/') + 1)] = value;
  EXPECT_EQ(found.size(), records.size()) << "each gate is recorded once";
  expect_all_near(found, golden.stored("gate"), kFloat, "gates");
}

TEST_P(GoldenUnipelt, TenLosses) {
  const UnipeltCase golden(GetParam());
  Rig rig = golden.rig();
  const Node& given = *manifest().find("optimizer");
  AdamW optimizer(rig.adapter->params(), {.beta1 = number_of(*given.find("beta1")),
                                          .beta2 = number_of(*given.find("beta2")),
                                          .epsilon = number_of(*given.find("eps")),
                                          .weight_decay = number_of(*given.find("weight_decay"))});
  double worst = 0;
  for (size_t step = 0; step < 10; ++step) {
    BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
    const std::vector<Sequence> rows = golden.sequences_of(step);
    const LaneResult result =
        run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, rows)}, 64), {&bound}).front();
    const Tensor loss =
        summed_loss(TaskKind::kClassification, result.logits, golden.labels_of(step)) /
        static_cast<double>(golden.batch);
    torch::autograd::backward({loss}, {});
    bound.add_gradients_to_stored();
    optimizer.step(rig.tensors, number_of(*given.find("learning_rate")));
    const double expected = number_of(golden.entry->find("losses")->items[step]);
    EXPECT_NEAR(loss.item<double>(), expected, 1e-5 + 1e-4 * expected) << "step " << step + 1;
    worst = std::max(worst, std::abs(loss.item<double>() - expected));
  }
  measured(GetParam() + " losses", worst);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenUnipelt, ::testing::ValuesIn(case_names()), parameter_name);

}  // namespace
}  // namespace graft::testing::test_unipelt
