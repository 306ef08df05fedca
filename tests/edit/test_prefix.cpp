// Prefixes and prompts, alone and behind gates: attention by its closed form, slots in order, what
// is left after training, initial values, and a prompt as words of the text.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cmath>

#include "tests/edit/recorder.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/plan.h"

namespace graft::testing::test_prefix {
namespace {

using at::Tensor;

struct FirstAttention {
  Tensor q, k, v, mixed;  // [T, C]
};

FirstAttention first_attention(const Rig& rig, const Pack& pack) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  LaneHooks lanes(*rig.model, {{&bound, {}}});
  Recorder recorder(lanes, {"enc.0.attn.q", "enc.0.attn.k", "enc.0.attn.v", "enc.0.attn.o"});
  ForwardOptions options;
  options.keep_hidden = true;
  forward(*rig.model, bound.weights(), input_of(rig.model->config, pack), recorder, options);
  return {recorder.ys.at("enc.0.attn.q"), recorder.ys.at("enc.0.attn.k"),
          recorder.ys.at("enc.0.attn.v"), recorder.xs.at("enc.0.attn.o")};
}

// For each query and head: softmax over `extra` rows of logits and values, then the tokens'.
Tensor attention_by_hand(const FirstAttention& seen, const Pack& pack, int64_t heads,
                         const Tensor& keys, const Tensor& values) {
  Tensor out = at::zeros_like(seen.q);
  const int64_t width = seen.q.size(1) / heads;
  for (int64_t n = 0; n < pack.num_sequences(); ++n) {
    const int64_t begin = pack.sequences[static_cast<size_t>(n)].begin,
                  end = pack.sequences[static_cast<size_t>(n)].end;
    for (int64_t h = 0; h < heads; ++h) {
      const auto part = [&](const Tensor& all) {
        return all.slice(0, begin, end).slice(1, h * width, (h + 1) * width);
      };
      const Tensor k = at::cat({keys.select(1, h), part(seen.k)}),
                   v = at::cat({values.select(1, h), part(seen.v)});
      const Tensor shares =
          at::softmax(at::mm(part(seen.q), k.t()) / std::sqrt(static_cast<double>(width)), 1);
      part(out).copy_(at::mm(shares, v));
    }
  }
  return out;
}

// With its rows at zero, a prefix of L takes exp(0) = 1 a row: the output is Z/(Z+L) of the bare
// one, Z = sum_j exp(s_j).
TEST(Gate, ClosedBeforeAPrefixShrinksAttentionByItsClosedForm) {
  const auto model = golden_model("bert-tiny", Precision::kFloat64);
  const int64_t length = 3, heads = model->config.last().heads,
                width = model->config.last().head_width();
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 9, 3);
  const Pack pack = pack_of(*model, {lane_of(rows)});
  Rig rig(model, "{edits: [{gate: {value: 0}, of: {prefix: {length: 3, init: default}}}]}"),
      bare(model, "{}");
  rig.widen();
  const FirstAttention closed = first_attention(rig, pack), plain = [&] {
    Rig none(model, "{edits: [{lora: {rank: 1}}]}");  // leaves every value as it is
    none.widen();
    return first_attention(none, pack);
  }();
  for (int64_t n = 0; n < pack.num_sequences(); ++n) {
    const int64_t begin = pack.sequences[static_cast<size_t>(n)].begin,
                  end = pack.sequences[static_cast<size_t>(n)].end;
    for (int64_t h = 0; h < heads; ++h) {
      const auto part = [&](const Tensor& all) {
        return all.slice(0, begin, end).slice(1, h * width, (h + 1) * width);
      };
      const Tensor z =
          at::exp(at::mm(part(plain.q), part(plain.k).t()) / std::sqrt(static_cast<double>(width)))
              .sum(1, true);
      expect_near(part(closed.mixed), part(plain.mixed) * z / (z + length), {1e-12, 0},
                  "sequence " + std::to_string(n) + " head " + std::to_string(h));
    }
  }
}

TEST(Gate, ClosedBeforeAPrefixWithLogarithmTakesItOut) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model,
          "{edits: [{gate: {value: 0, prefix_logits: log}, of: {prefix: {length: 3, init: "
          "default}}}]}"),
      bare(model, "{}");
  for (auto& [name, tensor] : bare.tensors) tensor = rig.tensors.at(name);
  const std::vector<Sequence> rows = random_sequences(model->config, 5, 11, 3);
  expect_near(logits_of(rig, rows), logits_of(bare, rows), {1e-6, 0}, "logits");
}

