#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/options.h"
#include "model/families.h"
#include "model/gguf_model.h"

namespace graft {

namespace {

constexpr int64_t kMaxWidth = 1 << 20, kMaxLayers = 1000, kMaxHeads = 4096, kMaxVocabulary = int64_t{1} << 24,
                  kMaxPositions = int64_t{1} << 22;

// Keys that name the file's origin, its tokens or settings of other programs; none changes a number computed here.
constexpr const char* kHarmless[] = {"_name_or_path",
                                     "_model_name_or_path",
                                     "unk_token_id",
                                     "architectures",
                                     "torch_dtype",
                                     "dtype",
                                     "transformers_version",
                                     "use_cache",
                                     "gradient_checkpointing",
                                     "initializer_range",
                                     "bos_token_id",
                                     "eos_token_id",
                                     "id2label",
                                     "label2id",
                                     "num_labels",
                                     "problem_type",
                                     "finetuning_task",
                                     "classifier_dropout",
                                     "pooler_fc_size",
                                     "pooler_num_attention_heads",
                                     "pooler_num_fc_layers",
                                     "pooler_size_per_head",
                                     "pooler_type",
                                     "directionality",
                                     "model_type",
                                     "tie_word_embeddings",
                                     "return_dict",
                                     "output_attentions",
                                     "output_hidden_states",
                                     "language",
                                     "name",
                                     "sep_token_id",
                                     "cls_token_id",
                                     "task_specific_params",
                                     "attn_implementation",
                                     "_attn_implementation_autoset"};

// The same for single families: initial values, settings of generation, old names of what has another key.
constexpr const char* kHarmlessBart[] = {"init_std",        "num_hidden_layers",    "_num_labels",
                                         "classif_dropout", "forced_bos_token_id",  "forced_eos_token_id",
                                         "num_beams",       "max_length",           "min_length",
                                         "early_stopping",  "no_repeat_ngram_size", "length_penalty",
                                         "prefix",          "output_past",          "force_bos_token_to_be_generated"};
constexpr const char* kHarmlessT5[] = {"initializer_factor", "n_positions", "output_past", "tokenizer_class"};
constexpr const char* kHarmlessGpt2[] = {"n_ctx",
                                         "n_special",
                                         "predict_special_tokens",
                                         "summary_type",
                                         "summary_use_proj",
                                         "summary_activation",
                                         "summary_proj_to_labels",
                                         "summary_first_dropout",
                                         "output_past"};
constexpr const char* kHarmlessLlama[] = {"max_sequence_length"};

const std::vector<std::string> kActivations{"gelu", "gelu_new", "gelu_pytorch_tanh", "relu"};

Activation parse_activation(const std::string& name) {
  if (name == "gelu") return Activation::kGelu;
  if (name == "relu") return Activation::kRelu;
  if (name == "silu") return Activation::kSilu;
  return Activation::kGeluTanh;
}

// A switch that must have the value under which the trunk computes.
void require_value(Options& options, const char* key, const std::string& value) {
  const std::string found = options.text(key, value);
  if (found != value) options.fault(key, "only " + quote(value) + " is supported, found " + quote(found));
}

bool is_given(Options& options, const char* key) {
  const Node* node = options.raw(key);
  return node != nullptr && node->kind != Node::Kind::kNull;
}

int64_t integer_or(Options& options, const char* key, int64_t fallback, int64_t least, int64_t most) {
  return is_given(options, key) ? options.integer(key, fallback, least, most) : fallback;
}

double dropout_rate(Options& options, const char* key, double fallback) {
  const double rate = options.number(key, fallback, 0, 1);
  if (rate == 1) options.fault(key, "expected a rate below 1; dropout at 1 leaves nothing");
  return rate;
}

// A size that a file may give twice, here for encoder and decoder.
void require_same(Options& options, const char* key, const char* other, int64_t value) {
  const int64_t found = options.integer(key, value, 1, kMaxWidth);
  if (found != value)
    options.fault(key, "expected " + std::to_string(value) + " as in " + other + ", found " + quote(std::to_string(found)));
}

void read_pad_id(Options& options, ModelConfig& c, int64_t fallback) {
  c.pad_id = integer_or(options, "pad_token_id", fallback, 0, std::max<int64_t>(1, c.vocabulary - 1));
}

// Heads of equal width that fill C.
void split_width(Options& options, ModelConfig& c, const char* heads_key, const char* width_key) {
  c.attention_width = c.width;
  c.key_heads = c.heads;
  if (c.width % c.heads != 0) {
    options.fault(heads_key, std::string("expected a divisor of ") + width_key + " " + std::to_string(c.width) + ", found " +
                                 quote(std::to_string(c.heads)));
  }
  c.attention_scale = 1.0 / std::sqrt(static_cast<double>(c.head_width()));
}

void read_bert(Options& options, ModelConfig& c) {
  c.width = options.integer("hidden_size", std::nullopt, 1, kMaxWidth);
  c.layers = options.integer("num_hidden_layers", std::nullopt, 1, kMaxLayers);
  c.heads = options.integer("num_attention_heads", std::nullopt, 1, kMaxHeads);
  c.ffn_width = options.integer("intermediate_size", std::nullopt, 1, kMaxWidth);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", std::nullopt, 1, kMaxPositions);
  c.type_vocabulary = options.integer("type_vocab_size", std::nullopt, 1, 1 << 16);
  c.pad_id = options.integer("pad_token_id", c.model_type == "roberta" ? 1 : 0, 0, std::max<int64_t>(1, c.vocabulary - 1));
  c.norm_epsilon = options.number("layer_norm_eps", 1e-12, 0, 1);
  c.embed_dropout = c.hidden_dropout = dropout_rate(options, "hidden_dropout_prob", 0.1);
  c.attention_dropout = dropout_rate(options, "attention_probs_dropout_prob", 0.1);
  c.activation = parse_activation(options.choice("hidden_act", "gelu", kActivations));
  c.mask_activation = c.model_type == "roberta" ? Activation::kGelu : c.activation;
  c.classifier_dropout =
      is_given(options, "classifier_dropout") ? dropout_rate(options, "classifier_dropout", 0.1) : c.hidden_dropout;
  if (c.model_type == "roberta") {  // position ids start after the padding id's row
    c.position_offset = c.pad_id + 1;
    c.max_positions -= c.position_offset;
    if (c.max_positions < 1) options.fault("max_position_embeddings", "expected more rows than pad_token_id + 1");
  }
  split_width(options, c, "num_attention_heads", "hidden_size");
  require_value(options, "position_embedding_type", "absolute");
  require_value(options, "is_decoder", "false");
  require_value(options, "add_cross_attention", "false");
  require_value(options, "is_encoder_decoder", "false");
}

// Lewis et al. 2020 (arXiv:1910.13461).
void read_bart(Options& options, ModelConfig& c) {
  c.width = options.integer("d_model", std::nullopt, 1, kMaxWidth);
  c.layers = options.integer("encoder_layers", std::nullopt, 1, kMaxLayers);
  c.decoder_layers = options.integer("decoder_layers", std::nullopt, 1, kMaxLayers);
  c.heads = options.integer("encoder_attention_heads", std::nullopt, 1, kMaxHeads);
  c.ffn_width = options.integer("encoder_ffn_dim", std::nullopt, 1, kMaxWidth);
  require_same(options, "decoder_attention_heads", "encoder_attention_heads", c.heads);
  require_same(options, "decoder_ffn_dim", "encoder_ffn_dim", c.ffn_width);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", std::nullopt, 1, kMaxPositions);
  c.position_offset = 2;  // both position tables begin with two rows that are never read
  read_pad_id(options, c, 1);
  c.decoder_start_id = options.integer("decoder_start_token_id", 2, 0, std::max<int64_t>(1, c.vocabulary - 1));
  c.norm_epsilon = 1e-5;  // no key of the file
  c.embed_dropout = c.hidden_dropout = dropout_rate(options, "dropout", 0.1);
  c.attention_dropout = dropout_rate(options, "attention_dropout", 0);
  c.activation_dropout = dropout_rate(options, "activation_dropout", 0);
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", 0);
  c.activation = parse_activation(options.choice("activation_function", "gelu", kActivations));
  split_width(options, c, "encoder_attention_heads", "d_model");
  if (options.boolean("scale_embedding", false)) c.embedding_scale = std::sqrt(static_cast<double>(c.width));
  for (const char* key : {"encoder_layerdrop", "decoder_layerdrop"}) {
    if (options.number(key, 0, 0, 1) != 0) options.fault(key, "leaving whole layers out is not supported");
  }
  for (const char* key : {"normalize_before", "add_final_layer_norm", "add_bias_logits", "static_position_embeddings"})
    require_value(options, key, "false");
  for (const char* key : {"normalize_embedding", "is_encoder_decoder", "tie_word_embeddings"})
    require_value(options, key, "true");
  for (const char* key : kHarmlessBart) options.ignore(key);
}

// Raffel et al. 2020 (arXiv:1910.10683); version 1.1 and mT5 (Xue et al. 2021) have a gated FFN and an output layer of their own.
void read_t5(Options& options, ModelConfig& c) {
  const bool is_multilingual = c.model_type == "mt5";
  c.width = options.integer("d_model", std::nullopt, 1, kMaxWidth);
  c.layers = options.integer("num_layers", std::nullopt, 1, kMaxLayers);
  c.decoder_layers = integer_or(options, "num_decoder_layers", c.layers, 1, kMaxLayers);
  c.heads = c.key_heads = options.integer("num_heads", std::nullopt, 1, kMaxHeads);
  c.attention_width = c.heads * options.integer("d_kv", std::nullopt, 1, kMaxWidth);
  c.ffn_width = options.integer("d_ff", std::nullopt, 1, kMaxWidth);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = ModelConfig::kAnyLength;
  c.position_kind = PositionKind::kDistanceBias;
  c.distance_buckets = options.integer("relative_attention_num_buckets", 32, 2, 1 << 16);
  c.max_distance = options.integer("relative_attention_max_distance", 128, 2, kMaxPositions);
  read_pad_id(options, c, 0);
  c.decoder_start_id = options.integer("decoder_start_token_id", 0, 0, std::max<int64_t>(1, c.vocabulary - 1));
  c.norm = Norm::kRootMeanSquare;
  c.is_pre_norm = true;
  c.norm_epsilon = options.number("layer_norm_epsilon", 1e-6, 0, 1);
  c.embed_dropout = c.hidden_dropout = c.attention_dropout = c.activation_dropout = dropout_rate(options, "dropout_rate", 0.1);
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", 0);
  const std::string ffn =
      options.choice("feed_forward_proj", is_multilingual ? "gated-gelu" : "relu", {"relu", "gated-gelu", "gated-silu"});
  c.has_gated_ffn = ffn.starts_with("gated-");
  c.activation = ffn == "gated-gelu" ? Activation::kGeluTanh : parse_activation(c.has_gated_ffn ? ffn.substr(6) : ffn);
  // What transformers derives from feed_forward_proj and writes beside it.
  require_value(options, "dense_act_fn", ffn == "gated-gelu" ? "gelu_new" : c.has_gated_ffn ? ffn.substr(6) : ffn);
  require_value(options, "is_gated_act", c.has_gated_ffn ? "true" : "false");
  require_value(options, "is_encoder_decoder", "true");
  c.has_attention_bias = c.has_attention_output_bias = c.has_ffn_bias = false;
  c.has_tied_output = options.boolean("tie_word_embeddings", !is_multilingual);
  if (c.has_tied_output) c.output_scale = 1.0 / std::sqrt(static_cast<double>(c.width));
  for (const char* key : kHarmlessT5) options.ignore(key);
}

// Radford et al. 2019.
void read_gpt2(Options& options, ModelConfig& c) {
  c.width = options.integer("n_embd", std::nullopt, 1, kMaxWidth);
  c.decoder_layers = options.integer("n_layer", std::nullopt, 1, kMaxLayers);
  c.heads = options.integer("n_head", std::nullopt, 1, kMaxHeads);
  c.ffn_width = integer_or(options, "n_inner", 4 * c.width, 1, kMaxWidth);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("n_positions", std::nullopt, 1, kMaxPositions);
  read_pad_id(options, c, 0);
  c.is_pre_norm = true;
  c.norm_epsilon = options.number("layer_norm_epsilon", 1e-5, 0, 1);
  c.embed_dropout = dropout_rate(options, "embd_pdrop", 0.1);
  c.hidden_dropout = c.classifier_dropout = dropout_rate(options, "resid_pdrop", 0.1);
  c.attention_dropout = dropout_rate(options, "attn_pdrop", 0.1);
  c.activation = parse_activation(options.choice("activation_function", "gelu_new", kActivations));
  split_width(options, c, "n_head", "n_embd");
  for (const char* key : {"scale_attn_weights", "tie_word_embeddings"}) require_value(options, key, "true");
  for (const char* key :
       {"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention", "is_encoder_decoder"}) {
    require_value(options, key, "false");
  }
  for (const char* key : kHarmlessGpt2) options.ignore(key);
}

RotaryScaling read_rotary_scaling(Options& options) {
  RotaryScaling scaling;
  if (!is_given(options, "rope_scaling")) return scaling;
  Options& section = options.section("rope_scaling");
  const char* key = section.has("rope_type") ? "rope_type" : "type";  // the second is the older name; a file may have both
  scaling.kind = section.choice(key, std::nullopt, {"default", "linear", "dynamic", "llama3"});
  section.ignore("type");
  if (scaling.kind == "default") return scaling;
  scaling.factor = section.number("factor", std::nullopt, 1, 1e6);
  if (scaling.kind != "llama3") return scaling;
  scaling.low_frequency_factor = section.number("low_freq_factor", std::nullopt, 0, 1e6);
  scaling.high_frequency_factor = section.number("high_freq_factor", std::nullopt, 0, 1e6);
  scaling.original_positions = section.integer("original_max_position_embeddings", std::nullopt, 1, kMaxPositions);
  return scaling;
}

// Qwen2 (arXiv:2407.10671) has biases at q, k and v; Mistral (arXiv:2310.06825) none; a LLaMA as its file says.
void read_llama_biases(Options& options, ModelConfig& c) {
  const bool has_switches = c.model_type == "llama";
  c.has_attention_bias = has_switches ? options.boolean("attention_bias", false) : c.model_type == "qwen2";
  c.has_attention_output_bias = has_switches && c.has_attention_bias;
  c.has_ffn_bias = has_switches && options.boolean("mlp_bias", false);
}

// Attention to a window of the last tokens is attention to all of them in texts that are no longer: those are served.
void read_window(Options& options, ModelConfig& c) {
  if (c.model_type == "llama") return;
  const bool is_used = c.model_type == "mistral" || options.boolean("use_sliding_window", false);
  const int64_t window = integer_or(options, "sliding_window", c.max_positions, 1, kMaxPositions);
  if (is_used) c.max_positions = std::min(c.max_positions, window);
  options.ignore("max_window_layers");
  const Node* types = options.raw("layer_types");
  if (types == nullptr || is_used) return;
  for (const Node& type : types->items) {
    if (type.scalar != "full_attention")
      options.fault("layer_types", "only \"full_attention\" is supported, found " + quote(type.scalar));
  }
}

// Touvron et al. 2023 (arXiv:2302.13971); LLaMA 2 and 3 share key heads between query heads.
void read_llama(Options& options, ModelConfig& c) {
  c.width = options.integer("hidden_size", std::nullopt, 1, kMaxWidth);
  c.decoder_layers = options.integer("num_hidden_layers", std::nullopt, 1, kMaxLayers);
  c.heads = options.integer("num_attention_heads", std::nullopt, 1, kMaxHeads);
  c.ffn_width = options.integer("intermediate_size", std::nullopt, 1, kMaxWidth);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", 2048, 1, kMaxPositions);
  if (is_given(options, "head_dim")) {
    c.attention_width = c.heads * options.integer("head_dim", std::nullopt, 1, kMaxWidth);
    c.attention_scale = 1.0 / std::sqrt(static_cast<double>(c.head_width()));
  } else {
    split_width(options, c, "num_attention_heads", "hidden_size");
  }
  if (c.head_width() % 2 != 0)
    options.fault("head_dim", "rotary positions take heads of even width, found " + quote(std::to_string(c.head_width())));
  c.key_heads = integer_or(options, "num_key_value_heads", c.heads, 1, kMaxHeads);
  if (c.heads % c.key_heads != 0) {
    options.fault("num_key_value_heads", "expected a divisor of num_attention_heads " + std::to_string(c.heads) + ", found " +
                                             quote(std::to_string(c.key_heads)));
  }
  if (is_given(options, "pad_token_id"))
    c.pad_id = std::max<int64_t>(0, options.integer("pad_token_id", 0, -1, std::max<int64_t>(1, c.vocabulary - 1)));  // -1 = none
  c.position_kind = PositionKind::kRotary;
  c.rotary_base = options.number("rope_theta", 10000, 1, 1e12);
  c.rotary_scaling = read_rotary_scaling(options);
  c.norm = Norm::kRootMeanSquare;
  c.is_pre_norm = true;
  c.norm_epsilon = options.number("rms_norm_eps", 1e-6, 0, 1);
  c.embed_dropout = c.hidden_dropout = c.classifier_dropout = 0;
  c.attention_dropout = dropout_rate(options, "attention_dropout", 0);
  c.has_gated_ffn = true;
  c.activation =
      parse_activation(options.choice("hidden_act", "silu", {"silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"}));
  read_llama_biases(options, c);
  read_window(options, c);
  c.has_tied_output = options.boolean("tie_word_embeddings", false);
  require_value(options, "pretraining_tp", "1");  // LLaMA only; 1 is what its absence means
  require_value(options, "is_encoder_decoder", "false");
  for (const char* key : kHarmlessLlama) options.ignore(key);
}

}  // namespace

ModelConfig parse_config(const Node& json, const std::string& source) {
  Options options(json, source);
  ModelConfig config;
  config.model_type = options.choice("model_type", std::nullopt, known_families());
  if (config.model_type == "bart") read_bart(options, config);
  else if (config.model_type == "t5" || config.model_type == "mt5") read_t5(options, config);
  else if (config.model_type == "gpt2") read_gpt2(options, config);
  else if (config.model_type == "llama" || config.model_type == "mistral" || config.model_type == "qwen2")
    read_llama(options, config);
  else read_bert(options, config);
  require_value(options, "chunk_size_feed_forward", "0");
  if (const Node* pruned = options.raw("pruned_heads");
      pruned != nullptr && !(pruned->members.empty() && pruned->items.empty())) {
    options.fault("pruned_heads", "pruned heads are not supported");
  }
  for (const char* key : kHarmless) options.ignore(key);
  options.finish();
  return config;
}

ModelConfig read_config(const Path& model) {
  if (is_gguf(model)) return read_gguf_config(model);
  const Path file = std::filesystem::is_directory(model) ? model / "config.json" : model;
  if (!std::filesystem::exists(file)) {
    throw InputError(
        "'" + file.string() +
        "': no such file; a model is a Hugging Face folder with config.json, *.safetensors and a tokenizer, or a GGUF file");
  }
  if (file.extension() != ".json" && std::filesystem::is_regular_file(file)) {
    throw InputError(
        "'" + file.string() +
        "': expected a Hugging Face folder with config.json, *.safetensors and a tokenizer, or a GGUF file; found another file");
  }
  return parse_config(parse_json(read_file(file), file.string()), file.string());
}

}  // namespace graft
