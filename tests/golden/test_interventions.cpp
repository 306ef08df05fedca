// tests/golden/interventions: pyvene's engine over a tiny decoder, source texts and base texts.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "infer/collect.h"
#include "tensor/safetensors.h"
#include "tensor/vocabulary_loss.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "train/optimizer.h"

namespace graft::testing::test_interventions {
namespace {

using at::Tensor;

constexpr Tolerance kFloat{1e-5, 1e-4};

const Node& manifest() {
  static const Node node = golden_manifest("interventions");
  return node;
}

struct Golden {
  std::shared_ptr<const Model> model;
  NamedTensors file;

  explicit Golden(const std::string& name)
      : model(golden_model(name, Precision::kFloat32, "trunks")),
        file(load_safetensors(golden_dir("interventions") / (name + ".safetensors")).tensors) {}

  std::vector<Sequence> texts(const char* which) const {
    const Tensor& ids = file.at(which);
    std::vector<Sequence> out;
    for (int64_t n = 0; n < ids.size(0); ++n) {
      const Tensor row = ids[n].contiguous();
      out.push_back(
          {.example = n,
           .ids = {row.const_data_ptr<int64_t>(), row.const_data_ptr<int64_t>() + row.numel()}});
    }
    return out;
  }

  // What leaves the block at the last token of each source text, by Graft.
  Tensor states() const {
    const Adapter adapter = collecting_adapter(yaml("{sites: [out], layers: [0]}"), "test", nullptr,
                                               {model->config, model->sites});
    const BoundAdapter bound(*model, adapter, {});
    Dataset data;
    data.sequences = texts("source");
    data.examples.resize(data.sequences.size());
    return collect_states(*model, bound, data, /*token_budget=*/9);  // two texts a pass
  }
};

class GoldenInterventions : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenInterventions, CollectReadsTheStates) {
  const Golden golden(GetParam());
  expect_near(golden.states(), golden.file.at("states"), kFloat, "states");
}

struct CaseRun {
  const Golden& golden;
  std::string name;
  Rig rig;
  std::vector<Sequence> texts;

  CaseRun(const Golden& given, const std::string& model, const std::string& case_name)
      : golden(given),
        name(case_name),
        rig(given.model,
            "{edits: [{interchange: " + with_sites(entry(model).find("edit")->scalar) + "}]}",
            std::nullopt),
        texts(given.texts("base")) {
    const bool is_constant = golden.file.contains(name + ".vector");
    const Tensor given_states =
        is_constant ? golden.file.at(name + ".vector").expand({std::ssize(texts), -1}).contiguous()
                    : golden.states();
    for (size_t n = 0; n < texts.size(); ++n) {
      const float* row =
          given_states.const_data_ptr<float>() + static_cast<int64_t>(n) * given_states.size(1);
      texts[n].embedding = {row, row + given_states.size(1)};
    }
    const at::NoGradGuard no_grad;
    for (auto& [stored, tensor] : rig.tensors)
      tensor.copy_(golden.file.at(name + ".init." + stored.substr(stored.rfind('.') + 1)));
  }

  const Node& entry(const std::string& model) const {
    return *manifest().find("models")->find(model)->find(name);
  }

  static std::string with_sites(const std::string& options) {
    const std::string sites = "{sites: [out], layers: [0]";
    return options == "{}" ? sites + "}" : sites + ", " + options.substr(1);
  }

  // [N*T, C]
  Tensor last_states(const BoundAdapter& bound) const {
    const Pack pack = pack_of(*golden.model, {lane_of(rig, texts)});
    return forward_lanes(*golden.model, input_of(golden.model->config, pack), {{&bound, {}}}, {})
        .last;
  }
};

TEST_P(GoldenInterventions, EqualThePeer) {
  const Golden golden(GetParam());
  for (const auto& [name, entry] : manifest().find("models")->find(GetParam())->members) {
    const CaseRun run(golden, GetParam(), name);
    const at::NoGradGuard no_grad;
    const BoundAdapter bound(*golden.model, *run.rig.adapter, run.rig.tensors);
    const Tensor logits =
        whole_logits(run.last_states(bound), bound.weights().output_layer(golden.model->config));
    expect_near(logits, golden.file.at(name + ".logits").flatten(0, 1), kFloat, name);
  }
}

// Gradients of the first step, losses of five, the chart behind them.
TEST_P(GoldenInterventions, RotationsLearnAsThePeers) {
  const Golden golden(GetParam());
  for (const std::string name : {"low-rank", "rotated"}) {
    CaseRun run(golden, GetParam(), name);
    AdamW optimizer(run.rig.adapter->params(), {.weight_decay = 0});
    const std::string chart = "0.interchange/dec.0.out.chart";
    const std::vector<Node>& losses = run.entry(GetParam()).find("losses")->items;
    for (size_t step = 0; step < losses.size(); ++step) {
      BoundAdapter bound(*golden.model, *run.rig.adapter, run.rig.tensors);
      const Tensor& labels = golden.file.at("labels");
      const int64_t count = labels.size(0);
      const Tensor last = run.last_states(bound).unflatten(0, {count, -1}).select(1, -1);
      const Tensor loss = vocabulary_loss(last, bound.weights().output_layer(golden.model->config),
                                          {labels.const_data_ptr<int64_t>(),
                                           labels.const_data_ptr<int64_t>() + count})
                              .sum /
                          count;
      const double expected = number_of(losses[step]);
      EXPECT_NEAR(loss.item<double>(), expected, 1e-5 + 1e-4 * expected) << name << step;
      torch::autograd::backward({loss}, {});
      bound.add_gradients_to_stored();
      if (step == 0)
        expect_near(run.rig.tensors.at(chart).grad(), golden.file.at(name + ".grad.chart"), kFloat,
                    name + " gradient");
      optimizer.step(run.rig.tensors, number_of(*manifest().find("learning_rate")));
      for (auto& [stored, tensor] : run.rig.tensors) {
        if (tensor.grad().defined()) tensor.mutable_grad().zero_();
      }
    }
    expect_near(run.rig.tensors.at(chart).detach(), golden.file.at(name + ".final.chart"),
                {1e-4, 1e-4}, name + " chart");
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenInterventions, ::testing::Values("gpt2-tiny", "llama-tiny"),
                         parameter_name);

}  // namespace
}  // namespace graft::testing::test_interventions
