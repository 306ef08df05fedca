// AdaMix against the classes that its authors released (tools/golden/adamix_released.py), draw by
// draw: on GPT-2 whole training steps, with the second pass, its consistency and label smoothing;
// on BERT the three levels of inference.
#include <gtest/gtest.h>

#include "infer/predict.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "train/optimizer.h"
#include "train/step_work.h"

namespace graft::testing::test_adamix_released {
namespace {

using at::Tensor;

constexpr const char* kTopic = "adamix_released";
// The released mean divides by the number of targets + 1e-4, and its consistency is computed in
// float32: that is how far float64 is from it.
constexpr Tolerance kReleased{1e-5, 1e-4};
constexpr Tolerance kFloat{1e-5, 1e-4}, kDouble{1e-7, 1e-6};

const Node& manifest() {
  static const Node read = golden_manifest(kTopic);
  return read;
}
std::string common(const char* key) { return manifest().find(key)->scalar; }

struct Released {
  const Node* entry;
  NamedTensors file;
  std::optional<Rig> rig;

  Released(const std::string& part, const std::string& name, const std::string& model,
           const std::string& folder, const std::optional<Task>& task, Precision precision)
      : entry(manifest().find(part.c_str())->find(name.c_str())),
        file(load_safetensors(golden_dir(kTopic) / part / name / "case.safetensors").tensors) {
    rig.emplace(golden_model(model, precision, folder), definition(), task);
    const NamedTensors init = tensors("init.");
    EXPECT_EQ(init.size(), rig->tensors.size());
    const at::NoGradGuard no_grad;
    for (auto& [own, tensor] : rig->tensors) tensor.copy_(init.at(own));
    if (precision == Precision::kFloat64) rig->widen();
  }

