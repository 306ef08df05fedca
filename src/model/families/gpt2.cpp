// GPT-2 (Radford et al. 2019): a pre-norm decoder with a position table. One layer makes queries,
// keys and values, and checkpoints hold linear layers as [in, out].
#include "model/families/all.h"
#include "model/families/config_reader.h"
#include "model/families/names.h"

namespace graft {

namespace {

CheckpointNames gpt2_names() {
  CheckpointNames names =
      without_biases({{trunk(Part::kEmbedWord), "wte"}, {trunk(Part::kEmbedPosition), "wpe"}});
  append(names, with_biases({{dec(Part::kAttnNorm), "h.#.ln_1"}}));
  for (const auto& [ours, piece] :
       {std::pair{Part::kAttnQ, "[0/3]"}, std::pair{Part::kAttnK, "[1/3]"},
        std::pair{Part::kAttnV, "[2/3]"}}) {  // one layer makes all three
    names.emplace_back(weight_of(dec(ours)), std::string("h.#.attn.c_attn.weight") + piece);
    names.emplace_back(bias_of(dec(ours)), std::string("h.#.attn.c_attn.bias") + piece);
  }
  append(names, with_biases({{dec(Part::kAttnO), "h.#.attn.c_proj"},
                             {dec(Part::kFfnNorm), "h.#.ln_2"},
                             {dec(Part::kFfnUp), "h.#.mlp.c_fc"},
                             {dec(Part::kFfnDown), "h.#.mlp.c_proj"},
                             {dec(Part::kNorm), "ln_f"}}));
  append(names, without_biases({{trunk(Part::kLm), "lm_head"}}));
  return names;
}

void read_gpt2(Options& options, ModelConfig& c) {
  const StackKeys keys{"n_layer", "n_head", "n_inner", "n_embd"};
  c.width = options.integer("n_embd", std::nullopt, 1, kMaxWidth);
  StackConfig& stack = c.decoder.emplace();
  stack.layers = options.integer(keys.layers, std::nullopt, 1, kMaxLayers);
  stack.heads = stack.key_heads = options.integer(keys.heads, std::nullopt, 1, kMaxHeads);
  stack.ffn_width = integer_or(options, keys.ffn, 4 * c.width, 1, kMaxWidth);
  split_width(options, c, keys, stack);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("n_positions", std::nullopt, 1, kMaxPositions);
  c.read_row = ReadRow::kLastToken;
  read_pad_id(options, c);
  stack.norm_place = NormPlace::kBefore;
  stack.norm = {Norm::kLayer, options.number("layer_norm_epsilon", 1e-5, 0, 1)};
  stack.final_norm = stack.norm;
  c.embed_dropout = dropout_rate(options, "embd_pdrop", 0.1);
  c.hidden_dropout = dropout_rate(options, "resid_pdrop", 0.1);
  c.classifier_dropout = 0;
  c.attention_dropout = dropout_rate(options, "attn_pdrop", 0.1);
  stack.activation =
      parse_activation(options.choice("activation_function", "gelu_new", plain_activations()));
  read_output(options, c, true);
}

}  // namespace

std::vector<Family> gpt2_families() {
  return {{.model_type = "gpt2",
           .read_config = read_gpt2,
           .keys = {{{"is_decoder"}, {"false", "true"}},
                    {{"scale_attn_weights"}, {"true"}},
                    {{"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"}, {"false"}},
                    {{"n_ctx", "classifier_dropout"}}},
           .prefixes = {"transformer.", ""},
           .plain_prefix = "transformer.",
           .names = gpt2_names(),
           .unused = {"score.", "heads.", "h.#.attn.bias", "h.#.attn.masked_bias"},
           .classifier_class = "GPT2ForSequenceClassification",
           .head_names = score_alone(),
           .stores_transposed = true,
           .peft = {{"c_attn"}, {"c_attn", "mlp.c_proj"}, {"mlp.c_proj"}}}};
}

}  // namespace graft
