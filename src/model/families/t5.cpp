// T5 (Raffel et al. 2020, arXiv:1910.10683) and mT5 (Xue et al. 2021, arXiv:2010.11934): pre-norm
// encoder and decoder whose attention has a bias by distance. Version 1.1 and mT5 have a gated FFN
// and an output layer of their own.
#include <cmath>

#include "base/error.h"
#include "model/families/all.h"
#include "model/families/config_reader.h"
#include "model/families/names.h"

namespace graft {

namespace {

// One sublayer of a block of T5: its own norm stands beside it.
CheckpointNames t5_attention(StackId stack, const AttentionParts& ours, const std::string& layer,
                             const std::string& kind) {
  return without_biases({{in_stack(stack, ours.q), layer + "." + kind + ".q"},
                         {in_stack(stack, ours.k), layer + "." + kind + ".k"},
                         {in_stack(stack, ours.v), layer + "." + kind + ".v"},
                         {in_stack(stack, ours.o), layer + "." + kind + ".o"},
                         {in_stack(stack, ours.norm), layer + ".layer_norm"}});
}

CheckpointNames t5_ffn(StackId stack, const std::string& layer, bool is_gated) {
  const std::string dense = layer + ".DenseReluDense.";
  CheckpointNames names;
  if (is_gated) append(names, without_biases({{in_stack(stack, Part::kFfnGate), dense + "wi_0"}}));
  append(names, without_biases({{in_stack(stack, Part::kFfnUp), dense + (is_gated ? "wi_1" : "wi")},
                                {in_stack(stack, Part::kFfnDown), dense + "wo"},
                                {in_stack(stack, Part::kFfnNorm), layer + ".layer_norm"}}));
  return names;
}

CheckpointNames t5_names(bool is_gated) {
  const std::string relative = ".block.0.layer.0.SelfAttention.relative_attention_bias";
  const std::string encoder = "encoder.block.#.layer.", decoder = "decoder.block.#.layer.";
  CheckpointNames names = without_biases(
      {{trunk(Part::kEmbedWord), "shared"}, {enc(Part::kDistance), "encoder" + relative}});
  append(names, t5_attention(StackId::kEncoder, kOwnAttention, encoder + "0", "SelfAttention"));
  append(names, t5_ffn(StackId::kEncoder, encoder + "1", is_gated));
  append(names, without_biases({{enc(Part::kNorm), "encoder.final_layer_norm"},
                                {dec(Part::kDistance), "decoder" + relative}}));
  append(names, t5_attention(StackId::kDecoder, kOwnAttention, decoder + "0", "SelfAttention"));
  append(names, t5_attention(StackId::kDecoder, kCrossAttention, decoder + "1", "EncDecAttention"));
  append(names, t5_ffn(StackId::kDecoder, decoder + "2", is_gated));
  append(names, without_biases({{dec(Part::kNorm), "decoder.final_layer_norm"},
                                {trunk(Part::kLm), "lm_head"}}));
  return names;
}

// Both stacks share the two numbers: four buckets leave an encoder, which halves them for keys that
// come later, an exact one, and a decoder has exact ones for distances below half of all.
DistanceBias read_distance_bias(Options& options) {
  const char *const buckets = "relative_attention_num_buckets",
                    *const farthest = "relative_attention_max_distance";
  const DistanceBias bias{options.integer(buckets, 32, 4, 1 << 16),
                          options.integer(farthest, 128, 2, kMaxPositions)};
  const bool is_read = !options.is_faulty(buckets) && !options.is_faulty(farthest);
  if (is_read && bias.max_distance <= bias.buckets / 2) {
    options.fault(farthest, std::string("expected more than half of ") + buckets + " " +
                                std::to_string(bias.buckets) + ", found " +
                                quote(std::to_string(bias.max_distance)));
  }
  return bias;
}

// Version 1.0 scales what enters the output layer, and says so by tying it to the word table.
// transformers 5 ties the two in every file that it writes and has a key for the scale instead; of
// mT5 it never scales.
void read_t5_output(Options& options, ModelConfig& c) {
  const bool is_multilingual = c.model_type == "mt5";
  read_output(options, c, !is_multilingual || is_of_transformers_5(options));
  bool is_scaled = c.has_tied_output;
  if (is_multilingual) is_scaled = is_scaled && !is_of_transformers_5(options);
  else is_scaled = options.boolean("scale_decoder_outputs", is_scaled);
  if (is_scaled) c.output_scale = 1.0 / std::sqrt(static_cast<double>(c.width));
}

void read_t5(Options& options, ModelConfig& c) {
  const bool is_multilingual = c.model_type == "mt5";
  c.width = options.integer("d_model", std::nullopt, 1, kMaxWidth);
  StackConfig stack = read_stack(options, {"num_layers", "num_heads", "d_ff"});
  stack.attention_width = stack.heads * options.integer("d_kv", std::nullopt, 1, kMaxWidth);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = ModelConfig::kAnyLength;
  stack.positions = read_distance_bias(options);
  c.read_row = ReadRow::kLastEnd;
  c.head_style = HeadStyle::kDense;
  read_pad_id(options, c, 0);
  read_end_id(options, c, 1);
  c.decoder_start_id =
      integer_or(options, "decoder_start_token_id", 0, 0, std::max<int64_t>(1, c.vocabulary - 1));
  stack.norm_place = NormPlace::kBefore;
  stack.norm = {Norm::kRootMeanSquare, options.number("layer_norm_epsilon", 1e-6, 0, 1), false};
  stack.final_norm = stack.norm;
  stack.drops_last_states = true;
  c.embed_dropout = c.hidden_dropout = c.attention_dropout = c.activation_dropout =
      dropout_rate(options, "dropout_rate", 0.1);
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", 0);
  const std::string ffn =
      options.choice("feed_forward_proj", is_multilingual ? "gated-gelu" : "relu",
                     {"relu", "gated-gelu", "gated-silu"});
  const bool is_gated = stack.has_gated_ffn = ffn.starts_with("gated-");
  stack.activation = ffn == "gated-gelu" ? Activation::kGeluTanh
                                         : parse_activation(is_gated ? ffn.substr(6) : ffn);
  // What transformers derives from feed_forward_proj and writes beside it.
  require_value(options, "dense_act_fn",
                ffn == "gated-gelu" ? "gelu_new"
                : is_gated          ? ffn.substr(6)
                                    : ffn);
  require_value(options, "is_gated_act", is_gated ? "true" : "false");
  stack.has_attention_bias = stack.has_attention_output_bias = stack.has_ffn_bias = false;
  c.encoder = c.decoder = stack;
  c.decoder->layers = integer_or(options, "num_decoder_layers", stack.layers, 1, kMaxLayers);
  read_t5_output(options, c);
}

Family t5_family(const std::string& model_type, bool is_gated) {
  std::vector<KeyRule> keys = {{{"is_encoder_decoder"}, {"true"}},
                               {{"n_positions"}}};  // a bias by distance has no longest text
  if (model_type == "mt5") keys.push_back({{"scale_decoder_outputs"}, {"false"}});
  return {.model_type = model_type,
          .read_config = read_t5,
          .keys = std::move(keys),
          .has_gated_ffn = is_gated,
          .prefixes = {"transformer.", ""},
          .names = t5_names(is_gated),
          .copies = stack_tables(),
          // Of old checkpoints: a table that the decoder never reads.
          .unused = {"classification_head.", "heads.",
                     "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias."},
          .classifier_class =
              model_type == "t5" ? "T5ForSequenceClassification" : "MT5ForSequenceClassification",
          .head_names = dense_of_encoder_decoder(),
          .peft = model_type == "t5" ? PeftDefaults{{"q", "v"}, {"k", "v", "wo"}, {"wo"}}
                                     : PeftDefaults{{"q", "v"}, {"k", "v", "wi_1"}, {}}};
}

}  // namespace

std::vector<Family> t5_families() {
  return {t5_family("t5", false), t5_family("t5", true), t5_family("mt5", true),
          t5_family("mt5", false)};
}

}  // namespace graft
