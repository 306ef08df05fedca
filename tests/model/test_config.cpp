// config.json: what is read, and the message for each key that is refused.
#include "model/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "base/error.h"
#include "model/families.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_config {
namespace {

ModelConfig parsed(const std::string& family, const std::string& changes) {
  return parse_config(tiny_config(family, parse_json(changes, "changes")), "config.json");
}

TEST(Config, ReadsBert) {
  const ModelConfig c = parsed(
      "bert",
      R"({"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "pad_token_id": 4})");
  EXPECT_EQ(c.model_type, "bert");
  EXPECT_EQ(c.width, 8);
  EXPECT_EQ(c.encoder_layers(), 2);
  EXPECT_EQ(c.encoder->heads, 2);
  EXPECT_EQ(c.encoder->head_width(), 4);
  EXPECT_EQ(c.encoder->ffn_width, 12);
  EXPECT_EQ(c.vocabulary, 13);
  EXPECT_EQ(c.max_positions, 10);
  EXPECT_EQ(c.position_offset, 0);
  EXPECT_EQ(c.type_vocabulary, 2);
  EXPECT_EQ(c.pad_id, 4);
  EXPECT_EQ(c.last().norm.epsilon, 1e-5);
  EXPECT_EQ(c.hidden_dropout, 0.2);
  EXPECT_EQ(c.attention_dropout, 0.3);
  EXPECT_EQ(c.classifier_dropout, 0.2);  // as hidden_dropout_prob where it has none of its own
  EXPECT_EQ(c.last().activation, Activation::kGelu);
}

TEST(Config, RobertaCountsPositionsAfterThePadRow) {
  const ModelConfig c = parsed("roberta", R"({"pad_token_id": 3})");
  EXPECT_EQ(c.position_offset, 4);
  EXPECT_EQ(c.max_positions, 8);  // of 12 rows
  EXPECT_EQ(parsed("roberta", "{}").position_offset, 2);
}

TEST(Config, ReadsActivationsAndClassifierDropout) {
  for (const auto& [name, activation] :
       {std::pair{"gelu", Activation::kGelu}, std::pair{"relu", Activation::kRelu},
        std::pair{"gelu_new", Activation::kGeluTanh},
        std::pair{"gelu_pytorch_tanh", Activation::kGeluTanh}}) {
    EXPECT_EQ(parsed("bert", std::string(R"({"hidden_act": ")") + name + "\"}").last().activation,
              activation)
        << name;
  }
  EXPECT_EQ(parsed("bert", R"({"classifier_dropout": 0.4})").classifier_dropout, 0.4);
  EXPECT_EQ(parsed("bert", R"({"classifier_dropout": null})").classifier_dropout, 0.1);
}

TEST(Config, AcceptsKeysThatChangeNothingHere) {
  for (const char* key :
       {"_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version",
        "use_cache", "gradient_checkpointing", "initializer_range", "bos_token_id", "eos_token_id",
        "id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "pooler_fc_size",
        "pooler_type", "directionality", "output_attentions"}) {
    EXPECT_NO_THROW(parsed("bert", std::string("{\"") + key + R"(": ["anything"]})")) << key;
  }
  EXPECT_NO_THROW(parsed(
      "bert",
      R"({"pruned_heads": {}, "is_decoder": false, "add_cross_attention": false, "chunk_size_feed_forward": 0,
                                      "position_embedding_type": "absolute", "is_encoder_decoder": false})"));
}

