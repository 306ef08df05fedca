// LLaMA (Touvron et al. 2023, arXiv:2302.13971; versions 2 and 3 share key heads between query
// heads), Mistral (arXiv:2310.06825), and Qwen2 (arXiv:2407.10671), which has biases at q, k and v.
#include "model/families/llama.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/families/all.h"
#include "model/families/config_reader.h"
#include "model/families/names.h"

namespace graft {

void read_llama_blocks(Options& options, ModelConfig& c, const LlamaDefaults& defaults) {
  const StackKeys keys{"num_hidden_layers", "num_attention_heads", "intermediate_size"};
  c.width = options.integer("hidden_size", std::nullopt, 1, kMaxWidth);
  StackConfig& stack = c.decoder.emplace(read_stack(options, keys));
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions =
      options.integer("max_position_embeddings", defaults.positions, 1, kMaxPositions);
  if (options.is_given("head_dim") || defaults.head_width > 0) {
    stack.attention_width =
        stack.heads * integer_or(options, "head_dim", defaults.head_width, 1, kMaxWidth);
    stack.attention_scale = 1.0 / std::sqrt(static_cast<double>(stack.head_width()));
  } else {
    split_width(options, c, keys, stack);
  }
  if (stack.head_width() % 2 != 0)
    options.fault("head_dim", "rotary positions take heads of even width, found " +
                                  quote(std::to_string(stack.head_width())));
  stack.key_heads = integer_or(options, "num_key_value_heads", stack.heads, 1, kMaxHeads);
  if (stack.heads % stack.key_heads != 0) {
    options.fault("num_key_value_heads", "expected a divisor of num_attention_heads " +
                                             std::to_string(stack.heads) + ", found " +
                                             quote(std::to_string(stack.key_heads)));
  }
  c.read_row = ReadRow::kLastToken;
  read_pad_id(options, c);
  stack.positions = read_rotary(options, c.max_positions);
  stack.norm_place = NormPlace::kBefore;
  stack.norm = {Norm::kRootMeanSquare, options.number("rms_norm_eps", 1e-6, 0, 1), false};
  stack.final_norm = stack.norm;
  c.embed_dropout = c.hidden_dropout = c.classifier_dropout = 0;
  c.attention_dropout = dropout_rate(options, "attention_dropout", 0);
  stack.has_gated_ffn = true;
  stack.activation = parse_activation(options.choice(
      "hidden_act", "silu", {"silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"}));
  stack.has_attention_bias = stack.has_attention_output_bias = stack.has_ffn_bias = false;
  read_output(options, c, false);
}

void read_window(Options& options, ModelConfig& c, const WindowKeys& keys) {
  const bool is_switched_on =
      options.boolean("use_sliding_window", keys.switched_on.value_or(true));
  const bool is_used = is_switched_on || !keys.switched_on;
  const int64_t window =
      keys.width && !options.has("sliding_window")
          ? *keys.width  // null says that there is none
          : integer_or(options, "sliding_window", c.max_positions, 1, kMaxPositions);
  if (is_used) c.max_positions = std::min(c.max_positions, window);
  const Node* types = options.raw("layer_types");
  if (types == nullptr || is_used) return;
  for (const Node& type : types->items) {
    if (type.scalar != "full_attention")
      options.fault("layer_types",
                    "only \"full_attention\" is supported, found " + quote(type.scalar));
  }
}

CheckpointNames llama_names() {
  CheckpointNames names = without_biases({{trunk(Part::kEmbedWord), "embed_tokens"},
                                          {dec(Part::kAttnNorm), "layers.#.input_layernorm"}});
  append(names, with_biases({{dec(Part::kAttnQ), "layers.#.self_attn.q_proj"},
                             {dec(Part::kAttnK), "layers.#.self_attn.k_proj"},
                             {dec(Part::kAttnV), "layers.#.self_attn.v_proj"},
                             {dec(Part::kAttnO), "layers.#.self_attn.o_proj"}}));
  append(names, without_biases({{dec(Part::kFfnNorm), "layers.#.post_attention_layernorm"}}));
  append(names, with_biases({{dec(Part::kFfnGate), "layers.#.mlp.gate_proj"},
                             {dec(Part::kFfnUp), "layers.#.mlp.up_proj"},
                             {dec(Part::kFfnDown), "layers.#.mlp.down_proj"}}));
  append(names, without_biases({{dec(Part::kNorm), "norm"}, {trunk(Part::kLm), "lm_head"}}));
  return names;
}

Family llama_family(const std::string& model_type, const std::string& classifier_class) {
  return {
      .model_type = model_type,
      .keys = {{{"is_decoder"}, {"false", "true"}},
               {{"pretraining_tp"}, {"1"}},
               {{"partial_rotary_factor", "rotary_pct"}, {"1", "1.0"}},
               {{"rope_interleaved", "use_mrope", "use_qk_norm", "qk_layernorm", "alibi",
                 "use_alibi", "use_parallel_residual"},
                {"false"}},
               {{"is_causal"}, {"true"}},
               {{"embd_pdrop", "resid_pdrop", "hidden_dropout", "residual_dropout"}, {"0", "0.0"}},
               {{"embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"},
                {"1", "1.0"}},
               {{"num_experts", "num_local_experts"}, {"0"}},
               {{"max_sequence_length", "layer_types", "max_window_layers", "classifier_dropout"}}},
      .has_gated_ffn = true,
      .prefixes = {"model.", ""},
      .plain_prefix = "model.",
      .names = llama_names(),
      .unused = {"layers.#.self_attn.rotary_emb.", "rotary_emb.", "score.", "heads."},
      .classifier_class = classifier_class,
      .head_names = score_alone()};
}

namespace {

void read_llama(Options& options, ModelConfig& c) {
  read_llama_blocks(options, c);
  StackConfig& stack = *c.decoder;
  stack.has_attention_bias = stack.has_attention_output_bias =
      options.boolean("attention_bias", false);
  stack.has_ffn_bias = options.boolean("mlp_bias", false);
  read_window(options, c, {.switched_on = true});
}

void read_mistral(Options& options, ModelConfig& c) {
  read_llama_blocks(options, c);
  read_window(options, c, {.width = 4096});
}

void read_qwen2(Options& options, ModelConfig& c) {
  read_llama_blocks(options, c);
  c.decoder->has_attention_bias = true;
  read_window(options, c, {.switched_on = false, .width = 4096});
}

// Tensors show whether there are biases: a missing or surplus one is refused by its name.
const KeyRule kBiases = {{"attention_bias", "mlp_bias", "qkv_bias"}};

}  // namespace

std::vector<Family> llama_families() {
  Family llama = llama_family("llama", "LlamaForSequenceClassification");
  llama.read_config = read_llama;
  llama.gguf = {{.architecture = "llama", .pairs_neighbours = true},
                {.architecture = "qwen2", .lacks_output_bias = true}};
  Family mistral = llama_family("mistral", "MistralForSequenceClassification");
  mistral.read_config = read_mistral;
  mistral.keys.push_back(kBiases);
  Family qwen2 = llama_family("qwen2", "Qwen2ForSequenceClassification");
  qwen2.read_config = read_qwen2;
  qwen2.keys.push_back(kBiases);
  llama.peft =
      mistral.peft = {{"q_proj", "v_proj"}, {"k_proj", "v_proj", "down_proj"}, {"down_proj"}};
  qwen2.peft = {{"q_proj", "v_proj"}, {"q_proj", "v_proj", "down_proj"}, {"down_proj"}};
  return {std::move(llama), std::move(mistral), std::move(qwen2)};
}

}  // namespace graft
