// Gates: what UniPELT's description promises, by number (counts, closed forms, invariances).
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "edit/adapter_file.h"
#include "edit/sequences.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/plan.h"

namespace graft::testing::test_unipelt {
namespace {

using at::Tensor;

const char* const kApl =
    "{edits: [{gate: {}, of: {prefix: {length: 3, mlp: 5}}}, {gate: {}, of: {bottleneck: "
    "{reduction: 4}}}, {gate: {}, of: {lora: "
    "{rank: 2}}}]}";

ModelConfig bert_base() {
  return parse_config(
      parse_json(
          R"({"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
      "intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2})",
          "bert-base"),
      "bert-base");
}

Plan plan_of(const std::string& definition) {
  const ModelConfig config = bert_base();
  const Sites sites(config);
  return make_plan(Adapter(yaml(definition), "test", {config, sites}, class_task(2)), config, {});
}

Plan plan_of_preset(const std::string& name) {
  const Path file = Path(GRAFT_SOURCE_DIR) / "presets" / (name + ".yaml");
  const Node preset = parse_yaml(read_file(file), file.string());
  return plan_of(to_yaml(Node::map({{"edits", *preset.find("edits")}})));
}

// A model of one block width with a longer position table than the golden ones have.
std::shared_ptr<const Model> long_model() {
  Node changes = Node::map({{"max_position_embeddings", Node::integer(130)}});
  ModelConfig config = parse_config(tiny_config("bert", changes), "long");
  NamedTensors base = random_base(config, 3);
  Sites sites(config);
  Weights weights(config, std::move(base), Precision::kFloat32);
  return std::make_shared<const Model>(
      Model{"long", std::move(config), std::move(sites), std::move(weights)});
}

struct Seen {
  NamedTensors gates;  // by record
  Tensor logits;
};

// One pass; `padded`: pad rows that no edit asked for.
Seen run(const Rig& rig, const std::vector<Sequence>& rows, int64_t padded = 0) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  const LaneAdapter lane{&bound, {.keeps_records = true}};
  LaneInput pack = lane_of(rig, rows);
  if (padded > 0) pack.layout.padded_length = padded;
  Seen seen;
  const LaneResult result =
      compute_logits(*rig.model, pack_of(*rig.model, {pack}), {lane}, {}).front();
  seen.logits = result.logits;
  for (const SideOutput& record : result.side.records) seen.gates[record.name] = record.value;
  EXPECT_EQ(seen.gates.size(), result.side.records.size());
  return seen;
}

std::vector<Tensor> hidden_of(const Rig& rig, const std::vector<Sequence>& rows) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  return run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, rows)}), {&bound},
                   {.keep_hidden = true})
      .front()
      .hidden;
}

// ---- counts