TEST(Config, RefusesEachByName) {
  const struct {
    const char *changes, *message;
  } rows[] = {
      {R"({"model_type": "berd"})", R"(, found "berd" (did you mean 'bert'?))"},
      {R"({"hidden_size": 0})", R"(/hidden_size: expected an integer in 1..1048576, found "0")"},
      {R"({"hidden_size": "8"})", R"(/hidden_size: expected an integer in 1..1048576, found "8")"},
      {R"({"num_hidden_layers": -1})",
       R"(/num_hidden_layers: expected an integer in 1..1000, found "-1")"},
      {R"({"num_attention_heads": 3})",
       R"(/num_attention_heads: expected a divisor of hidden_size 8, found "3")"},
      {R"({"intermediate_size": 1.5})",
       R"(/intermediate_size: expected an integer in 1..1048576, found "1.5")"},
      {R"({"vocab_size": 99999999})",
       R"(/vocab_size: expected an integer in 1..16777216, found "99999999")"},
      {R"({"max_position_embeddings": 0})",
       R"(/max_position_embeddings: expected an integer in 1..4194304, found "0")"},
      {R"({"type_vocab_size": 0})",
       R"(/type_vocab_size: expected an integer in 1..65536, found "0")"},
      {R"({"pad_token_id": 13})", R"(/pad_token_id: expected an integer in -1..12, found "13")"},
      {R"({"layer_norm_eps": -1})", R"(/layer_norm_eps: expected a number in 0..1, found "-1")"},
      {R"({"hidden_dropout_prob": 1.5})",
       R"(/hidden_dropout_prob: expected a number in 0..1, found "1.5")"},
      {R"({"attention_probs_dropout_prob": "x"})",
       R"(/attention_probs_dropout_prob: expected a number in 0..1, found "x")"},
      {R"({"classifier_dropout": 2})",
       R"(/classifier_dropout: expected a number in 0..1, found "2")"},
      {R"({"hidden_act": "silu"})",
       R"(/hidden_act: expected gelu, gelu_new, gelu_pytorch_tanh or relu, found "silu")"},
      {R"({"position_embedding_type": "relative_key"})",
       "/position_embedding_type: another value than absolute changes what the model computes and "
       "is not supported, found "
       "\"relative_key\""},
      {R"({"is_decoder": true})", "/is_decoder: another value than false changes"},
      {R"({"add_cross_attention": true})",
       "/add_cross_attention: another value than false changes"},
      {R"({"is_encoder_decoder": true})", "/is_encoder_decoder: another value than false changes"},
      {R"({"chunk_size_feed_forward": 64})",
       "/chunk_size_feed_forward: another value than 0 changes"},
      {R"({"pruned_heads": {"1": [0]}})", "/pruned_heads: another value than {} changes"},
      {R"({"rope_theta": 10000})", "/rope_theta: unknown key"},
      {R"({"hidden_sizes": 8})", "/hidden_sizes: unknown key (did you mean 'hidden_size'?)"},
      {R"({"quantization_config": {}})", "/quantization_config: another value than null changes"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { parsed("bert", row.changes); }, row.message);
  expect_message<InputError>([&] { parsed("roberta", R"({"max_position_embeddings": 2})"); },
                             "/max_position_embeddings: expected more rows than pad_token_id + 1");
}

TEST(Config, ReadsBart) {
  const ModelConfig c = parsed(
      "bart",
      R"({"dropout": 0.2, "attention_dropout": 0.3, "activation_dropout": 0.4, "classifier_dropout": 0.5, "scale_embedding": true,
                                            "decoder_layers": 3, "pad_token_id": 4, "decoder_start_token_id": 5})");
  EXPECT_EQ(std::pair(c.encoder_layers(), c.decoder_layers()), std::pair(int64_t{2}, int64_t{3}));
  EXPECT_EQ(c.decoder->attention_width, 8);
  EXPECT_EQ(c.decoder->key_heads, 2);
  EXPECT_EQ(c.max_positions, 10);
  EXPECT_EQ(c.position_offset, 2);
  EXPECT_EQ(c.type_vocabulary, 0);
  EXPECT_EQ(c.pad_id, 4);
  EXPECT_EQ(c.decoder_start_id, 5);
  EXPECT_EQ(c.last().norm.epsilon, 1e-5);
  EXPECT_EQ(std::tuple(c.hidden_dropout, c.embed_dropout, c.attention_dropout, c.activation_dropout,
                       c.classifier_dropout),
            std::tuple(0.2, 0.2, 0.3, 0.4, 0.5));
  EXPECT_EQ(c.embedding_scale, std::sqrt(8.0));
  EXPECT_EQ(c.encoder->attention_scale, 0.5);
  EXPECT_TRUE(c.last().has_attention_bias && c.last().has_ffn_bias && c.has_tied_output);
  for (const StackConfig* stack : {&*c.encoder, &*c.decoder}) {
    EXPECT_EQ(stack->norm_place, NormPlace::kAfter);
    EXPECT_TRUE(stack->embed_norm && !stack->final_norm && !stack->has_gated_ffn);
    EXPECT_EQ(stack->norm.kind, Norm::kLayer);
  }
}

