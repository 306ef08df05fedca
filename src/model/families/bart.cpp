// BART (Lewis et al. 2020, arXiv:1910.13461): post-norm encoder and decoder with position tables
// and norms of their own, which share the word table. A classifier reads the decoder's last end
// token, the text behind a start token.
#include <cmath>

#include "model/families/all.h"
#include "model/families/config_reader.h"
#include "model/families/names.h"

namespace graft {

namespace {

CheckpointNames bart_attention(StackId stack, const AttentionParts& ours,
                               const std::string& theirs) {
  return with_biases({{in_stack(stack, ours.q), theirs + ".q_proj"},
                      {in_stack(stack, ours.k), theirs + ".k_proj"},
                      {in_stack(stack, ours.v), theirs + ".v_proj"},
                      {in_stack(stack, ours.o), theirs + ".out_proj"},
                      {in_stack(stack, ours.norm), theirs + "_layer_norm"}});
}

CheckpointNames bart_ffn(StackId stack, const std::string& theirs) {
  return with_biases({{in_stack(stack, Part::kFfnUp), theirs + ".fc1"},
                      {in_stack(stack, Part::kFfnDown), theirs + ".fc2"},
                      {in_stack(stack, Part::kFfnNorm), theirs + ".final_layer_norm"}});
}

CheckpointNames bart_names() {
  CheckpointNames names =
      without_biases({{trunk(Part::kEmbedWord), "shared"},
                      {trunk(Part::kEmbedPosition), "encoder.embed_positions"}});
  append(names, with_biases({{trunk(Part::kEmbedNorm), "encoder.layernorm_embedding"}}));
  append(names, bart_attention(StackId::kEncoder, kOwnAttention, "encoder.layers.#.self_attn"));
  append(names, bart_ffn(StackId::kEncoder, "encoder.layers.#"));
  append(names, without_biases({{dec(Part::kEmbedPosition), "decoder.embed_positions"}}));
  append(names, with_biases({{dec(Part::kEmbedNorm), "decoder.layernorm_embedding"}}));
  append(names, bart_attention(StackId::kDecoder, kOwnAttention, "decoder.layers.#.self_attn"));
  append(names,
         bart_attention(StackId::kDecoder, kCrossAttention, "decoder.layers.#.encoder_attn"));
  append(names, bart_ffn(StackId::kDecoder, "decoder.layers.#"));
  append(names, without_biases({{trunk(Part::kLm), "lm_head"}}));
  return names;
}

void read_bart(Options& options, ModelConfig& c) {
  const StackKeys encoder{"encoder_layers", "encoder_attention_heads", "encoder_ffn_dim",
                          "d_model"},
      decoder{"decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "d_model"};
  c.width = options.integer("d_model", std::nullopt, 1, kMaxWidth);
  c.encoder = read_stack(options, encoder);
  c.decoder = read_stack(options, decoder);
  split_width(options, c, encoder, *c.encoder);
  split_width(options, c, decoder, *c.decoder);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", std::nullopt, 1, kMaxPositions);
  c.position_offset = 2;  // both position tables begin with two rows that are never read
  c.read_row = ReadRow::kLastEnd;
  c.head_style = HeadStyle::kDense;
  read_pad_id(options, c, 1);
  read_end_id(options, c, 2);
  c.decoder_start_id =
      integer_or(options, "decoder_start_token_id", 2, 0, std::max<int64_t>(1, c.vocabulary - 1));
  c.embed_dropout = c.hidden_dropout = dropout_rate(options, "dropout", 0.1);
  c.attention_dropout = dropout_rate(options, "attention_dropout", 0);
  c.activation_dropout = dropout_rate(options, "activation_dropout", 0);
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", 0);
  const Activation activation =
      parse_activation(options.choice("activation_function", "gelu", plain_activations()));
  for (StackConfig* stack : {&*c.encoder, &*c.decoder}) {
    stack->activation = activation;
    stack->norm = {Norm::kLayer, 1e-5};  // no key of the file
    stack->embed_norm = stack->norm;
  }
  if (options.boolean("scale_embedding", false))
    c.embedding_scale = std::sqrt(static_cast<double>(c.width));
  // Untied, transformers unties the tables of both stacks as well, which no file holds.
  require_value(options, "tie_word_embeddings", "true");
  c.may_be_untied = is_of_transformers_5(options);
}

// Texts end in </s> whatever the search finds; old files say by another key that they begin with
// <s>.
void add_bart_generation(const Node& config_json, Node& settings) {
  const auto is_said = [&](const char* key) {
    const Node* found = settings.find(key);
    return found != nullptr && found->kind != Node::Kind::kNull;
  };
  if (settings.find("forced_eos_token_id") == nullptr)
    settings["forced_eos_token_id"] = Node::integer(2);
  const bool begins_with_bos =
      config_json.find_bool("force_bos_token_to_be_generated").value_or(false);
  if (!begins_with_bos || is_said("forced_bos_token_id")) return;
  const Node* begin = config_json.find("bos_token_id");
  settings["forced_bos_token_id"] = begin != nullptr ? *begin : Node::integer(0);
}

}  // namespace

std::vector<Family> bart_families() {
  return {{.model_type = "bart",
           .read_config = read_bart,
           .keys = {{{"is_encoder_decoder"}, {"true"}},
                    {{"encoder_layerdrop", "decoder_layerdrop"}, {"0", "0.0"}},
                    {{"normalize_before", "add_final_layer_norm", "add_bias_logits",
                      "static_position_embeddings", "do_blenderbot_90_layernorm"},
                     {"false"}},
                    {{"normalize_embedding"}, {"true"}},
                    {{"extra_pos_embeddings"}, {"2"}},
                    {{"num_hidden_layers"}}},  // encoder_layers and decoder_layers count
           .prefixes = {"model.", ""},
           .plain_prefix = "model.",
           .names = bart_names(),
           .copies = stack_tables(),
           .unused = {"classification_head.", "heads."},
           .classifier_class = "BartForSequenceClassification",
           .head_names = dense_of_encoder_decoder(),
           .zero = {"final_logits_bias"},
           .add_generation = add_bart_generation,
           .peft = {{"q_proj", "v_proj"}, {"q_proj", "v_proj", "fc2"}, {"fc2"}}}};
}

}  // namespace graft