// Mao et al. 2022, table 4, and what the released code logs (head of two labels included, without
// its unused gates).
TEST(UnipeltCounts, AreThoseOfThePaperAndTheReleasedCode) {
  EXPECT_EQ(plan_of("{edits: [{bottleneck: {reduction: 16}}]}").edit_parameters, 894'528);
  const Plan prefix = plan_of("{edits: [{prefix: {length: 10, mlp: 512}}]}");
  EXPECT_EQ(prefix.edit_parameters, 9'857'024);
  EXPECT_EQ(prefix.kept_parameters, 184'320);
  EXPECT_EQ(plan_of("{edits: [{prefix: {length: 50, mlp: 512}}]}").kept_parameters, 921'600);
  EXPECT_EQ(plan_of("{edits: [{prefix: {length: 10}}]}").edit_parameters, 184'320);
  EXPECT_EQ(plan_of("{edits: [{gate: {}, of: {bottleneck: {reduction: 16}}}]}").edit_parameters,
            894'528 + 9'228);

  const Plan ap = plan_of_preset("unipelt-ap"), apl = plan_of_preset("unipelt-apl"),
             aplb = plan_of_preset("unipelt-aplb");
  EXPECT_EQ(ap.edit_parameters + ap.head_parameters, 10'771'546);
  EXPECT_EQ(apl.edit_parameters + apl.head_parameters, 11'084'914);
  EXPECT_EQ(aplb.edit_parameters + aplb.head_parameters, 11'187'826);
  EXPECT_EQ(ap.kept_parameters, 1'097'304);
  EXPECT_EQ(apl.kept_parameters, 1'410'672);
  // One LoRA gate a layer, as the paper draws it.
  EXPECT_EQ(plan_of("{edits: [{gate: {share: layer}, of: {lora: {rank: 8}}}]}").edit_parameters,
            294'912 + 9'228);
}

TEST(UnipeltCounts, MixAndMatchIsAPrefixAndParallelAdapters) {
  const Plan mam = plan_of_preset("mam");
  EXPECT_EQ(mam.edit_parameters,
            30 * 768 + 800 * 769 + 24 * 768 * 801 + 12 * (2 * 768 * 384 + 384 + 768));
  EXPECT_EQ(mam.kept_parameters, 24 * 768 * 30 + 12 * (2 * 768 * 384 + 384 + 768));
  EXPECT_EQ(plan_of_preset("prompt").edit_parameters, 20 * 768);
}

// ---- closed forms

TEST(Gate, OfAnyValueLeavesALoraOfZeroBitForBit) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, "{edits: [{gate: {}, of: {lora: {rank: 2}}}]}"), bare(model, "{}");
  for (auto& [name, tensor] : bare.tensors) tensor = rig.tensors.at(name);
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : rig.tensors) {
    if (name.find(".gate.") != std::string::npos) tensor.fill_(0.7);
  }
  const std::vector<Sequence> rows = random_sequences(model->config, 5, 11, 3);
  expect_bits(logits_of(rig, rows), logits_of(bare, rows), "logits");
}

// LN2(f + a) exactly.
TEST(Gate, ClosedBeforeAnAdapterIsTheBareTrunk) {
  const auto model = golden_model("roberta-tiny");
  Rig rig(model, "{edits: [{gate: {value: 0}, of: {bottleneck: {reduction: 4}}}]}"),
      bare(model, "{}");
  rig.shake(0.3);
  const std::vector<Sequence> rows = random_sequences(model->config, 5, 11, 3);
  const std::vector<Tensor> found = hidden_of(rig, rows), expected = hidden_of(bare, rows);
  for (size_t layer = 0; layer < expected.size(); ++layer)
    expect_bits(found[layer], expected[layer], "hidden state " + std::to_string(layer));
}

// ---- what a gate reads

TEST(Gate, CountsPaddingOnlyWhereAskedTo) {
  const auto model = long_model();
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 12, 3);
  const auto rig_with = [&](const std::string& gate) {
    Rig rig(model, "{edits: [{gate: {" + gate + "}, of: {prefix: {length: 3, mlp: 5}}}, {gate: {" +
                       gate + "}, of: {bottleneck: {reduction: 4}}}, {gate: {" + gate +
                       "}, of: {lora: {rank: 2}}}]}");
    rig.shake(0.3);
    return rig;
  };
  const Seen released = run(rig_with("pool: mean_all, padded_to: 64"), rows),
             longer = run(rig_with("pool: mean_all, padded_to: 128"), rows);
  EXPECT_EQ(released.gates.size(), 8U);  // two layers of prefix, adapter, queries, values
  for (const auto& [name, value] : released.gates) {
    EXPECT_GT((value - longer.gates.at(name)).abs().min().item<double>(), 1e-5)
        << name << " of some example does not see the padding";
  }
  const Rig own = rig_with("pool: mean");
  const Seen plain = run(own, rows), padded = run(own, rows, 64), more = run(own, rows, 128);
  expect_all_near(padded.gates, plain.gates, {1e-6, 0}, "gates without padding");
  expect_all_near(more.gates, padded.gates, {1e-6, 0}, "gates with more padding");
  expect_near(more.logits, plain.logits, {1e-5, 0}, "logits");
}

TEST(Gate, OfAnExampleIsTheSameInEveryBatch) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, kApl);
  rig.shake(0.3);
  const std::vector<Sequence> rows = random_sequences(model->config, 7, 15, 3);
  const Seen first = run(rig, {rows[0], rows[3], rows[4]}), second = run(rig, {rows[6], rows[3]});
  for (const auto& [name, value] : first.gates)
    expect_near(value[1], second.gates.at(name)[1], {1e-6, 0}, name);
  expect_near(first.logits[1], second.logits[1], {1e-6, 0}, "logits");
}

TEST(Gate, StartsNearOneHalfAndIsOneHalfWithoutWeights) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, kApl);
  const std::vector<Sequence> rows = random_sequences(model->config, 7, 15, 3);
  for (const auto& [name, value] : run(rig, rows).gates) {
    EXPECT_GT(value.min().item<double>(), 0.3) << name;
    EXPECT_LT(value.max().item<double>(), 0.7) << name;
    EXPECT_GT((value - 0.5).abs().max().item<double>(), 1e-6) << name << " reads nothing";
  }
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : rig.tensors) {
    if (name.ends_with(".gate.weight")) tensor.zero_();
  }
  for (const auto& [name, value] : run(rig, rows).gates)
    EXPECT_TRUE(value.equal(at::full_like(value, 0.5))) << name;
}