TEST(Config, ReadsT5) {
  const ModelConfig plain = parsed("t5", R"({"dropout_rate": 0.3})");
  EXPECT_EQ(plain.encoder, plain.decoder);
  EXPECT_EQ(plain.decoder->head_width(), 3);
  EXPECT_EQ(plain.decoder->attention_width, 6);  // of a width of 8
  EXPECT_EQ(plain.decoder->key_width(), 6);
  EXPECT_EQ(plain.max_positions, ModelConfig::kAnyLength);
  EXPECT_EQ(plain.encoder->positions, Positions(DistanceBias{4, 8}));
  EXPECT_EQ(std::tuple(plain.hidden_dropout, plain.embed_dropout, plain.attention_dropout,
                       plain.activation_dropout),
            std::tuple(0.3, 0.3, 0.3, 0.3));
  EXPECT_EQ(plain.decoder->attention_scale, 1.0);
  EXPECT_EQ(plain.output_scale, 1 / std::sqrt(8.0));
  const StackConfig& stack = *plain.encoder;
  EXPECT_EQ(stack.activation, Activation::kRelu);
  EXPECT_EQ(stack.norm, (NormConfig{Norm::kRootMeanSquare, 1e-6, false}));
  EXPECT_EQ(stack.norm_place, NormPlace::kBefore);
  EXPECT_EQ(stack.final_norm, stack.norm);
  EXPECT_TRUE(stack.drops_last_states && !stack.embed_norm && plain.has_tied_output);
  EXPECT_FALSE(stack.has_gated_ffn || stack.has_attention_bias || stack.has_ffn_bias);
  EXPECT_EQ(parsed("t5", R"({"num_decoder_layers": null})").decoder_layers(), 2);

  const ModelConfig gated = parsed(
      "t5",
      R"({"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": true, "tie_word_embeddings": false})");
  EXPECT_TRUE(gated.last().has_gated_ffn);
  EXPECT_FALSE(gated.has_tied_output);
  EXPECT_EQ(gated.output_scale, 1.0);
  EXPECT_EQ(gated.last().activation, Activation::kGeluTanh);
  const ModelConfig multilingual = parsed("mt5", "{}");
  EXPECT_TRUE(multilingual.last().has_gated_ffn);
  EXPECT_FALSE(multilingual.has_tied_output);
}

TEST(Config, ReadsGpt2) {
  const ModelConfig c = parsed(
      "gpt2", R"({"embd_pdrop": 0.2, "resid_pdrop": 0.3, "attn_pdrop": 0.4, "n_inner": null})");
  EXPECT_EQ(std::pair(c.encoder_layers(), c.decoder_layers()), std::pair(int64_t{0}, int64_t{2}));
  EXPECT_EQ(c.decoder->ffn_width, 32);
  EXPECT_EQ(c.max_positions, 10);
  EXPECT_EQ(std::tuple(c.embed_dropout, c.hidden_dropout, c.attention_dropout),
            std::tuple(0.2, 0.3, 0.4));
  EXPECT_EQ(c.last().activation, Activation::kGeluTanh);
  EXPECT_EQ(c.decoder->norm_place, NormPlace::kBefore);
  EXPECT_TRUE(c.decoder->final_norm && !c.decoder->embed_norm && !c.decoder->drops_last_states);
  EXPECT_TRUE(c.has_tied_output && c.decoder->has_attention_bias);
}

