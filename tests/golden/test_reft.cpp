// tests/golden/reft: pyreft's six functions, its positions, and ten training steps of pyreft and
// AdapterHub.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "edit/positions.h"
#include "edit/rotation.h"
#include "tensor/safetensors.h"
#include "tests/golden/names.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "train/objective.h"
#include "train/optimizer.h"

namespace graft::testing::test_reft {
namespace {

using at::Tensor;

constexpr Tolerance kFloat{1e-5, 1e-4};

const Node& manifest() {
  static const Node node = golden_manifest("reft");
  return node;
}

std::vector<std::string> names_of(const char* section) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : manifest().find(section)->members) names.push_back(name);
  return names;
}

// ---- functions
// ------------------------------------------------------------------------------------------------

const std::map<std::string, std::string> kFunctions = {
    {"loreft", ""},
    {"noreft", ", rotation: false, projection_bias: true"},
    {"consreft", ", source: constant"},
    {"lobireft", ", source: constant, subtract: false"},
    {"direft", ", subtract: false"},
    {"nodireft", ", rotation: false, subtract: false"},
    {"loreft-tanh", ", activation: tanh"},
};

class GoldenReftFunction : public ::testing::TestWithParam<std::string> {};

// Phi(h) and the gradients of sum(Phi(h) g), at a site of width 32 called by hand.
TEST_P(GoldenReftFunction, EqualsThePeer) {
  const NamedTensors file =
      load_safetensors(golden_dir("reft") / ("function-" + GetParam() + ".safetensors")).tensors;
  const auto model = golden_model("bert-tiny");
  Rig rig(model, "{edits: [{reft: {rank: 3, positions: all, layers: [0]" +
                     kFunctions.at(GetParam()) + "}}]}");
  const std::string path = "0.reft/enc.0.out.tied.";
  size_t set = 0;
  for (auto& [name, tensor] : rig.tensors) {
    if (!name.starts_with(path)) continue;
    const at::NoGradGuard no_grad;
    tensor.copy_(file.at("init." + name.substr(path.size())));
    ++set;
  }
  EXPECT_EQ(set, static_cast<size_t>(std::count_if(file.begin(), file.end(), [](const auto& entry) {
              return entry.first.starts_with("init.");
            })));
  if (file.contains("rotation")) {
    expect_near(rotation_of(rig.tensors.at(path + "chart"), rig.tensors.at(path + "base")).t(),
                file.at("rotation"), {1e-6, 1e-6}, "R");
  }
  const std::vector<Sequence> rows = cut_sequences(
      at::ones({11}, at::kLong), at::zeros({11}, at::kLong), at::tensor({11}, at::kLong));
  const Pack pack = pack_of(*model, {lane_of(rows)});
  const Tensor h = file.at("h").clone().requires_grad_(true);
  const SiteView view{model->sites.at("enc.0.out"), pack, pack.whole(), {}, h, {}, {}};
  const Edit& edit = *rig.adapter->parts().front().edit;
  const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights);
  Context context;
  const Tensor out =
      apply_change(h, edit.change(Params(derived.parts[0]), view, edit.input(view), {}, context));
  expect_near(out, file.at("out"), kFloat, "Phi(h)");
  torch::autograd::backward({(out * file.at("g")).sum()}, {});
  NamedTensors found, expected;
  found["h"] = h.grad();
  for (const auto& [name, tensor] : rig.tensors) {
    if (name.starts_with(path) && tensor.requires_grad())
      found[name.substr(path.size())] = tensor.grad();
  }
  for (const auto& [name, tensor] : file) {
    if (name.starts_with("grad.")) expected[name.substr(5)] = tensor;
  }
  expect_all_near(found, expected, kFloat, "gradients");
}

INSTANTIATE_TEST_SUITE_P(All, GoldenReftFunction, ::testing::ValuesIn(names_of("functions")),
                         parameter_name);

// ---- positions
// ------------------------------------------------------------------------------------------------