// Slots 2i and 2i+1 of the network are keys and values of layer i; they stand before the tokens',
// in the heads' own space.
TEST(Prefix, HasItsSlotsInOrderBeforeTheTokens) {
  const auto model = golden_model("bert-tiny", Precision::kFloat64);
  Rig rig(model, "{edits: [{prefix: {length: 3, mlp: 5, init: default}}]}");
  rig.widen();
  const at::NoGradGuard no_grad;
  const auto stored = [&](const char* name) {
    return rig.tensors.at(std::string("0.prefix/") + name);
  };
  const Tensor inner =
      at::tanh(at::mm(stored("table"), stored("mlp.in.weight").t()) + stored("mlp.in.bias"));
  const int64_t layers = model->config.encoder_layers(), heads = model->config.last().heads;
  const Tensor slots = (at::mm(inner, stored("mlp.out.weight").t()) + stored("mlp.out.bias"))
                           .view({3, 2 * layers, heads, -1});
  const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string what = "layer " + std::to_string(layer);
    const auto first = static_cast<int32_t>(rig.adapter->parts().front().spec().params.size() +
                                            2 * static_cast<size_t>(layer));
    expect_near(derived.parts[0][ParamId{first}], slots.select(1, 2 * layer), {1e-12, 0},
                what + ", keys");
    expect_near(derived.parts[0][ParamId{first + 1}], slots.select(1, 2 * layer + 1), {1e-12, 0},
                what + ", values");
  }
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 9, 3);
  const Pack pack = pack_of(*model, {lane_of(rows)});
  const FirstAttention seen = first_attention(rig, pack);
  expect_near(seen.mixed,
              attention_by_hand(seen, pack, heads, slots.select(1, 0), slots.select(1, 1)),
              {1e-12, 0}, "attention");
}

// What is left of a prefix after training computes the same, also inside gates.
TEST(Prefix, FlattenedComputesTheSame) {
  const auto model = golden_model("bert-tiny");
  const std::vector<Sequence> rows = random_sequences(model->config, 5, 11, 3);
  for (const char* definition :
       {"{prefix: {length: 3, mlp: 5}}",
        "{gate: {prefix: split}, of: {prefix: {length: 3, mlp: 5, layers: [1]}}}",
        "{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 3, mlp: 5}}]}"}) {
    Rig rig(model, std::string("{edits: [") + definition + "]}");
    rig.shake(0.3);
    const Adapter::Part& part = rig.adapter->parts().front();
    const TensorList stored = rig.adapter->stored_of(0, rig.tensors);
    const std::optional<Flattened> flat = part.edit->flattened(Params(stored));
    ASSERT_TRUE(flat) << definition;
    Rig again(model, to_yaml(Node::map({{"edits", Node::list({flat->definition})}})));
    int64_t numbers = 0;
    for (auto& [name, tensor] : again.tensors) {
      if (name.starts_with("head/")) tensor = rig.tensors.at(name);
    }
    const std::vector<std::string>& names = again.adapter->parts().front().names;
    ASSERT_EQ(flat->tensors.size(), names.size()) << definition;
    auto value = flat->tensors.begin();
    for (const std::string& name : names)
      numbers += value->numel(), again.tensors.at(name) = *value++;
    EXPECT_EQ(numbers, make_plan(*rig.adapter, model->config, {}).kept_parameters) << definition;
    expect_near(logits_of(again, rows), logits_of(rig, rows), {1e-6, 0}, definition);
    const TensorList flat_stored = again.adapter->stored_of(0, again.tensors);
    EXPECT_FALSE(again.adapter->parts().front().edit->flattened(Params(flat_stored))) << definition;
  }
  const Rig lora(model, "{edits: [{gate: {}, of: {lora: {}}}]}");
  const TensorList plain = lora.adapter->stored_of(0, lora.tensors);
  EXPECT_FALSE(lora.adapter->parts().front().edit->flattened(Params(plain)));
}