TEST(Config, ReadsLlama) {
  const ModelConfig c = parsed(
      "llama",
      R"({"head_dim": 6, "rope_theta": 5000, "attention_bias": true, "tie_word_embeddings": true, "pad_token_id": -1})");
  EXPECT_EQ(std::pair(c.encoder_layers(), c.decoder_layers()), std::pair(int64_t{0}, int64_t{2}));
  EXPECT_EQ(c.decoder->attention_width, 12);
  EXPECT_EQ(c.decoder->key_width(), 6);
  EXPECT_EQ(c.decoder->attention_scale, 1 / std::sqrt(6.0));
  EXPECT_EQ(c.decoder->positions, Positions(Rotary{5000, {}}));
  EXPECT_EQ(c.last().activation, Activation::kSilu);
  EXPECT_EQ(c.pad_id, 0);
  EXPECT_EQ(c.decoder->norm_place, NormPlace::kBefore);
  EXPECT_EQ(c.decoder->norm.kind, Norm::kRootMeanSquare);
  EXPECT_TRUE(c.decoder->has_gated_ffn && c.decoder->has_attention_bias && c.has_tied_output);
  EXPECT_FALSE(c.decoder->has_ffn_bias);
  const RotaryScaling scaling =
      parsed(
          "llama",
          R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1.5, "high_freq_factor": 4.5,
                                                   "original_max_position_embeddings": 5}})")
          .decoder->rotary()
          ->scaling;
  EXPECT_EQ(std::tuple(scaling.kind, scaling.factor, scaling.low_frequency_factor,
                       scaling.high_frequency_factor, scaling.original_positions),
            std::tuple(std::string("llama3"), 8.0, 1.5, 4.5, int64_t{5}));
  EXPECT_EQ(parsed("llama", R"({"rope_scaling": {"type": "linear", "factor": 2}})")
                .decoder->rotary()
                ->scaling.factor,
            2);
}

TEST(Config, ReadsModernBert) {
  const ModelConfig c = parsed("modernbert", R"({"num_hidden_layers": 4, "norm_eps": 1e-4})");
  const StackConfig& stack = *c.encoder;
  EXPECT_FALSE(c.has_decoder());
  EXPECT_EQ(stack.norm, (NormConfig{Norm::kLayer, 1e-4, false}));
  EXPECT_EQ(std::tuple(stack.embed_norm, stack.final_norm, stack.head_norm),
            std::tuple(std::optional(stack.norm), std::optional(stack.norm),
                       std::optional<NormConfig>()));
  EXPECT_EQ(stack.norm_place, NormPlace::kBefore);
  EXPECT_FALSE(stack.has_attention_norm(0));
  EXPECT_TRUE(stack.has_attention_norm(1));
  EXPECT_EQ(stack.positions, Positions(Rotary{160000, {}}));
  EXPECT_EQ(stack.local, (LocalAttention{2, {false, true, false, true}, Rotary{10000, {}}}));
  EXPECT_EQ(stack.activation, Activation::kGelu);
  EXPECT_TRUE(stack.has_gated_ffn && c.has_tied_output);
  EXPECT_FALSE(stack.has_ffn_bias || stack.has_attention_bias || stack.has_attention_output_bias);
  EXPECT_EQ(c.mask_head, (MaskHeadConfig{Activation::kGelu, stack.norm, false, true}));
  EXPECT_EQ(std::tuple(c.read_row, c.head_style, c.type_vocabulary),
            std::tuple(ReadRow::kFirst, HeadStyle::kMaskStates, int64_t{0}));
  EXPECT_EQ(std::tuple(c.embed_dropout, c.hidden_dropout, c.attention_dropout, c.activation_dropout,
                       c.classifier_dropout),
            std::tuple(0.0, 0.0, 0.0, 0.0, 0.0));

  const ModelConfig other = parsed(
      "modernbert",
      R"({"attention_bias": true, "mlp_bias": true, "norm_bias": true, "decoder_bias": false, "classifier_bias": true,
          "classifier_activation": "relu", "classifier_pooling": "mean", "hidden_activation": "silu", "local_rope_theta": null,
          "local_attention": 7, "global_rope_theta": 20, "mlp_dropout": 0.1, "embedding_dropout": 0.2, "classifier_dropout": 0.3})");
  EXPECT_TRUE(other.encoder->norm.has_bias && other.encoder->has_ffn_bias &&
              other.encoder->has_attention_bias && other.encoder->has_attention_output_bias);
  EXPECT_EQ(other.mask_head, (MaskHeadConfig{Activation::kRelu, other.encoder->norm, true, false}));
  EXPECT_EQ(other.encoder->local, (LocalAttention{3, {false, true}, Rotary{20, {}}}));
  EXPECT_EQ(other.read_row, ReadRow::kMean);
  EXPECT_EQ(std::tuple(other.embed_dropout, other.activation_dropout, other.classifier_dropout),
            std::tuple(0.2, 0.1, 0.3));
  EXPECT_EQ(parsed("modernbert", R"({"global_attn_every_n_layers": 1})").encoder->local,
            std::nullopt);
}

