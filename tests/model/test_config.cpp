// config.json: what is read, and the message for each key that is refused.
#include "model/config.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing {
namespace {

ModelConfig parsed(const std::string& family, const std::string& changes) {
  return parse_config(tiny_config(family, parse_json(changes, "changes")), "config.json");
}

TEST(Config, ReadsBert) {
  const ModelConfig c = parsed("bert", R"({"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "pad_token_id": 4})");
  EXPECT_EQ(c.model_type, "bert");
  EXPECT_EQ(c.width, 8);
  EXPECT_EQ(c.layers, 2);
  EXPECT_EQ(c.heads, 2);
  EXPECT_EQ(c.head_width(), 4);
  EXPECT_EQ(c.ffn_width, 12);
  EXPECT_EQ(c.vocabulary, 13);
  EXPECT_EQ(c.max_positions, 10);
  EXPECT_EQ(c.position_offset, 0);
  EXPECT_EQ(c.type_vocabulary, 2);
  EXPECT_EQ(c.pad_id, 4);
  EXPECT_EQ(c.norm_epsilon, 1e-5);
  EXPECT_EQ(c.hidden_dropout, 0.2);
  EXPECT_EQ(c.attention_dropout, 0.3);
  EXPECT_EQ(c.classifier_dropout, 0.2);   // as hidden_dropout_prob where it has none of its own
  EXPECT_EQ(c.activation, Activation::kGelu);
}

TEST(Config, RobertaCountsPositionsAfterThePadRow) {
  const ModelConfig c = parsed("roberta", R"({"pad_token_id": 3})");
  EXPECT_EQ(c.position_offset, 4);
  EXPECT_EQ(c.max_positions, 8);   // of 12 rows
  EXPECT_EQ(parsed("roberta", "{}").position_offset, 2);
}

TEST(Config, ReadsActivationsAndClassifierDropout) {
  for (const auto& [name, activation] : {std::pair{"gelu", Activation::kGelu}, std::pair{"relu", Activation::kRelu},
                                         std::pair{"gelu_new", Activation::kGeluTanh}, std::pair{"gelu_pytorch_tanh", Activation::kGeluTanh}}) {
    EXPECT_EQ(parsed("bert", std::string(R"({"hidden_act": ")") + name + "\"}").activation, activation) << name;
  }
  EXPECT_EQ(parsed("bert", R"({"classifier_dropout": 0.4})").classifier_dropout, 0.4);
  EXPECT_EQ(parsed("bert", R"({"classifier_dropout": null})").classifier_dropout, 0.1);
}

TEST(Config, AcceptsKeysThatChangeNothingHere) {
  for (const char* key : {"_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version", "use_cache", "gradient_checkpointing",
                          "initializer_range", "bos_token_id", "eos_token_id", "id2label", "label2id", "num_labels", "problem_type",
                          "finetuning_task", "pooler_fc_size", "pooler_type", "directionality", "tie_word_embeddings", "output_attentions"}) {
    EXPECT_NO_THROW(parsed("bert", std::string("{\"") + key + R"(": ["anything"]})")) << key;
  }
  EXPECT_NO_THROW(parsed("bert", R"({"pruned_heads": {}, "is_decoder": false, "add_cross_attention": false, "chunk_size_feed_forward": 0,
                                      "position_embedding_type": "absolute", "is_encoder_decoder": false})"));
}

TEST(Config, RefusesEachByName) {
  const struct {
    const char *changes, *message;
  } rows[] = {
      {R"({"model_type": "bart"})", R"(/model_type: expected bert or roberta, found "bart" (did you mean 'bert'?))"},
      {R"({"hidden_size": 0})", R"(/hidden_size: expected an integer in 1..1048576, found "0")"},
      {R"({"hidden_size": "8"})", R"(/hidden_size: expected an integer in 1..1048576, found "8")"},
      {R"({"num_hidden_layers": -1})", R"(/num_hidden_layers: expected an integer in 1..1000, found "-1")"},
      {R"({"num_attention_heads": 3})", R"(/num_attention_heads: expected a divisor of hidden_size 8, found "3")"},
      {R"({"intermediate_size": 1.5})", R"(/intermediate_size: expected an integer in 1..1048576, found "1.5")"},
      {R"({"vocab_size": 99999999})", R"(/vocab_size: expected an integer in 1..16777216, found "99999999")"},
      {R"({"max_position_embeddings": 0})", R"(/max_position_embeddings: expected an integer in 1..4194304, found "0")"},
      {R"({"type_vocab_size": 0})", R"(/type_vocab_size: expected an integer in 1..65536, found "0")"},
      {R"({"pad_token_id": 13})", R"(/pad_token_id: expected an integer in 0..12, found "13")"},
      {R"({"layer_norm_eps": -1})", R"(/layer_norm_eps: expected a number in 0..1, found "-1")"},
      {R"({"hidden_dropout_prob": 1.5})", R"(/hidden_dropout_prob: expected a number in 0..1, found "1.5")"},
      {R"({"attention_probs_dropout_prob": "x"})", R"(/attention_probs_dropout_prob: expected a number in 0..1, found "x")"},
      {R"({"classifier_dropout": 2})", R"(/classifier_dropout: expected a number in 0..1, found "2")"},
      {R"({"hidden_act": "silu"})", R"(/hidden_act: expected gelu, gelu_new, gelu_pytorch_tanh or relu, found "silu")"},
      {R"({"position_embedding_type": "relative_key"})", R"(/position_embedding_type: only "absolute" is supported, found "relative_key")"},
      {R"({"is_decoder": true})", R"(/is_decoder: only "false" is supported, found "true")"},
      {R"({"add_cross_attention": true})", R"(/add_cross_attention: only "false" is supported, found "true")"},
      {R"({"is_encoder_decoder": true})", R"(/is_encoder_decoder: only "false" is supported, found "true")"},
      {R"({"chunk_size_feed_forward": 64})", R"(/chunk_size_feed_forward: only "0" is supported, found "64")"},
      {R"({"pruned_heads": {"1": [0]}})", "/pruned_heads: pruned heads are not supported"},
      {R"({"rope_scaling": null})", "/rope_scaling: unknown key"},
      {R"({"hidden_sizes": 8})", "/hidden_sizes: unknown key (did you mean 'hidden_size'?)"},
      {R"({"quantization_config": {}})", "/quantization_config: unknown key"},
  };
  for (const auto& row : rows) expect_message<InputError>([&] { parsed("bert", row.changes); }, row.message);
  expect_message<InputError>([&] { parsed("roberta", R"({"max_position_embeddings": 2})"); },
                             "/max_position_embeddings: expected more rows than pad_token_id + 1");
}

TEST(Config, ListsEveryFaultAtOnce) {
  const std::string message = message_of<InputError>([] { parse_config(parse_json(R"({"model_type": "bert", "hidden_size": 8, "rank": 1})", "c.json"), "c.json"); });
  for (const char* key : {"num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings", "type_vocab_size"}) {
    EXPECT_NE(message.find(std::string("/") + key + ": missing; expected an integer"), std::string::npos) << message;
  }
  EXPECT_NE(message.find("/rank: unknown key"), std::string::npos) << message;
}

TEST(Config, NamesTheFile) {
  const TempFolder folder;
  expect_message<InputError>([&] { load_config(folder.path()); }, "config.json");
  write_file_atomically(folder / "config.json", "{\n \"model_type\": 3}");
  expect_message<InputError>([&] { load_config(folder.path()); }, (folder / "config.json").string() + ":2:16: /model_type: expected bert or roberta");
}

}  // namespace
}  // namespace graft::testing