  std::string text(const char* key, const char* fallback) const {
    const Node* found = entry->find(key);
    if (found == nullptr) return fallback;
    return found->kind == Node::Kind::kList ? to_json(*found, -1) : found->scalar;
  }
  std::string definition() const {
    const bool is_lora = text("kind", "bert") == "lora", is_bert = text("kind", "bert") == "bert";
    const std::string of =
        is_lora ? "{lora: {sites: [attn.q, attn.v], rank: " + common("rank") +
                      ", alpha: " + common("alpha") + "}}"
                : "{bottleneck: {sites: [ffn.down], placement: sequential, activation: " +
                      std::string(is_bert ? "gelu" : "gelu_tanh") +
                      ", width: " + text("width", common("width").c_str()) + "}}";
    return "{edits: [{stochastic: {experts: " + common("experts") +
           ", share: " + text("share", "[up]") + ", couple: " + (is_bert ? "site" : "layer") +
           ", scores: " + text("scores", "even") + "}, of: " + of + "}]}";
  }
  NamedTensors tensors(const std::string& prefix) const {
    NamedTensors out;
    for (const auto& [key, tensor] : file) {
      if (key.starts_with(prefix)) out[key.substr(prefix.size())] = tensor;
    }
    return out;
  }
};

using Parameter = std::tuple<std::string, Precision>;

std::string name_of(const ::testing::TestParamInfo<Parameter>& info) {
  std::string name =
      std::get<0>(info.param) + (std::get<1>(info.param) == Precision::kFloat64 ? "_float64" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::vector<Parameter> parameters(const char* part) {
  std::vector<Parameter> out;
  for (const auto& [name, entry] : manifest().find(part)->members) {
    for (const Precision precision : {Precision::kFloat32, Precision::kFloat64})
      out.emplace_back(name, precision);
  }
  return out;
}

class ReleasedGpt2 : public ::testing::TestWithParam<Parameter> {
 protected:
  bool is_wide() const { return std::get<1>(GetParam()) == Precision::kFloat64; }
  Released released() const {
    return {"gpt2",       std::get<0>(GetParam()), "gpt2-model", kTopic,
            std::nullopt, std::get<1>(GetParam())};
  }
};

// The run of the manifest, in memory.
RunInputs inputs_of(const Released& released) {
  RunInputs inputs;
  inputs.model = released.rig->model;
  inputs.task = parse_task(
      yaml("name: t\nkind: generation\nprompt: \"{q}\"\ntarget: \"{a}\"\nmetrics: [perplexity]\n"),
      "task");
  inputs.config.seed = static_cast<int64_t>(number_of(*manifest().find("seed")));
  inputs.config.objective.consistency = number_of(*manifest().find("consistency"));
  inputs.config.objective.label_smoothing = number_of(*manifest().find("label_smoothing"));
  inputs.config.dropout = 0.0;
  const Tensor lengths = released.file.at("lengths");
  const auto rows = std::make_shared<Dataset>();
  rows->sequences =
      cut_sequences(released.file.at("ids"), at::zeros_like(released.file.at("ids")), lengths);
  const Tensor first = released.file.at("first_target");
  for (size_t i = 0; i < rows->sequences.size(); ++i) {
    Sequence& text = rows->sequences[i];
    text.type_ids.clear();
    std::vector<bool> is_target(text.ids.size(), false);
    for (auto t = static_cast<size_t>(first[static_cast<int64_t>(i)].item<int64_t>());
         t < text.ids.size(); ++t)
      is_target[t] = true;
    text.asked = TargetMarks{std::move(is_target)};
  }
  rows->examples.resize(rows->sequences.size());
  inputs.train = rows;
  return inputs;
}

// Of the mean of the experts, for every token of the first batch but the last ones.
Tensor merged_logits(const Released& released, const RunInputs& inputs) {
  std::vector<Sequence> texts(inputs.train->sequences.begin(), inputs.train->sequences.begin() + 3);
  for (Sequence& text : texts) {
    std::vector<bool> is_target(text.ids.size(), true);
    is_target.front() = false;
    text.asked = TargetMarks{std::move(is_target)};
  }
  return text_logits_of(*released.rig, texts).to(at::kFloat);
}

TEST_P(ReleasedGpt2, TenSteps) {
  Released released = this->released();
  const RunInputs inputs = inputs_of(released);
  const auto expect_merged = [&](const char* key) {
    const Tensor all = released.file.at(key);  // [B, T, V]
    expect_near(merged_logits(released, inputs),
                all.slice(1, 0, all.size(1) - 1).flatten(0, 1).contiguous(), kFloat, key);
  };
  const Node& given = *manifest().find("optimizer");
  const auto option = [&](const char* key) { return number_of(*given.find(key)); };
  AdamW optimizer(released.rig->adapter->params(),
                  {.beta1 = option("beta1"),
                   .beta2 = option("beta2"),
                   .epsilon = option("eps"),
                   .weight_decay = number_of(*released.entry->find("weight_decay")),
                   .form = AdamWForm::kTransformers});
  expect_merged("merged.before");
  const std::vector<Node>& losses = released.entry->find("losses")->items;
  ASSERT_EQ(losses.size(), 10U);
  const auto size = static_cast<int64_t>(number_of(*manifest().find("batch_size")));
  for (int64_t step = 0; step < 10; ++step) {
    Batch rows;
    for (int64_t i = 0; i < size; ++i) rows.push_back(step * size + i);
    const StepLoss loss =
        step_gradients(inputs, *released.rig->adapter, released.rig->tensors, {rows}, step);
    const double expected = number_of(losses[static_cast<size_t>(step)]);
    EXPECT_NEAR(loss.loss, expected, 1e-5 + (is_wide() ? 3e-5 : 1e-4) * expected)
        << "step " << step + 1;
    if (step == 0) {
      NamedTensors found;
      for (auto& [name, tensor] : released.rig->tensors) {
        if (tensor.grad().defined()) found[name] = tensor.grad().to(at::kFloat);
      }
      expect_all_near(found, released.tensors("grad."), kReleased, "gradients, of what has one");
    }
    optimizer.step(released.rig->tensors, option("learning_rate"));
  }
  NamedTensors final;
  for (const auto& [name, tensor] : released.rig->tensors)
    final[name] = tensor.detach().to(at::kFloat);
  // In float32 a gradient near zero has the sign of rounding.
  if (is_wide()) {
    expect_all_near(final, released.tensors("final."), kReleased, "tensors after ten steps");
    expect_merged("merged.after");
  }
  measured(name_of({GetParam(), 0}) + " final",
           largest_difference(final, released.tensors("final.")));
}

INSTANTIATE_TEST_SUITE_P(All, ReleasedGpt2, ::testing::ValuesIn(parameters("gpt2")), name_of);

class ReleasedBert : public ::testing::TestWithParam<Parameter> {};

// Level 0 draws for each token, level 1 for each text, level 3 takes the mean.
TEST_P(ReleasedBert, AnswersAtItsLevel) {
  const auto& [name, precision] = GetParam();
  const Released released("bert", name, "bert-tiny", "models", class_task(2), precision);
  const auto level = static_cast<int64_t>(number_of(*released.entry->find("level")));
  Dataset data;
  data.sequences = cut_sequences(released.file.at("ids"), released.file.at("token_types"),
                                 released.file.at("lengths"));
  data.examples.resize(data.sequences.size());
  for (size_t i = 0; i < data.sequences.size(); ++i)
    data.sequences[i].example = static_cast<int64_t>(i);
  PredictOptions options;
  options.samples.route.routing = level == 3 ? Routing::kMerged : Routing::kRandom;
  options.samples.route.unit = level == 0 ? RouteUnit::kToken : RouteUnit::kText;
  options.samples.route.seed = static_cast<int64_t>(number_of(*manifest().find("seed")));
  const BoundAdapter bound(*released.rig->model, *released.rig->adapter, released.rig->tensors,
                           experts_of(options.samples.route.routing));
  const Tensor expected = released.file.at("logits");
  const Tolerance tolerance = precision == Precision::kFloat64 ? kDouble : kFloat;
  for (const int64_t budget : {1, 4096}) {  // alone, and together: the batch changes nothing
    options.token_budget = budget;
    expect_near(predict(*released.rig->model, bound, data, options).logits, expected, tolerance,
                "logits of batches of " + std::to_string(budget));
  }
}

INSTANTIATE_TEST_SUITE_P(All, ReleasedBert, ::testing::ValuesIn(parameters("bert")), name_of);

}  // namespace
}  // namespace graft::testing::test_adamix_released