// transformers 5 says it block by block, and both bases in one section.
TEST(Config, ReadsModernBertOfTransformers5) {
  const ModelConfig c = parsed(
      "modernbert",
      R"({"layer_types": ["sliding_attention", "full_attention"], "global_attn_every_n_layers": 3,
          "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 50.0},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 5.0}}})");
  EXPECT_EQ(c.encoder->positions, Positions(Rotary{50, {}}));
  EXPECT_EQ(c.encoder->local, (LocalAttention{2, {true, false}, Rotary{5, {}}}));
}

TEST(Config, RefusesWhatModernBertCannotBe) {
  const struct {
    const char *changes, *message;
  } rows[] = {
      {R"({"attention_dropout": 0.1})", "/attention_dropout: another value than 0"},
      {R"({"is_causal": true})", "/is_causal: another value than false"},
      {R"({"classifier_pooling": "max"})", R"(/classifier_pooling: expected cls or mean)"},
      {R"({"hidden_activation": "gelu_fast"})", "/hidden_activation: expected"},
      {R"({"local_attention": 0})", "/local_attention: expected"},
      {R"({"num_attention_heads": 8})", "rotary positions take heads of even width, found \"1\""},
      {R"({"layer_types": ["full_attention"]})",
       "/layer_types: expected one for each of the 2 layers, found 1"},
      {R"({"layer_types": ["full_attention", "chunked_attention"]})",
       R"(/layer_types: expected "full_attention" or "sliding_attention", found "chunked_attention")"},
      {R"({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}})",
       R"(only "default" is supported, found "yarn")"},
      {R"({"global_rope_theta": 7, "rope_parameters": {"full_attention": {"rope_theta": 8}}})",
       "/global_rope_theta: expected 8 as in rope_parameters"},
      {R"({"rope_scaling": {"type": "linear", "factor": 2}})", "/rope_scaling: unknown key"},
      {R"({"pad_token_id": 13})", "/pad_token_id: expected"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.changes);
    expect_message<InputError>([&] { parsed("modernbert", row.changes); }, row.message);
  }
}

TEST(Config, ReadsStacksOfDifferentShapes) {
  const ModelConfig c = parsed(
      "bart", R"({"decoder_attention_heads": 4, "decoder_ffn_dim": 16, "decoder_layers": 1})");
  EXPECT_EQ(std::tuple(c.encoder->layers, c.encoder->heads, c.encoder->ffn_width),
            std::tuple(int64_t{2}, int64_t{2}, int64_t{12}));
  EXPECT_EQ(std::tuple(c.decoder->layers, c.decoder->heads, c.decoder->ffn_width),
            std::tuple(int64_t{1}, int64_t{4}, int64_t{16}));
  EXPECT_EQ(c.decoder->attention_scale, 1 / std::sqrt(2.0));
  EXPECT_EQ(parsed("t5", R"({"num_decoder_layers": 5})").decoder->layers, 5);
}