TEST(InitialValues, OfPrefixAndPromptHaveTheirDocumentedSpread) {
  const auto model = golden_model("bert-tiny");
  const auto deviation = [](const Rig& rig, const std::string& name) {
    return rig.tensors.at(name).std().item<double>();
  };
  const Rig normal(model, "{edits: [{prefix: {length: 40, mlp: 32}}]}"),
      torch(model, "{edits: [{prefix: {length: 40, mlp: 32, init: default}}]}");
  for (const char* name : {"0.prefix/table", "0.prefix/mlp.in.weight", "0.prefix/mlp.out.weight"})
    EXPECT_NEAR(deviation(normal, name) / 0.02, 1, 0.08) << name;
  EXPECT_EQ(normal.tensors.at("0.prefix/mlp.out.bias").abs().max().item<double>(), 0);
  EXPECT_NEAR(deviation(torch, "0.prefix/table"), 1, 0.08);
  EXPECT_NEAR(deviation(torch, "0.prefix/mlp.in.weight") * std::sqrt(3.0 * 32), 1, 0.08);
  EXPECT_NEAR(deviation(torch, "0.prefix/mlp.out.weight") * std::sqrt(3.0 * 32), 1, 0.08);
  EXPECT_NEAR(deviation(torch, "0.prefix/mlp.out.bias") * std::sqrt(3.0 * 32), 1, 0.15);
  EXPECT_NEAR(deviation(Rig(model, "{edits: [{prefix: {length: 40, init: default}}]}"),
                        "0.prefix/enc.0.attn.keys"),
              1, 0.08);
  EXPECT_NEAR(
      deviation(Rig(model, "{edits: [{prompt: {length: 30}}]}"), "0.prompt/embed.word.prompt") /
          0.02,
      1, 0.1);

  const Rig words(model, "{edits: [{prompt: {length: 6, init: words}}]}");
  const Tensor table = model->weights.base(tensor_id("embed.word.weight")),
               prompt = words.tensors.at("0.prompt/embed.word.prompt");
  for (int64_t row = 0; row < 6; ++row)
    EXPECT_TRUE((table == prompt[row]).all(1).any().item<bool>()) << "row " << row << " is no word";
}

// A prompt of words reads like these words before the text.
TEST(Prompt, OfWordsIsATextWithTheseWordsBeforeIt) {
  const auto model = golden_model("roberta-tiny");
  for (const bool follows : {false, true}) {
    Rig rig(model, std::string("{edits: [{prompt: {length: 3, position: ") +
                       (follows ? "after_first" : "before") + "}}]}"),
        bare(model, "{}");
    for (auto& [name, tensor] : bare.tensors) tensor = rig.tensors.at(name);
    const std::vector<int64_t> words = {7, 42, 9};
    const at::NoGradGuard no_grad;
    rig.tensors.at("0.prompt/embed.word.prompt")
        .copy_(model->weights.base(tensor_id("embed.word.weight"))
                   .index_select(0, at::tensor(words, at::kLong)));
    std::vector<Sequence> rows = random_sequences(model->config, 5, 11, 3), longer = rows;
    for (Sequence& sequence : longer) {
      sequence.ids.insert(sequence.ids.begin() + (follows ? 1 : 0), words.begin(), words.end());
      sequence.type_ids.assign(sequence.ids.size(), 0);
    }
    for (Sequence& sequence : rows) sequence.type_ids.assign(sequence.ids.size(), 0);
    expect_bits(logits_of(rig, rows), logits_of(bare, longer),
                follows ? "after the first token" : "before the tokens");
  }
}

// What a trunk makes of a word's row before the first site (BART's scale_embedding) it makes of the
// words of a prompt.
TEST(Prompt, OfWordsIsScaledAsWordsAre) {
  const auto plain = tiny_model("bart", Precision::kFloat32);
  const auto scaled = std::make_shared<Model>(*plain);
  scaled->config.embedding_scale = 4;
  const std::string definition = "{edits: [{prompt: {length: 3, init: words}}]}";
  const Rig rows(plain, definition, std::nullopt), larger(scaled, definition, std::nullopt);
  const Tensor& found = larger.tensors.begin()->second;
  EXPECT_EQ(found.size(0), 3);
  expect_bits(found, rows.tensors.begin()->second * 4, "rows");
}

}  // namespace
}  // namespace graft::testing::test_prefix
