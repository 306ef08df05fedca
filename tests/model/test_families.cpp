// The family table: names both ways, shapes, and the number of parameters of known models.
#include "model/families.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "model/sites.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_families {
namespace {

ModelConfig known_model(const std::string& json) {
  return parse_config(parse_json(json, "known"), "known");
}

int64_t count(const ModelConfig& config) {
  int64_t sum = 0;
  for (const TensorSlot& slot : tensor_slots(config)) {
    int64_t product = 1;
    for (const int64_t size : slot.shape) product *= size;
    sum += product;
  }
  return sum;
}

// Published sizes: embeddings (30522 + 512 + 2) 768 + 1536, twelve layers of 7,087,872, pooler
// 590,592.
TEST(Families, CountBertBase) {
  EXPECT_EQ(
      count(known_model(
          R"({"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
                                  "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2})")),
      109'482'240);
}

// (50265 + 514 + 1) 1024 + 2048, twenty-four layers of 12,596,224, no pooler.
TEST(Families, CountRobertaLarge) {
  EXPECT_EQ(
      count(known_model(
          R"({"model_type": "roberta", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
                                  "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1})")),
      354'310'144);
}

// A tiny model of an entry of the table.
ModelConfig tiny_of(const Family& family) {
  Node changes = Node::map();
  if (family.model_type == "t5" || family.model_type == "mt5")
    changes["feed_forward_proj"] = Node::text(family.has_gated_ffn ? "gated-gelu" : "relu");
  return parse_config(tiny_config(family.model_type, changes), "tiny");
}

TEST(Families, NamesAreABijection) {
  for (const Family& family : all_families()) {
    std::set<TensorId> ours;
    std::set<std::string> theirs;
    for (const auto& [own, other] : family.names) {
      EXPECT_TRUE(ours.insert(own).second) << to_name(own);
      EXPECT_TRUE(theirs.insert(other).second) << other;
      EXPECT_EQ(is_of_block(own.place.part), other.find('#') != std::string::npos) << other;
    }
    const ModelConfig config = tiny_of(family);
    EXPECT_EQ(&family_of(config), &family);
    std::set<std::string> slots, names;
    for (const TensorSlot& slot : tensor_slots(config)) {
      EXPECT_TRUE(slots.insert(slot.name()).second) << slot.name();
      const auto name = checkpoint_name(family, slot.id);
      ASSERT_TRUE(name.has_value()) << slot.name();
      EXPECT_TRUE(names.insert(*name).second) << *name;
      for (const std::string& unused : family.unused)
        EXPECT_FALSE(name->starts_with(unused)) << *name << " is read and listed as unused";
    }
  }
}

// Every linear and norm site of a block has its tensors under the site's name, with the site's
// widths.
TEST(Families, HaveATensorForEverySite) {
  for (const Family& family : all_families()) {
    const ModelConfig config = tiny_of(family);
    std::map<std::string, std::vector<int64_t>> shapes;
    for (const TensorSlot& slot : all_slots(config)) shapes[slot.name()] = slot.shape;
    const Sites sites(config);
    for (const Site& site : sites.all()) {
      if (site.kind == SiteKind::kLinear) {
        EXPECT_EQ(shapes[site.name + ".weight"],
                  (std::vector<int64_t>{site.output_width, site.input_width}))
            << family.model_type << " " << site.name;
      } else if (site.kind == SiteKind::kNorm) {
        EXPECT_EQ(shapes[site.name + ".weight"], std::vector<int64_t>{config.width})
            << family.model_type << " " << site.name;
      }
    }
  }
}

TEST(Families, NameTensors) {
  const Family& bert = family_of("bert");
  EXPECT_EQ(checkpoint_name(bert, tensor_id("enc.11.attn.q.weight")),
            "encoder.layer.11.attention.self.query.weight");
  EXPECT_EQ(checkpoint_name(bert, tensor_id("embed.norm.bias")), "embeddings.LayerNorm.bias");
  EXPECT_EQ(checkpoint_name(bert, tensor_id("dec.0.attn.q.weight")), std::nullopt);
  EXPECT_EQ(checkpoint_name(family_of("bart"), tensor_id("dec.3.cross.norm.bias")),
            "decoder.layers.3.encoder_attn_layer_norm.bias");
  EXPECT_EQ(checkpoint_name(family_of("gpt2"), tensor_id("dec.3.attn.k.weight")),
            "h.3.attn.c_attn.weight[1/3]");
  EXPECT_EQ(checkpoint_name(family_of("llama"), tensor_id("dec.3.ffn.gate.weight")),
            "layers.3.mlp.gate_proj.weight");
  const Family& gated = family_of(
      parse_config(tiny_config("mt5"), "tiny"));  // the branch that is activated is the first
  EXPECT_EQ(checkpoint_name(gated, tensor_id("enc.3.ffn.gate.weight")),
            "encoder.block.3.layer.1.DenseReluDense.wi_0.weight");
  EXPECT_EQ(checkpoint_name(gated, tensor_id("dec.3.ffn.up.weight")),
            "decoder.block.3.layer.2.DenseReluDense.wi_1.weight");
  EXPECT_EQ(blocks_path(bert), "encoder.layer");
  EXPECT_EQ(blocks_path(family_of("gpt2")), "h");
  expect_message<InputError>([] { family_of("robert"); },
                             R"(model_type "robert" is not supported)");
  expect_message<InputError>([] { family_of("robert"); },
                             "known families: " + joined(known_families()));
}

}  // namespace
}  // namespace graft::testing::test_families