TEST(Config, OfRotaryPositionsOfAnUnknownTypeNothingElseIsJudged) {
  const std::string message = message_of<InputError>([] {
    parsed("llama", R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "beta_fast": 32}})");
  });
  EXPECT_NE(message.find("found \"yarn\""), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

// The keys of transformers 5 say what the old ones say.
TEST(Config, ReadsRopeParameters) {
  const struct {
    const char *now, *before;
  } rows[] = {
      {R"({"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}})",
       R"({"rope_theta": 500000.0})"},
      {R"({"rope_parameters": {"rope_theta": 500000.0}})", R"({"rope_theta": 500000.0})"},
      {R"({"rope_parameters": null, "rope_theta": 300})",
       R"({"rope_theta": 300, "rope_scaling": null})"},
      {R"({"rope_parameters": {"rope_theta": 7, "rope_type": "linear", "factor": 2}})",
       R"({"rope_theta": 7, "rope_scaling": {"type": "linear", "factor": 2}})"},
      {R"({"rope_parameters": {"rope_theta": 7, "rope_type": "dynamic", "factor": 2.5}, "rope_theta": 7.0})",
       R"({"rope_theta": 7, "rope_scaling": {"rope_type": "dynamic", "factor": 2.5}})"},
      {R"({"rope_parameters": {"factor": 8, "high_freq_factor": 4, "low_freq_factor": 1, "rope_type": "llama3",
           "original_max_position_embeddings": 5, "rope_theta": 5e5}})",
       R"({"rope_theta": 500000, "rope_scaling": {"factor": 8, "high_freq_factor": 4, "low_freq_factor": 1, "type": "llama3",
           "rope_type": "llama3", "original_max_position_embeddings": 5}})"},
      {R"({"rope_parameters": {"factor": 8, "high_freq_factor": 4, "low_freq_factor": 1, "rope_type": "llama3"}})",
       R"({"rope_scaling": {"factor": 8, "high_freq_factor": 4, "low_freq_factor": 1, "rope_type": "llama3",
           "original_max_position_embeddings": 10}})"},
  };
  for (const std::string family : {"llama", "mistral", "qwen2"}) {
    for (const auto& row : rows) {
      const ModelConfig now = parsed(family, row.now), before = parsed(family, row.before);
      EXPECT_EQ(now.decoder->positions, before.decoder->positions) << row.now;
    }
  }
}

// Who wrote the file decides what tie_word_embeddings and the scale of T5's output mean.
TEST(Config, ReadsTheOutputLayerAsItsWriterMeansIt) {
  const double scale = 1 / std::sqrt(8.0);
  const struct {
    const char *family, *changes;
    bool is_tied, may_be_untied;
    double scale;
  } rows[] = {
      {"t5", R"({})", true, false, scale},
      {"t5", R"({"tie_word_embeddings": false})", false, false, 1},
      {"t5", R"({"transformers_version": "4.57.6", "tie_word_embeddings": true})", true, false,
       scale},
      {"t5",
       R"({"transformers_version": "5.24.0", "tie_word_embeddings": true, "scale_decoder_outputs": true})",
       true, true, scale},
      {"t5",
       R"({"transformers_version": "5.24.0", "tie_word_embeddings": true, "scale_decoder_outputs": false})",
       true, true, 1},
      {"mt5", R"({"transformers_version": "4.57.6", "tie_word_embeddings": true})", true, false,
       scale},
      {"mt5", R"({"transformers_version": "5.0.0.dev0", "tie_word_embeddings": true})", true, true,
       1},
      {"mt5", R"({"tie_word_embeddings": false, "scale_decoder_outputs": false})", false, false, 1},
      {"llama", R"({"transformers_version": "5.1.0", "tie_word_embeddings": true})", true, true, 1},
      {"llama", R"({"transformers_version": "5.1.0", "tie_word_embeddings": false})", false, false,
       1},
      {"gpt2", R"({"tie_word_embeddings": false})", false, false, 1},
      {"bart", R"({"transformers_version": "5.1.0"})", true, true, 1},
  };
  for (const auto& row : rows) {
    const ModelConfig c = parsed(row.family, row.changes);
    EXPECT_EQ(c.has_tied_output, row.is_tied) << row.family << row.changes;
    EXPECT_EQ(c.may_be_untied, row.may_be_untied) << row.family << row.changes;
    EXPECT_EQ(c.output_scale, row.scale) << row.family << row.changes;
  }
  expect_message<InputError>([] { parsed("mt5", R"({"scale_decoder_outputs": true})"); },
                             "/scale_decoder_outputs: another value");
}

