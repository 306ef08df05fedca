// Passes that begin with kept rows have the bits of those that begin with the tokens: edits of
// every kind above the point, on every family.
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/first_change.h"
#include "infer/kept_rows.h"
#include "infer/predict.h"
#include "infer/text_losses.h"
#include "model/sites.h"
#include "tests/contract/subject.h"
#include "tests/contract/table.h"
#include "tests/support/compare.h"
#include "tests/support/testing.h"
#include "train/optimizer.h"
#include "train/step_work.h"

namespace graft::testing::test_kept_rows {
namespace {

using at::Tensor;

struct Trained {
  NamedTensors tensors;
  std::vector<double> losses;
  Tensor outputs;  // of an evaluation: logits, or the losses of rows
};

RunInputs inputs_of(const std::shared_ptr<const Model>& model, const std::string& edits,
                    double consistency) {
  RunInputs inputs;
  inputs.model = model;
  inputs.config.adapter = yaml("{edits: [" + edits + "]}");
  inputs.config.dropout = 0.0;
  inputs.config.objective.consistency = consistency;
  inputs.task = is_classified(*model)
                    ? class_task(3)
                    : parse_task(yaml("name: t\nkind: generation\nprompt: \"{q}\"\ntarget: "
                                      "\"{a}\"\nmetrics: [perplexity]\n"),
                                 "task");
  constexpr int64_t kRows = 30;
  const auto rows = std::make_shared<Dataset>();
  rows->sequences = contract_texts(*model, kRows, 12, 5, 0);
  for (const double label : class_labels(kRows, 3)) {
    Example& example = rows->examples.emplace_back();
    if (is_classified(*model)) example.label = label;
  }
  inputs.train = rows;
  return inputs;
}

// Three epochs in batches that no two epochs have alike, then an evaluation.
Trained train(const RunInputs& inputs, const Adapter& adapter, KeptRows* kept) {
  Trained out;
  out.tensors = adapter.init(inputs.model->weights, RandomKey{3});
  const auto optimizer = make_optimizer(adapter.params(), inputs.config);
  Epochs epochs({std::vector<int64_t>(static_cast<size_t>(inputs.train->size()), 1)},
                {.batch_size = 7, .key = RandomKey{4}}, 2, 3, 0);
  for (int64_t step = 0; step < epochs.total_steps(); ++step) {
    StepWork work(inputs, adapter, out.tensors, epochs.batches_of(step), step);
    run_passes({&work});
    out.losses.push_back(work.finish().loss);
    optimizer->step(out.tensors, 1e-2);
  }
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*inputs.model, adapter, out.tensors);
  const PredictOptions options{.token_budget = 70, .kept = kept};
  if (adapter.head() != nullptr) {
    out.outputs = predict(*inputs.model, bound, *inputs.train, options).logits;
  } else {
    out.outputs = at::tensor(text_losses(*inputs.model, bound, *inputs.train, options).sums);
  }
  return out;
}

const std::vector<std::string>& edits_above() {
  static const std::vector<std::string> all = {
      "",
      "{lora: {rank: 2, dropout: 0.2, layers: [-1]}}",
      "{lora: {sites: [pooler], rank: 2}}",
      "{reft: {rank: 2, positions: f1+l1, layers: [-1]}}",
      "{prefix: {length: 2, layers: [-1]}}",
      "{bottleneck: {reduction: 2, layers: [-1]}}",
      "{affine: {layers: [-1]}}",
      "{gate: {}, of: {lora: {rank: 2, layers: [-1]}}}",
      "{stochastic: {experts: 2}, of: {bottleneck: {reduction: 2, layers: [-1]}}}",
      "{router: {experts: 2, top_k: 1, balance: 0.1, input: site}, of: {lora: {rank: 2, layers: "
      "[-1]}}}",
      "{top-layers: {count: 1}}",
      "{lora: {sites: [dec.*.attn.q], rank: 2}}",
      "{lora: {sites: [dec.*.cross.k, dec.*.ffn.up], rank: 2, layers: [-1]}}"};
  return all;
}

class KeptRowsOf : public ::testing::TestWithParam<std::tuple<std::string, Precision>> {};

TEST_P(KeptRowsOf, LeaveARunItsBits) {
  const auto& [family, precision] = GetParam();
  const auto model = contract_model(family, precision);
  int compared = 0;
  for (const std::string& edits : edits_above()) {
    const bool is_lora = edits.starts_with("{lora: {rank");
    for (const bool saves_memory : {false, true}) {
      if (saves_memory && !is_lora) continue;  // one that keeps little tells enough
      SCOPED_TRACE(edits);
      const bool is_twice = edits.find("stochastic") != std::string::npos;
      RunInputs inputs = inputs_of(model, edits, is_twice ? 1.0 : 0.0);
      inputs.config.saves_memory = saves_memory;
      std::optional<Adapter> adapter;
      try {
        adapter.emplace(inputs.config.adapter, "test", EditTarget{model->config, model->sites},
                        contract_task(*model));
      } catch (const InputError&) {
        continue;  // no such site here, or nothing to train
      }
      if (adapter->params().empty()) continue;
      const auto place = kept_place(*adapter, model->config, !is_classified(*model));
      if (!place) continue;
      const Trained whole = train(inputs, *adapter, nullptr);
      inputs.kept_train = std::make_shared<KeptRows>(model, inputs.train, *place);
      const Trained kept = train(inputs, *adapter, inputs.kept_train.get());
      EXPECT_EQ(kept.losses, whole.losses);
      expect_all_bits(kept.tensors, whole.tensors, edits);
      EXPECT_TRUE(at::equal(kept.outputs, whole.outputs)) << (kept.outputs - whole.outputs);
      ++compared;
    }
  }
  EXPECT_GE(compared, 9);
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<std::string, Precision>>& each) {
  std::string name =
      std::get<0>(each.param) + (std::get<1>(each.param) == Precision::kBFloat16 ? "_bf16" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Families, KeptRowsOf,
                         ::testing::Combine(::testing::ValuesIn(contract_families()),
                                            ::testing::Values(Precision::kFloat32)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Bfloat16, KeptRowsOf,
                         ::testing::Combine(::testing::Values("bert", "llama", "t5-gated"),
                                            ::testing::Values(Precision::kBFloat16)),
                         name_of);

TEST(KeptPlaces, LieBelowAllThatIsChanged) {
  const auto place_of = [](const std::string& family, const std::string& edits) {
    const auto model = contract_model(family);
    const Adapter adapter(yaml("{edits: [" + edits + "]}"), "test", {model->config, model->sites},
                          contract_task(*model));
    return kept_place(adapter, model->config, !is_classified(*model));
  };
  EXPECT_EQ(place_of("bert", "")->at, (TrunkPoint{StackId::kEncoder, 2}));
  EXPECT_EQ(place_of("bert", "{lora: {sites: [pooler]}}")->at, (TrunkPoint{StackId::kEncoder, 2}));
  EXPECT_EQ(place_of("bert", "{lora: {layers: [1]}}")->at, (TrunkPoint{StackId::kEncoder, 1}));
  EXPECT_EQ(place_of("bert", "{lora: {layers: [1]}}, {bottleneck: {layers: [0]}}"), std::nullopt);
  EXPECT_EQ(place_of("bert", "{full: {}}"), std::nullopt);
  EXPECT_EQ(place_of("bert", "{bitfit: {}}"), std::nullopt);
  EXPECT_EQ(place_of("bert", "{prompt: {length: 2}}"), std::nullopt);
  EXPECT_EQ(place_of("bert", "{top-layers: {count: 1}}")->at, (TrunkPoint{StackId::kEncoder, 1}));
  EXPECT_EQ(place_of("llama", "{lora: {layers: [1]}}")->at, (TrunkPoint{StackId::kDecoder, 1}));
  EXPECT_EQ(place_of("t5-gated", "{lora: {layers: [1]}}")->at, (TrunkPoint{StackId::kEncoder, 1}));
  EXPECT_EQ(place_of("t5-gated", "{lora: {sites: [dec.*.attn.q]}}")->at,
            (TrunkPoint{StackId::kDecoder, 0}));
}

TEST(KeptPool, HoldsRowsWhileARunDoes) {
  const auto model = contract_model("bert");
  const RunInputs one = inputs_of(model, "", 0);
  const KeptPlace place{{StackId::kEncoder, 1}, {}, false};
  KeptPool pool;
  const auto kept = pool.get(model, one.train, place);
  EXPECT_EQ(pool.get(model, one.train, place), kept);
  EXPECT_NE(pool.get(model, one.train, {{StackId::kEncoder, 2}, {}, false}), kept);
  EXPECT_NE(pool.get(model, inputs_of(model, "", 0).train, place), kept);
}

}  // namespace
}  // namespace graft::testing::test_kept_rows