// Weights N(0, 0.02^2), biases zero. 448 numbers: the deviation is known to 3.3 %.
TEST(Gate, StartsWithThePublishedDeviation) {
  const Rig rig(golden_model("bert-tiny"),
                "{edits: [{gate: {}, of: {lora: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: "
                "1}}}]}");
  std::vector<Tensor> weights;
  for (const auto& [name, tensor] : rig.tensors) {
    if (name.ends_with("gate.weight")) weights.push_back(tensor.detach().flatten());
    if (name.ends_with("gate.bias")) {
      EXPECT_EQ(tensor.abs().max().item<double>(), 0) << name;
    }
  }
  const Tensor all = at::cat(weights);
  EXPECT_EQ(all.numel(), 2 * (5 * 32 + 64));
  EXPECT_NEAR(all.std().item<double>() / 0.02, 1, 0.14);
  EXPECT_NEAR(all.mean().item<double>() / 0.02, 0, 0.2);
}

TEST(Gate, OfALoraGetsNoGradientInTheFirstStep) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, "{edits: [{gate: {}, of: {lora: {rank: 2}}}]}");
  const LossAndGradients found =
      gradients_of(rig, random_sequences(model->config, 6, 9, 3), class_labels(6, 3));
  for (const auto& [name, gradient] : found.gradients) {
    const double largest = gradient.abs().max().item<double>();
    if (name.find(".gate.") != std::string::npos || name.ends_with(".lora_a")) {
      EXPECT_EQ(largest, 0) << name;
    }
    if (name.ends_with(".lora_b")) {
      EXPECT_GT(largest, 1e-6) << name;
    }
  }
}

// The gate's value stands in the place of alpha/r, or multiplies it.
TEST(Gate, ReplacesTheScaleUnlessItIsToKeepIt) {
  const auto model = golden_model("bert-tiny");
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 9, 3);
  const auto logits = [&](const std::string& edit) {
    Rig rig(model, "{edits: [" + edit + "]}");
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : rig.tensors) {
      if (name.find(".lora_") != std::string::npos)
        tensor.copy_(at::sin(at::arange(tensor.numel()).to(at::kFloat)).view(tensor.sizes()));
    }
    return logits_of(rig, rows);
  };
  expect_near(logits("{gate: {value: 0.25}, of: {lora: {rank: 2, alpha: 8}}}"),
              logits("{lora: {rank: 2, alpha: 0.5}}"), {1e-6, 0}, "gate");
  expect_near(
      logits(
          "{gate: {value: 0.25, multiplier: gate_times_scale}, of: {lora: {rank: 2, alpha: 8}}}"),
      logits("{lora: {rank: 2, alpha: 2}}"), {1e-6, 0}, "gate times scale");
}

// One gate a layer gives queries and values the same number; separate ones do not.
TEST(Gate, SharedByALayerIsOneNumber) {
  const auto model = golden_model("bert-tiny");
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 9, 3);
  for (const bool is_shared : {true, false}) {
    Rig rig(model, std::string("{edits: [{gate: {share: ") + (is_shared ? "layer" : "separate") +
                       "}, of: {lora: {rank: 2}}}]}");
    rig.shake(0.3);
    const NamedTensors gates = run(rig, rows).gates;
    const Tensor q = gates.at("0.gate/enc.1.attn.q.gate"), v = gates.at("0.gate/enc.1.attn.v.gate");
    EXPECT_EQ(q.equal(v), is_shared);
  }
}

TEST(Gate, OfARunningMeanSeesNoLaterToken) {
  const auto model = golden_model("bert-tiny");
  const std::vector<Sequence> rows = random_sequences(model->config, 3, 5, 3);
  LaneInput lane = lane_of(rows);
  lane.layout = {.virtual_rows = 2};
  const Pack pack = pack_of(*model, {lane}, 64);
  const Tensor values = at::sin(at::arange(pack.num_rows, at::kDouble)).view({-1, 1});
  const SiteView view{model->sites.at("enc.0.attn.q"), pack, pack.whole(), values, values, {}, {}};
  const Tensor means = running_mean(view, values);
  for (int64_t n = 0; n < pack.num_sequences(); ++n) {
    double sum = 0, tokens = 0;
    for (int64_t row = pack.sequences[static_cast<size_t>(n)].begin;
         row < pack.sequences[static_cast<size_t>(n)].end; ++row) {
      const double own = values[row].item<double>();
      if (pack.token[static_cast<size_t>(row)] >= 0) sum += own, tokens += 1;
      EXPECT_NEAR(means[row].item<double>(), tokens > 0 ? sum / tokens : own, 1e-14)
          << "row " << row;
    }
  }
  EXPECT_EQ(means.slice(0, pack.sequences.back().end).abs().max().item<double>(), 0) << "fillers";
}