TEST(Config, ServesTextsWithinAWindow) {
  EXPECT_EQ(
      parsed("llama", R"({"max_position_embeddings": 9000, "sliding_window": 4})").max_positions,
      4);
  EXPECT_EQ(
      parsed(
          "llama",
          R"({"max_position_embeddings": 9000, "sliding_window": 4, "use_sliding_window": false})")
          .max_positions,
      9000);
  EXPECT_EQ(parsed("mistral", R"({"max_position_embeddings": 9000})").max_positions,
            4096);  // what transformers takes
  EXPECT_EQ(parsed("mistral", R"({"max_position_embeddings": 9000, "sliding_window": null})")
                .max_positions,
            9000);
  EXPECT_EQ(
      parsed("qwen2", R"({"max_position_embeddings": 9000, "sliding_window": 4})").max_positions,
      9000);
}

TEST(Config, NeedsNoPaddingId) {
  for (const std::string family :
       {"bert", "bart", "t5", "mt5", "gpt2", "llama", "mistral", "qwen2"}) {
    EXPECT_GE(parsed(family, R"({"pad_token_id": null})").pad_id, 0) << family;
    EXPECT_EQ(parsed(family, R"({"pad_token_id": -1})").pad_id, 0) << family;
  }
}

TEST(Config, RefusesEachOfOtherFamiliesByName) {
  const struct {
    const char *family, *changes, *message;
  } rows[] = {
      {"bart", R"({"encoder_attention_heads": 3})",
       R"(/encoder_attention_heads: expected a divisor of d_model 8, found "3")"},
      {"bart", R"({"decoder_attention_heads": 3})",
       R"(/decoder_attention_heads: expected a divisor of d_model 8, found "3")"},
      {"bart", R"({"decoder_layerdrop": 0.1})",
       "/decoder_layerdrop: another value than 0 or 0.0 changes"},
      {"bart", R"({"normalize_before": true})",
       "/normalize_before: another value than false changes"},
      {"bart", R"({"normalize_embedding": false})",
       "/normalize_embedding: another value than true changes"},
      {"bart", R"({"extra_pos_embeddings": 0})",
       "/extra_pos_embeddings: another value than 2 changes"},
      {"bart", R"({"tie_word_embeddings": false})",
       R"(/tie_word_embeddings: only "true" is supported, found "false")"},
      {"roberta", R"({"pad_token_id": null})",
       "/pad_token_id: expected a token id: positions of a roberta model"},
      {"bart", R"({"hidden_size": 8})", "/hidden_size: unknown key"},
      {"t5", R"({"feed_forward_proj": "gated-tanh"})",
       R"(/feed_forward_proj: expected relu, gated-gelu or gated-silu, found "gated-tanh")"},
      {"t5", R"({"dense_act_fn": "silu"})",
       R"(/dense_act_fn: only "relu" is supported, found "silu")"},
      {"t5", R"({"is_gated_act": true})",
       R"(/is_gated_act: only "false" is supported, found "true")"},
      {"t5", R"({"scalable_attention": true})", "/scalable_attention: unknown key"},
      {"t5", R"({"relative_attention_num_buckets": 3})",
       R"(/relative_attention_num_buckets: expected an integer in 4..65536, found "3")"},
      {"t5", R"({"relative_attention_num_buckets": 9, "relative_attention_max_distance": 4})",
       "/relative_attention_max_distance: expected more than half of "
       "relative_attention_num_buckets 9, found \"4\""},
      {"gpt2", R"({"scale_attn_by_inverse_layer_idx": true})",
       "/scale_attn_by_inverse_layer_idx: another value than false changes"},
      {"gpt2", R"({"scale_attn_weights": false})",
       "/scale_attn_weights: another value than true changes"},
      {"gpt2", R"({"scale_attn_weights": null})",
       "/scale_attn_weights: another value than true changes"},  // as good as false
      {"gpt2", R"({"n_head": 3})", R"(/n_head: expected a divisor of n_embd 8, found "3")"},
      {"llama", R"({"num_key_value_heads": 3})",
       R"(/num_key_value_heads: expected a divisor of num_attention_heads 2, found "3")"},
      {"llama", R"({"head_dim": 3})",
       R"(/head_dim: rotary positions take heads of even width, found "3")"},
      {"llama", R"({"rope_scaling": {"rope_type": "yarn", "factor": 2}})",
       R"(/rope_scaling/rope_type: expected default, linear, dynamic or llama3, found "yarn")"},
      {"llama", R"({"rope_scaling": {"rope_type": "linear"}})",
       "/rope_scaling/factor: missing; expected a number"},
      {"llama", R"({"rope_scaling": {"rope_type": "linear", "factor": 2, "beta_fast": 32}})",
       "/rope_scaling/beta_fast: unknown key"},
      {"llama",
       R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}})",
       R"(/rope_scaling/high_freq_factor: expected more than low_freq_factor 4, found "1")"},
      {"llama",
       R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 1}})",
       R"(/rope_scaling/high_freq_factor: expected more than low_freq_factor 1, found "1")"},
      {"llama", R"({"rope_scaling": {"rope_type": "default", "factor": 2}})",
       "/rope_scaling/factor: positions of rope_type default are not stretched; expected 1"},
      {"llama", R"({"rope_parameters": {"rope_type": "longrope", "rope_theta": 10000}})",
       R"(/rope_parameters/rope_type: expected default, linear, dynamic or llama3, found "longrope")"},
      {"llama", R"({"rope_parameters": {"rope_theta": 1e5, "partial_rotary_factor": 0.5}})",
       "/rope_parameters/partial_rotary_factor: heads of which only a part turns are not "
       "supported; expected 1"},
      {"llama", R"({"rope_parameters": {"full_attention": {"rope_theta": 1e5}}})",
       "/rope_parameters/full_attention: unknown key"},
      {"llama", R"({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e5}})",
       R"(/rope_theta: expected 1e+05 as in rope_parameters, found "10000")"},
      {"llama",
       R"({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"type": "linear", "factor": 3}})",
       "/rope_scaling: expected the same as rope_parameters says"},
      {"llama", R"({"partial_rotary_factor": 0.5})",
       "/partial_rotary_factor: another value than 1 or 1.0 changes"},
      {"llama", R"({"rope_interleaved": true})",
       "/rope_interleaved: another value than false changes"},
      {"qwen2", R"({"use_mrope": true})", "/use_mrope: another value than false changes"},
      {"llama", R"({"pretraining_tp": 2})", "/pretraining_tp: another value than 1 changes"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { parsed(row.family, row.changes); }, row.message);
}

