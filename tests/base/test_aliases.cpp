// Names of other tools. That each of Graft's is one that an edit, a run or a model has is checked
// by tests/cli/test_settings.py.
#include "base/aliases.h"

#include <gtest/gtest.h>

namespace graft::test_aliases {
namespace {

using Names = std::vector<std::string>;

TEST(Aliases, CountWhereTheyAreKnown) {
  EXPECT_EQ(did_you_mean_setting("lr", {"learning_rate", "seed"}),
            " (did you mean 'learning_rate'?)");
  EXPECT_EQ(did_you_mean_setting("lr", {"rank", "alpha"}), "");
  EXPECT_EQ(did_you_mean_setting("max_train_samples", {"data", "seed"}),
            " (did you mean 'data.rows'?)");
  EXPECT_EQ(did_you_mean_setting("lora_alpha", {"alpha", "lora_dropout"}),
            " (did you mean 'alpha'?)");
  EXPECT_EQ(did_you_mean_setting("held_out", {"data.rows", "data.held_out"}),
            " (did you mean 'data.held_out'?)")
      << "a setting of a section";
  EXPECT_EQ(did_you_mean_setting("rnak", {"rank"}), " (did you mean 'rank'?)")
      << "else as did_you_mean";
  EXPECT_EQ(did_you_mean_setting("lora_dropout", {"rank", "dropout"}),
            " (did you mean 'dropout'?)");
  EXPECT_EQ(did_you_mean_setting("lora_dropout", {"adapter", "dropout"}),
            " (did you mean 'adapter.dropout'?)")
      << "beside the trunk's";
  EXPECT_EQ(own_names("query"), (Names{"attn.q"}));
  EXPECT_EQ(own_names("rank"), Names{});
}

TEST(Aliases, KnowModulesByTheEndOfTheirPath) {
  const std::vector<std::pair<const char*, Names>> modules = {
      {"self_attn.q_proj", {"attn.q"}},
      {"model.layers.3.mlp.down_proj", {"ffn.down"}},
      {"encoder.layer.0.attention.output.dense", {"attn.o"}},
      {"encoder.layer.0.output.dense", {"ffn.down"}},
      {"attn.c_attn", {"attn.[qkv]"}},
      {"attn.c_proj", {"attn.o"}},
      {"mlp.c_proj", {"ffn.down"}},
      {"c_proj", {"attn.o", "ffn.down"}},
      {"SelfAttention.q", {"attn.q"}},
      {"EncDecAttention.v", {"cross.v"}},
      {"decoder.layers.1.encoder_attn.out_proj", {"cross.o"}},
      {"DenseReluDense.wi_0", {"ffn.gate"}},
      {"attn.Wqkv", {"attn.[qkv]"}},
      {"Wi", {"ffn.gate", "ffn.up"}},
      {"mlp.Wo", {"ffn.down"}},
      {"Wo", {"attn.o", "ffn.down"}},
      {"all-linear", {"attn.[qkvo]", "cross.[qkvo]", "ffn.gate", "ffn.up", "ffn.down"}},
      {"self_attn.rotary_emb", {}}};
  for (const auto& [module, own] : modules) EXPECT_EQ(own_names(module), own) << module;
}

TEST(Aliases, KnowSwitchesThatArePresets) {
  EXPECT_EQ(preset_called("use_dora"), "dora");
  EXPECT_EQ(preset_called("bias"), "bitfit");
  EXPECT_EQ(preset_called("rank"), "");
}

}  // namespace
}  // namespace graft::test_aliases
