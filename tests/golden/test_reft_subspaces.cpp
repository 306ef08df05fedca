// tests/golden/reft_subspaces: pyreft's classes in pyvene's engine, each text through the rows of
// the projection that it names.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tensor/safetensors.h"
#include "tensor/vocabulary_loss.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "train/optimizer.h"

namespace graft::testing::test_reft_subspaces {
namespace {

using at::Tensor;

constexpr Tolerance kFloat{1e-5, 1e-4};

const Node& manifest() {
  static const Node node = golden_manifest("reft_subspaces");
  return node;
}

struct SubspaceCase {
  const Node& entry;
  std::shared_ptr<const Model> model;
  NamedTensors file;  // of this case, without its name
  std::vector<int64_t> labels;
  std::vector<Sequence> texts;
  Rig rig;

  SubspaceCase(const std::string& model_name, const std::string& name)
      : entry(*manifest().find("models")->find(model_name)->find(name)),
        model(golden_model(model_name, Precision::kFloat32, "trunks")),
        rig(model, "{edits: [{reft: " + edit() + "}]}", std::nullopt) {
    const NamedTensors all =
        load_safetensors(golden_dir("reft_subspaces") / (model_name + ".safetensors")).tensors;
    for (const auto& [key, tensor] : all) {
      if (key.starts_with(name + ".")) file[key.substr(name.size() + 1)] = tensor;
    }
    read_texts(all.at("ids"));
    const Tensor& given = all.at("labels");
    labels = {given.const_data_ptr<int64_t>(), given.const_data_ptr<int64_t>() + given.numel()};
    const at::NoGradGuard no_grad;
    for (auto& [stored, tensor] : rig.tensors) tensor.copy_(file.at("init." + own(stored)));
  }

  std::string edit() const {
    return "{sites: [out], layers: [0], positions: last, clamp: length, " +
           entry.find("edit")->scalar.substr(1);
  }
  // "0.reft/dec.0.out.tied.weight" -> "weight"
  static std::string own(const std::string& stored) { return stored.substr(stored.rfind('.') + 1); }

  void read_texts(const Tensor& ids) {
    const std::vector<Node>& named = manifest().find("named")->items;
    for (int64_t n = 0; n < ids.size(0); ++n) {
      const Tensor row = ids[n].contiguous();
      const auto* first = row.const_data_ptr<int64_t>();
      Sequence& text =
          texts.emplace_back(Sequence{.example = n, .ids = {first, first + row.numel()}});
      for (const Node& each : named[static_cast<size_t>(n)].items)
        text.subspace.push_back(static_cast<int64_t>(number_of(each)));
    }
  }

  // [N*T, C]
  Tensor last_states(const BoundAdapter& bound) const {
    const Pack pack = pack_of(*model, {lane_of(rig, texts)});
    return forward_lanes(*model, input_of(model->config, pack), {{&bound, {}}}, {}).last;
  }

  void expect_tensors(const std::string& kind, const NamedTensors& found,
                      const Tolerance& tolerance) const {
    NamedTensors expected;
    for (const auto& [key, tensor] : file) {
      if (key.starts_with(kind + ".")) expected[key.substr(kind.size() + 1)] = tensor;
    }
    expect_all_near(found, expected, tolerance, kind);
  }
};

class GoldenSubspaces : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenSubspaces, EqualThePeer) {
  for (const auto& [name, entry] : manifest().find("models")->find(GetParam())->members) {
    const SubspaceCase golden(GetParam(), name);
    const at::NoGradGuard no_grad;
    const BoundAdapter bound(*golden.model, *golden.rig.adapter, golden.rig.tensors);
    const Tensor logits =
        whole_logits(golden.last_states(bound), bound.weights().output_layer(golden.model->config));
    expect_near(logits, golden.file.at("logits").flatten(0, 1), kFloat, name);
  }
}

// Gradients of the first step, losses of five, all tensors behind them.
TEST_P(GoldenSubspaces, LearnAsThePeers) {
  for (const auto& [name, entry] : manifest().find("models")->find(GetParam())->members) {
    SCOPED_TRACE(name);
    SubspaceCase golden(GetParam(), name);
    AdamW optimizer(golden.rig.adapter->params(), {.weight_decay = 0});
    const std::vector<Node>& losses = entry.find("losses")->items;
    for (size_t step = 0; step < losses.size(); ++step) {
      BoundAdapter bound(*golden.model, *golden.rig.adapter, golden.rig.tensors);
      const auto count = std::ssize(golden.labels);
      const Tensor last = golden.last_states(bound).unflatten(0, {count, -1}).select(1, -1),
                   loss = vocabulary_loss(last, bound.weights().output_layer(golden.model->config),
                                          golden.labels)
                              .sum /
                          count;
      const double expected = number_of(losses[step]);
      EXPECT_NEAR(loss.item<double>(), expected, 1e-5 + 1e-4 * expected) << step;
      torch::autograd::backward({loss}, {});
      bound.add_gradients_to_stored();
      NamedTensors gradients;
      for (const auto& [stored, tensor] : golden.rig.tensors) {
        if (tensor.requires_grad()) gradients[SubspaceCase::own(stored)] = tensor.grad().clone();
      }
      if (step == 0) golden.expect_tensors("grad", gradients, kFloat);
      optimizer.step(golden.rig.tensors, number_of(*manifest().find("learning_rate")));
      for (auto& [stored, tensor] : golden.rig.tensors) {
        if (tensor.grad().defined()) tensor.mutable_grad().zero_();
      }
    }
    NamedTensors trained;
    for (const auto& [stored, tensor] : golden.rig.tensors) {
      if (tensor.requires_grad()) trained[SubspaceCase::own(stored)] = tensor.detach();
    }
    golden.expect_tensors("final", trained, {1e-4, 1e-4});
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenSubspaces, ::testing::Values("gpt2-tiny", "llama-tiny"),
                         parameter_name);

}  // namespace
}  // namespace graft::testing::test_reft_subspaces