TEST(Config, IsReadOfAFolderOrAFile) {
  for (const std::string& family : known_families()) {
    const TempFolder folder;
    write_file_atomically(folder / "config.json", to_json(tiny_config(family)));
    EXPECT_EQ(read_config(folder.path()).model_type, family);
    EXPECT_EQ(read_config(folder / "config.json").model_type, family);
  }
}

TEST(Config, ListsEveryFaultAtOnce) {
  const std::string message = message_of<InputError>([] {
    parse_config(parse_json(R"({"model_type": "bert", "hidden_size": 8, "rank": 1})", "c.json"),
                 "c.json");
  });
  for (const char* key : {"num_hidden_layers", "num_attention_heads", "intermediate_size",
                          "vocab_size", "max_position_embeddings", "type_vocab_size"}) {
    EXPECT_NE(message.find(std::string("/") + key + ": missing; expected an integer"),
              std::string::npos)
        << message;
  }
  EXPECT_NE(message.find("/rank: unknown key"), std::string::npos) << message;
}

TEST(Config, NamesTheFile) {
  const TempFolder folder;
  expect_message<InputError>([&] { read_config(folder.path()); }, "config.json");
  write_file_atomically(folder / "config.json", "{\n \"model_type\": 3}");
  expect_message<InputError>(
      [&] { read_config(folder.path()); },
      (folder / "config.json").string() + ":2:16: /model_type: expected bert, roberta, ");
}

}  // namespace
}  // namespace graft::testing::test_config