// softmax of the mean of relu, by hand from the block's input; dead for all tokens it is one half,
// and has no gradient.
TEST(CentralGate, SharesOneAmongItsEdits) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model,
          "{edits: [{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 2}}]}]}");
  rig.shake(0.5);
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 9, 3);
  const NamedTensors gates = run(rig, rows).gates;
  const std::vector<Tensor> hidden = hidden_of(rig, rows);
  int64_t begin = 0;
  for (int64_t n = 0; n < 4; ++n) {
    const int64_t end = begin + static_cast<int64_t>(rows[static_cast<size_t>(n)].ids.size());
    const Tensor x = hidden[1].slice(0, begin, end);
    const Tensor open = at::relu(at::mm(x, rig.tensors.at("0.gate/enc.1.attn.gate.weight").t()) +
                                 rig.tensors.at("0.gate/enc.1.attn.gate.bias"));
    const Tensor shares = at::softmax(open.mean(0), 0);
    EXPECT_NEAR(gates.at("0.gate/enc.1.attn.q.gate")[n].item<double>(), shares[0].item<double>(),
                1e-6);
    EXPECT_NEAR(gates.at("0.gate/enc.1.attn.v.gate")[n].item<double>(), shares[0].item<double>(),
                1e-6);
    EXPECT_NEAR(gates.at("0.gate/enc.1.attn.gate")[n].item<double>(), shares[1].item<double>(),
                1e-6);
    begin = end;
  }
  {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : rig.tensors) {
      if (name.ends_with(".gate.bias")) tensor.fill_(-1e3);
    }
  }
  for (const auto& [name, value] : run(rig, rows).gates)
    EXPECT_TRUE(value.equal(at::full_like(value, 0.5))) << name;
  for (const auto& [name, gradient] : gradients_of(rig, rows, class_labels(4, 3)).gradients) {
    if (name.find(".gate.") != std::string::npos) {
      EXPECT_EQ(gradient.abs().max().item<double>(), 0) << name;
    }
  }
}

// ---- files

// What an edit needs beside the tokens is needed behind a central gate, too.
TEST(CentralGate, KeepsTheLayoutOfItsEdits) {
  const auto model = golden_model("bert-tiny");
  const Rig rig(model,
                "{edits: [{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 3, "
                "counts_positions: true}}]}]}");
  EXPECT_EQ(rig.adapter->layout().first_position, 3);
}

TEST(Unipelt, SavesAndLoadsAllItsPartsAndIsNotMerged) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, kApl);
  rig.shake(0.3);
  const TempFolder folder;
  save_adapter(folder / "a", *rig.adapter, rig.tensors, *model, {});
  LoadedAdapter loaded = load_adapter(folder / "a", *model);
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 9, 3);
  const Tensor before = logits_of(rig, rows);
  Rig again(model, std::move(loaded.adapter));
  again.tensors = loaded.tensors;
  expect_bits(logits_of(again, rows), before, "logits");
  for (const Adapter::Part& part : rig.adapter->parts())
    EXPECT_EQ(part.spec().traits.acts, Acts::kInForward) << part.path;
}

// The pooler's one row of a text may be a prompt's, which is no token: the gate reads it all the
// same.
TEST(Gate, AtThePoolerReadsTheRowOfAPromptBefore) {
  Rig rig(golden_model("bert-tiny"),
          "{edits: [{prompt: {length: 2, position: before}}, {gate: {}, of: {lora: {sites: "
          "pooler}}}]}");
  rig.shake(0.3);
  const std::vector<Sequence> sequences = random_sequences(rig.model->config, 4, 8, 3);
  const LossAndGradients found = gradients_of(rig, sequences, class_labels(4, 3));
  int gates = 0;
  for (const auto& [name, gradient] : found.gradients) {
    if (name.find(".gate.weight") == std::string::npos) continue;
    ++gates;
    EXPECT_GT(gradient.abs().max().item<double>(), 1e-6) << name;
  }
  EXPECT_EQ(gates, 1);
}

}  // namespace
}  // namespace graft::testing::test_unipelt