// Checklist 3: n = 0, 1, 10, 11, 13, 14, 20 and others, tied and untied.
TEST(GoldenReftPositions, EqualThePeersForEveryLength) {
  size_t compared = 0;
  for (const Node& spec : manifest().find("positions")->items) {
    const PositionChoice positions = parse_positions(spec.find("text")->scalar);
    for (const Node& row : spec.find("rows")->items) {
      const auto tokens = static_cast<int64_t>(number_of(*row.find("tokens")));
      const EditedTokens edited = edited_tokens(positions, tokens, Clamp::kCode);
      std::vector<int64_t> prefix, suffix, both;
      for (int64_t t = 0; t < edited.prefix; ++t) prefix.push_back(t);
      for (int64_t t = tokens - edited.suffix; t < tokens; ++t) suffix.push_back(t);
      both = prefix;
      both.insert(both.end(), suffix.begin(), suffix.end());
      std::vector<std::vector<int64_t>> expected;
      for (const Node& list : row.find("positions")->items) {
        auto& one = expected.emplace_back();
        for (const Node& position : list.items)
          one.push_back(static_cast<int64_t>(number_of(position)));
      }
      const bool is_untied =
          expected.size() == 2 &&
          tokens > 1;  // with nothing to edit the peer falls into its tied branch
      const std::vector<std::vector<int64_t>> own =
          is_untied ? std::vector{prefix, suffix} : std::vector(expected.size(), both);
      EXPECT_EQ(own, expected) << spec.find("text")->scalar << " of " << tokens;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 8U * 9U);
}

// ---- training
// ------------------------------------------------------------------------------------------------

struct ReftCase {
  const Node* entry;
  std::shared_ptr<const Model> model;
  NamedTensors file;
  std::vector<Sequence> sequences;
  std::vector<double> labels;

  explicit ReftCase(const std::string& name)
      : entry(manifest().find("cases")->find(name)),
        model(golden_model(entry->find("model")->scalar)) {
    file = load_safetensors(golden_dir("reft") / name / "case.safetensors").tensors;
    sequences = cut_sequences(file.at("ids"), file.at("token_types"), file.at("lengths"));
    const Tensor values = file.at("labels").to(at::kDouble).contiguous();
    labels.assign(values.const_data_ptr<double>(),
                  values.const_data_ptr<double>() + values.numel());
  }

  // Tensors "init.NAME", "grad.NAME" or "final.NAME" by stored name.
  NamedTensors expected(const std::string& kind) const {
    NamedTensors out;
    for (const auto& [name, tensor] : file) {
      if (!name.starts_with(kind + ".")) continue;
      const std::string theirs = name.substr(kind.size() + 1), head = head_name(theirs);
      out[head.empty() ? "0.reft/" + theirs : "head/" + head] = tensor;
    }
    return out;
  }

  Rig rig() const {
    Rig rig(model, "{edits: [{reft: " + entry->find("edit")->scalar + "}], head: {dropout: 0}}",
            class_task(static_cast<int64_t>(number_of(*entry->find("num_labels")))));
    const at::NoGradGuard no_grad;
    const NamedTensors start = expected("init");
    for (auto& [name, tensor] : rig.tensors) {
      if (start.contains(name)) tensor.copy_(start.at(name));
      else
        EXPECT_TRUE(name.starts_with("head/"))
            << name << " has no start value";  // the model folder's own head is it
    }
    return rig;
  }

  std::vector<Sequence> batch(size_t step) const {
    return {sequences.begin() + static_cast<int64_t>(8 * step),
            sequences.begin() + static_cast<int64_t>(8 * step + 8)};
  }
  std::vector<double> batch_labels(size_t step) const {
    return {labels.begin() + static_cast<int64_t>(8 * step),
            labels.begin() + static_cast<int64_t>(8 * step + 8)};
  }
};

class GoldenReft : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenReft, FirstBatch) {
  const ReftCase golden(GetParam());
  Rig rig = golden.rig();
  expect_near(logits_of(rig, golden.batch(0), {.is_training = true}, 64), golden.file.at("logits"),
              kFloat, "logits");
  LossAndGradients found =
      gradients_of(rig, golden.batch(0), golden.batch_labels(0), {.is_training = true}, 64);
  for (auto& [name, gradient] : found.gradients) gradient = gradient / 8;
  expect_all_near(found.gradients, golden.expected("grad"), kFloat, "gradients of the first batch");
  measured(GetParam() + " gradients", largest_difference(found.gradients, golden.expected("grad")));
}

TEST_P(GoldenReft, TenSteps) {
  const ReftCase golden(GetParam());
  const Node& given = *manifest().find("optimizer");
  Rig rig = golden.rig();
  AdamW optimizer(rig.adapter->params(), {.weight_decay = number_of(*given.find("weight_decay"))});
  for (size_t step = 0; step < 10; ++step) {
    BoundAdapter bound(*golden.model, *rig.adapter, rig.tensors);
    const LaneResult result =
        run_lanes(*golden.model, pack_of(*golden.model, {lane_of(rig, golden.batch(step))}),
                  {&bound}, {.is_training = true})
            .front();
    const Tensor loss =
        summed_loss(TaskKind::kClassification, result.logits, golden.batch_labels(step)) / 8.0;
    const double expected = number_of(golden.entry->find("losses")->items[step]),
                 norm = number_of(golden.entry->find("gradient_norms")->items[step]);
    EXPECT_NEAR(loss.item<double>(), expected, 1e-5 + 1e-4 * expected) << "step " << step + 1;
    torch::autograd::backward({loss}, {});
    bound.add_gradients_to_stored();
    const double found_norm = gradient_norm(rig.tensors);
    EXPECT_NEAR(found_norm, norm, 1e-5 + 1e-4 * norm) << "step " << step + 1;
    clip_gradients(rig.tensors, found_norm, number_of(*given.find("clip")));
    optimizer.step(rig.tensors, number_of(golden.entry->find("learning_rates")->items[step]));
  }
  NamedTensors found, expected = golden.expected("final");
  for (const auto& [name, tensor] : rig.tensors) {
    if (tensor.requires_grad()) found[name] = tensor.detach();
  }
  expect_all_near(found, expected, kFloat, "tensors after ten steps");
  measured(GetParam() + " final", largest_difference(found, expected));
}

INSTANTIATE_TEST_SUITE_P(All, GoldenReft, ::testing::ValuesIn(names_of("cases")), parameter_name);

}  // namespace
}  // namespace graft::testing::test_reft
