// Definitions of gates, prefixes and prompts: what is accepted, and each refusal by its place.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_gate_definitions {
namespace {

// No row of a classifier predicts the token after it: nothing is shown too early.
TEST(Definitions, AMeanOverAWholeTextIsForDecodersUnderAHead) {
  Task words = class_task(2);
  words.question = Choice{};
  ModelConfig config = parse_config(tiny_config("gpt2"), "gpt2");
  const Sites sites(config);
  for (const std::string pool : {"mean", "mean_all"}) {
    const Node definition = yaml("{edits: [{gate: {pool: " + pool + "}, of: {lora: {}}}]}");
    const Adapter adapter(definition, "test", {config, sites}, class_task(2));
    EXPECT_NE(to_json(adapter.describe()).find("\"pool\": \"" + pool + "\""), std::string::npos)
        << to_json(adapter.describe());
    EXPECT_NO_THROW(Adapter(definition, "test", {config, sites, true}, std::nullopt))
        << "its task is not known yet";
    for (const bool is_of_classifier :
         {false, true}) {  // a classifier's folder may be asked to answer in words, too
      config.is_classifier = is_of_classifier;
      for (const std::optional<Task>& task : {std::optional<Task>(), std::optional<Task>(words)}) {
        expect_message<InputError>(
            [&] {
              Adapter(definition, "test", {config, sites}, task);
            },
            "a decoder's token would see those that it is to predict (at dec.0.attn.q)");
      }
    }
    config.is_classifier = false;
  }
}

// A prompt whose tokens are predicted, too, is nothing that a gate may have read before.
TEST(Definitions, AGateThatReadsThePromptIsRefusedBesideItsLoss) {
  Task text = class_task(2);
  text.question = Generation{};
  const ModelConfig config = parse_config(tiny_config("gpt2"), "gpt2");
  const Sites sites(config);
  const auto build = [&](const std::string& edit) {
    Adapter(yaml("{edits: [" + edit + "]}"), "test", {config, sites}, text);
  };
  const std::string gated = "{gate: {}, of: {prefix: {length: 2}}}";
  EXPECT_NO_THROW(build(gated));
  text.at<Generation>().loss = LossOn::kAll;
  expect_message<InputError>([&] { build(gated); },
                             "test: a gate of edit \"0.gate/\" reads the prompt, whose tokens");
  EXPECT_NO_THROW(build("{gate: {}, of: {lora: {}}}")) << "a running mean sees no later token";
}

TEST(Definitions, OfGatesPrefixesAndPromptsAreRefusedEachByItsPlace) {
  const struct {
    const char *definition, *message;
  } rows[] = {
      {"{prefix: {length: 0}}",
       R"(/edits/0/prefix/length: expected an integer in 1..4096, found "0")"},
      {"{prefix: {mlp: -1}}",
       R"(/edits/0/prefix/mlp: expected an integer in 0..1048576, found "-1")"},
      {"{prefix: {init: zeros}}",
       R"(/edits/0/prefix/init: expected normal or default, found "zeros")"},
      {"{prefix: {sites: attn.q}}",
       "/edits/0/prefix/sites: prefix acts on attention sites; enc.0.attn.q is a linear site"},
      {"{prompt: {length: 40}}",
       R"(/edits/0/prompt/length: expected an integer in 1..39, found "40")"},
      {"{prompt: {position: behind}}",
       R"(/edits/0/prompt/position: expected before or after_first, found "behind")"},
      {"{prompt: {init: text}}", R"(/edits/0/prompt/init: expected normal or words, found "text")"},
      {"{gate: {}}", "/edits/0/of: expected the edit that gate is put around"},
      {"{gate: {}, of: {bitfit: {}}}",
       "gate does not go around bitfit: it changes the trunk's own weights"},
      {"{gate: {}, of: {prompt: {}}}",
       "gate does not go around prompt: its rows are in a sequence or not"},
      {"{gate: {}, of: [{lora: {}}, {prefix: {}}]}",
       "of: one edit has one gate; a list goes with kind: central"},
      {"{gate: {kind: middle}, of: {lora: {}}}",
       R"(/edits/0/gate/kind: expected own or central, found "middle")"},
      {"{gate: {pool: max}, of: {lora: {}}}",
       R"(/edits/0/gate/pool: expected auto, mean, mean_all, causal_mean or prompt_mean, found "max")"},
      {"{gate: {padded_to: 64}, of: {lora: {}}}",
       "/edits/0/gate/padded_to: padding counts only with pool: mean_all"},
      {"{gate: {pool: mean_all, padded_to: 41}, of: {lora: {}}}",
       R"(/edits/0/gate/padded_to: expected an integer in 0..40, found "41")"},
      {"{gate: {multiplier: scale}, of: {lora: {}}}",
       R"(/edits/0/gate/multiplier: expected gate or gate_times_scale, found "scale")"},
      {"{gate: {share: all}, of: {lora: {}}}",
       R"(/edits/0/gate/share: expected separate or layer, found "all")"},
      {"{gate: {share: layer}, of: {lora: {sites: [attn.q, attn.o]}}}",
       "/edits/0/gate/share: layer: attn.q, attn.k and attn.v read one input and may share a gate; "
       "enc.0.attn.o does not"},
      {"{gate: {share: layer}, of: {affine: {sites: [attn.q, attn.k]}}}",
       "/edits/0/gate/share: layer: affine reads what leaves its site, where sites have no input "
       "in common; leave it out"},
      {"{gate: {share: layer}, of: {prefix: {}}}",
       "/edits/0/gate/share: only for edits at linear sites; a prefix has one gate a layer "
       "already"},
      {"{gate: {prefix: split}, of: {lora: {}}}",
       "/edits/0/gate/prefix: only for a gate around a prefix, found lora"},
      {"{gate: {prefix: both}, of: {prefix: {}}}",
       R"(/edits/0/gate/prefix: expected shared or split, found "both")"},
      {"{gate: {prefix_logits: log}, of: {lora: {}}}",
       "/edits/0/gate/prefix_logits: only for a gate around a prefix, found lora"},
      {"{gate: {prefix_logits: yes}, of: {prefix: {}}}",
       R"(/edits/0/gate/prefix_logits: expected off or log, found "yes")"},
      {"{gate: {prefix_logits: log, prefix: split}, of: {prefix: {}}}",
       "/edits/0/gate/prefix_logits: log needs prefix: shared, one weight for keys and values"},
      {"{gate: {pool: causal_mean}, of: {prefix: {}}}",
       "/edits/0/gate/pool: a prefix has one weight for a whole sequence; causal_mean has one a "
       "row"},
      {"{gate: {value: 2}, of: {lora: {}}}",
       R"(/edits/0/gate/value: expected a number in 0..1, found "2")"},
      {"{gate: {value: open}, of: {lora: {}}}",
       R"(/edits/0/gate/value: expected a number in 0..1, found "open")"},
      {"{gate: {value: 0.5, pool: mean}, of: {lora: {}}}",
       "/edits/0/gate/pool: a gate of a fixed value reads no row"},
      {"{gate: {kind: central}, of: {lora: {}}}",
       "a central gate shares weights among two edits or more"},
      {"{gate: {kind: central, pool: causal_mean}, of: [{lora: {}}, {prefix: {}}]}",
       R"(/edits/0/gate/pool: expected auto, mean, mean_all or prompt_mean, found "causal_mean")"},
      {"{gate: {kind: central}, of: [{lora: {sites: ffn.up}}, {prefix: {}}]}",
       "which read a layer's input; lora at enc.0.ffn.up does not"},
      {"{gate: {kind: central}, of: [{affine: {sites: attn.k}}, {prefix: {}}]}",
       "which read a layer's input; affine at enc.0.attn.k does not"},
      {"{gate: {kind: central}, of: [{lora: {}}, {lora: {sites: attn.v}}]}",
       "two edits of a central gate act at enc.0.attn.v: put both in one"},
  };
  const auto model = golden_model("bert-tiny");
  for (const auto& row : rows) {
    expect_message<InputError>(
        [&] { Rig(model, std::string("{edits: [") + row.definition + "]}"); }, row.message);
  }
  expect_message<InputError>(
      [&] { Rig(model, "{edits: [{prefix: {}}, {gate: {}, of: {prefix: {}}}]}"); },
      "two edits put a prefix at enc.0.attn");
  expect_message<InputError>(
      [&] {
        Rig(model,
            "{edits: [{gate: {pool: mean_all, padded_to: 20}, of: {lora: {}}}, {gate: {pool: "
            "mean_all, padded_to: 30}, of: "
            "{prefix: {}}}]}");
      },
      "gates that pad to different lengths (20 and 30)");
}

}  // namespace
}  // namespace graft::testing::test_gate_definitions
