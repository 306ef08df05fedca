#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/options.h"
#include "model/config_keys.h"
#include "model/families.h"
#include "model/gguf_model.h"

namespace graft {

namespace {

constexpr int64_t kMaxWidth = 1 << 20, kMaxLayers = 1000, kMaxHeads = 4096, kMaxVocabulary = int64_t{1} << 24,
                  kMaxPositions = int64_t{1} << 22;

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
  const double rate = is_given(options, key) ? options.number(key, fallback, 0, 1) : fallback;
  if (rate == 1) options.fault(key, "expected a rate below 1; dropout at 1 leaves nothing");
  return rate;
}

// The id of filler rows, which nothing reads. null and -1 say that a model has none.
void read_pad_id(Options& options, ModelConfig& c, int64_t fallback) {
  c.pad_id = std::max<int64_t>(0, integer_or(options, "pad_token_id", fallback, -1, std::max<int64_t>(1, c.vocabulary - 1)));
}

// Of a decoder: none unless it is given, and -1 means none, too.
void read_pad_id(Options& options, ModelConfig& c) {
  const int64_t found = integer_or(options, "pad_token_id", -1, -1, std::max<int64_t>(1, c.vocabulary - 1));
  c.has_pad_id = found >= 0;
  c.pad_id = std::max<int64_t>(0, found);
}

// Of an encoder-decoder. A list of ids, or null, leaves it without one: classifiers read the row of a single one.
void read_end_id(Options& options, ModelConfig& c, int64_t fallback) {
  const Node* node = options.raw("eos_token_id");
  if (node != nullptr && node->kind != Node::Kind::kScalar) return;
  c.end_id = options.integer("eos_token_id", fallback, -1, std::max<int64_t>(1, c.vocabulary - 1));
}

// Whether the folder is of the class that puts a classifier on the family's trunk.
bool names_classifier(Options& options, const std::string& model_type) {
  const Node* classes = options.raw("architectures");
  if (classes == nullptr) return false;
  for (const Family& family : all_families()) {
    if (family.model_type != model_type) continue;
    const auto is_its_classifier = [&](const Node& name) {
      return name.kind == Node::Kind::kScalar && name.scalar == family.classifier_class;
    };
    if (std::any_of(classes->items.begin(), classes->items.end(), is_its_classifier)) return true;
  }
  return false;
}

// Whether transformers 5 or later wrote the file.
bool is_of_transformers_5(Options& options) {
  const Node* version = options.raw("transformers_version");
  return version != nullptr && std::atoi(version->scalar.c_str()) >= 5;
}

// The layer over the vocabulary.
void read_output(Options& options, ModelConfig& c, bool is_tied_by_default) {
  c.has_tied_output = options.boolean("tie_word_embeddings", is_tied_by_default);
  c.may_be_untied = c.has_tied_output && is_of_transformers_5(options);
}

// The keys of a stack's sizes. Its heads are equally wide and fill C, unless the file says how wide they are.
struct StackKeys {
  const char *layers, *heads, *ffn, *width = "hidden_size";
};

StackConfig read_stack(Options& options, const StackKeys& keys) {
  StackConfig stack;
  stack.layers = options.integer(keys.layers, std::nullopt, 1, kMaxLayers);
  stack.heads = stack.key_heads = options.integer(keys.heads, std::nullopt, 1, kMaxHeads);
  stack.ffn_width = options.integer(keys.ffn, std::nullopt, 1, kMaxWidth);
  return stack;
}

void split_width(Options& options, const ModelConfig& c, const StackKeys& keys, StackConfig& stack) {
  stack.attention_width = c.width;
  if (c.width % stack.heads != 0) {
    options.fault(keys.heads, std::string("expected a divisor of ") + keys.width + " " + std::to_string(c.width) + ", found " +
                                  quote(std::to_string(stack.heads)));
  }
  stack.attention_scale = 1.0 / std::sqrt(static_cast<double>(stack.head_width()));
}

// Devlin et al. 2019 (arXiv:1810.04805), Liu et al. 2019 (arXiv:1907.11692).
void read_bert(Options& options, ModelConfig& c) {
  const bool is_roberta = c.model_type == "roberta";
  const StackKeys keys{"num_hidden_layers", "num_attention_heads", "intermediate_size"};
  c.width = options.integer("hidden_size", std::nullopt, 1, kMaxWidth);
  c.encoder = read_stack(options, keys);
  split_width(options, c, keys, *c.encoder);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", std::nullopt, 1, kMaxPositions);
  c.type_vocabulary = options.integer("type_vocab_size", std::nullopt, 1, 1 << 16);
  read_pad_id(options, c, is_roberta ? 1 : 0);
  c.norm_epsilon = options.number("layer_norm_eps", 1e-12, 0, 1);
  c.embed_dropout = c.hidden_dropout = dropout_rate(options, "hidden_dropout_prob", 0.1);
  c.attention_dropout = dropout_rate(options, "attention_probs_dropout_prob", 0.1);
  c.activation = parse_activation(options.choice("hidden_act", "gelu", kActivations));
  c.mask_activation = is_roberta ? Activation::kGelu : c.activation;
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", c.hidden_dropout);
  read_output(options, c, true);
  if (!is_roberta) return;
  // Position ids start after the padding id's row.
  if (options.has("pad_token_id") && (!is_given(options, "pad_token_id") || options.raw("pad_token_id")->scalar == "-1"))
    options.fault("pad_token_id", "expected a token id: positions of a roberta model are counted from the row after it");
  c.position_offset = c.pad_id + 1;
  c.max_positions -= c.position_offset;
  if (c.max_positions < 1) options.fault("max_position_embeddings", "expected more rows than pad_token_id + 1");
}

// Lewis et al. 2020 (arXiv:1910.13461).
void read_bart(Options& options, ModelConfig& c) {
  const StackKeys encoder{"encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "d_model"},
      decoder{"decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "d_model"};
  c.width = options.integer("d_model", std::nullopt, 1, kMaxWidth);
  c.encoder = read_stack(options, encoder);
  c.decoder = read_stack(options, decoder);
  split_width(options, c, encoder, *c.encoder);
  split_width(options, c, decoder, *c.decoder);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", std::nullopt, 1, kMaxPositions);
  c.position_offset = 2;  // both position tables begin with two rows that are never read
  read_pad_id(options, c, 1);
  read_end_id(options, c, 2);
  c.decoder_start_id = integer_or(options, "decoder_start_token_id", 2, 0, std::max<int64_t>(1, c.vocabulary - 1));
  c.norm_epsilon = 1e-5;  // no key of the file
  c.embed_dropout = c.hidden_dropout = dropout_rate(options, "dropout", 0.1);
  c.attention_dropout = dropout_rate(options, "attention_dropout", 0);
  c.activation_dropout = dropout_rate(options, "activation_dropout", 0);
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", 0);
  c.activation = parse_activation(options.choice("activation_function", "gelu", kActivations));
  if (options.boolean("scale_embedding", false)) c.embedding_scale = std::sqrt(static_cast<double>(c.width));
  // Untied, transformers unties the tables of both stacks as well, which no file holds.
  require_value(options, "tie_word_embeddings", "true");
  c.may_be_untied = is_of_transformers_5(options);
}

// Version 1.0 scales what enters the output layer, and says so by tying it to the word table. transformers 5 ties the two in
// every file that it writes and has a key for the scale instead; of mT5 it never scales.
void read_t5_output(Options& options, ModelConfig& c) {
  const bool is_multilingual = c.model_type == "mt5";
  read_output(options, c, !is_multilingual || is_of_transformers_5(options));
  bool is_scaled = c.has_tied_output;
  if (is_multilingual) is_scaled = is_scaled && !is_of_transformers_5(options);
  else is_scaled = options.boolean("scale_decoder_outputs", is_scaled);
  if (is_scaled) c.output_scale = 1.0 / std::sqrt(static_cast<double>(c.width));
}

// Raffel et al. 2020 (arXiv:1910.10683); version 1.1 and mT5 (Xue et al. 2021) have a gated FFN and an output layer of their own.
void read_t5(Options& options, ModelConfig& c) {
  const bool is_multilingual = c.model_type == "mt5";
  c.width = options.integer("d_model", std::nullopt, 1, kMaxWidth);
  StackConfig stack = read_stack(options, {"num_layers", "num_heads", "d_ff"});
  stack.attention_width = stack.heads * options.integer("d_kv", std::nullopt, 1, kMaxWidth);
  c.encoder = c.decoder = stack;
  c.decoder->layers = integer_or(options, "num_decoder_layers", stack.layers, 1, kMaxLayers);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = ModelConfig::kAnyLength;
  c.position_kind = PositionKind::kDistanceBias;
  c.distance_buckets = options.integer("relative_attention_num_buckets", 32, 2, 1 << 16);
  c.max_distance = options.integer("relative_attention_max_distance", 128, 2, kMaxPositions);
  read_pad_id(options, c, 0);
  read_end_id(options, c, 1);
  c.decoder_start_id = integer_or(options, "decoder_start_token_id", 0, 0, std::max<int64_t>(1, c.vocabulary - 1));
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
  c.has_attention_bias = c.has_attention_output_bias = c.has_ffn_bias = false;
  read_t5_output(options, c);
}

// Radford et al. 2019.
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
  read_pad_id(options, c);
  c.is_pre_norm = true;
  c.norm_epsilon = options.number("layer_norm_epsilon", 1e-5, 0, 1);
  c.embed_dropout = dropout_rate(options, "embd_pdrop", 0.1);
  c.hidden_dropout = dropout_rate(options, "resid_pdrop", 0.1);
  c.classifier_dropout = 0;
  c.attention_dropout = dropout_rate(options, "attn_pdrop", 0.1);
  c.activation = parse_activation(options.choice("activation_function", "gelu_new", kActivations));
  read_output(options, c, true);
}

// A section of settings of rotary positions.
RotaryScaling read_rotary_scaling(Options& section, int64_t max_positions) {
  RotaryScaling scaling;
  const char* key = section.has("rope_type") ? "rope_type" : "type";  // the second is the older name; a file may have both
  scaling.kind = section.choice(key, "default", {"default", "linear", "dynamic", "llama3"});
  section.ignore("type");
  if (section.number("partial_rotary_factor", 1, 0, 1) != 1)
    section.fault("partial_rotary_factor", "heads of which only a part turns are not supported; expected 1");
  scaling.original_positions = integer_or(section, "original_max_position_embeddings", max_positions, 1, kMaxPositions);
  if (scaling.kind == "default") {
    if (section.number("factor", 1, 0, 1e6) != 1)
      section.fault("factor", "positions of rope_type default are not stretched; expected 1");
    return {};
  }
  scaling.factor = section.number("factor", std::nullopt, 1, 1e6);
  if (scaling.kind != "llama3") {
    scaling.original_positions = 0;  // plays no part
    return scaling;
  }
  scaling.low_frequency_factor = section.number("low_freq_factor", std::nullopt, 0, 1e6);
  scaling.high_frequency_factor = section.number("high_freq_factor", std::nullopt, 0, 1e6);
  return scaling;
}

// rope_theta and rope_scaling; transformers 5 writes both in one section, rope_parameters. A file that has old and new keys must
// say the same with both, since it depends on the reader's version which of them count.
void read_rotary(Options& options, ModelConfig& c) {
  c.position_kind = PositionKind::kRotary;
  c.rotary_base = options.number("rope_theta", 10000, 1, 1e12);
  const bool has_old = is_given(options, "rope_scaling"), has_new = is_given(options, "rope_parameters");
  if (has_old) {
    Options& section = options.section("rope_scaling");
    c.rotary_scaling = read_rotary_scaling(section, c.max_positions);
    c.rotary_base = section.number("rope_theta", c.rotary_base, 1, 1e12);
  }
  const int64_t trained = integer_or(options, "original_max_position_embeddings", 0, 1, kMaxPositions);
  const auto check_trained = [&] {
    if (trained > 0 && c.rotary_scaling.kind == "llama3" && trained != c.rotary_scaling.original_positions)
      options.fault("original_max_position_embeddings", "expected the same as beside the llama3 factors");
  };
  if (!has_new) return check_trained();
  Options& section = options.section("rope_parameters");
  const RotaryScaling scaling = read_rotary_scaling(section, c.max_positions);
  const double base = section.number("rope_theta", c.rotary_base, 1, 1e12);
  if (options.has("rope_theta") && base != c.rotary_base)
    options.fault("rope_theta", "expected " + Node::number(base).scalar + " as in rope_parameters, found " +
                                    quote(Node::number(c.rotary_base).scalar));
  if (has_old && scaling != c.rotary_scaling) options.fault("rope_scaling", "expected the same as rope_parameters says");
  c.rotary_base = base;
  c.rotary_scaling = scaling;
  check_trained();
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
  const bool is_switched_on = options.boolean("use_sliding_window", c.model_type != "qwen2");
  const bool is_used = is_switched_on || c.model_type == "mistral";                    // which has no switch
  const bool has_default = c.model_type != "llama" && !options.has("sliding_window");  // of transformers; null says none
  const int64_t window = has_default ? 4096 : integer_or(options, "sliding_window", c.max_positions, 1, kMaxPositions);
  if (is_used) c.max_positions = std::min(c.max_positions, window);
  const Node* types = options.raw("layer_types");
  if (types == nullptr || is_used) return;
  for (const Node& type : types->items) {
    if (type.scalar != "full_attention")
      options.fault("layer_types", "only \"full_attention\" is supported, found " + quote(type.scalar));
  }
}

// Touvron et al. 2023 (arXiv:2302.13971); LLaMA 2 and 3 share key heads between query heads.
void read_llama(Options& options, ModelConfig& c) {
  const StackKeys keys{"num_hidden_layers", "num_attention_heads", "intermediate_size"};
  c.width = options.integer("hidden_size", std::nullopt, 1, kMaxWidth);
  StackConfig& stack = c.decoder.emplace(read_stack(options, keys));
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", 2048, 1, kMaxPositions);
  if (is_given(options, "head_dim")) {
    stack.attention_width = stack.heads * options.integer("head_dim", std::nullopt, 1, kMaxWidth);
    stack.attention_scale = 1.0 / std::sqrt(static_cast<double>(stack.head_width()));
  } else {
    split_width(options, c, keys, stack);
  }
  if (stack.head_width() % 2 != 0)
    options.fault("head_dim", "rotary positions take heads of even width, found " + quote(std::to_string(stack.head_width())));
  stack.key_heads = integer_or(options, "num_key_value_heads", stack.heads, 1, kMaxHeads);
  if (stack.heads % stack.key_heads != 0) {
    options.fault("num_key_value_heads", "expected a divisor of num_attention_heads " + std::to_string(stack.heads) + ", found " +
                                             quote(std::to_string(stack.key_heads)));
  }
  read_pad_id(options, c);
  read_rotary(options, c);
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
  read_output(options, c, false);
}

}  // namespace

ModelConfig parse_config(const Node& json, const std::string& source, const IgnoredKeys& ignored) {
  Options options(json, source);
  ModelConfig config;
  config.model_type = options.choice("model_type", std::nullopt, known_families());
  if (const Node* type = options.raw("model_type"); type == nullptr || type->scalar != config.model_type) {
    for (const std::string& key : options.unread()) options.ignore(key);  // of a family that is not known here
    options.finish();
  }
  if (config.model_type == "bart") read_bart(options, config);
  else if (config.model_type == "t5" || config.model_type == "mt5") read_t5(options, config);
  else if (config.model_type == "gpt2") read_gpt2(options, config);
  else if (config.model_type == "llama" || config.model_type == "mistral" || config.model_type == "qwen2")
    read_llama(options, config);
  else read_bert(options, config);
  config.is_classifier = names_classifier(options, config.model_type);
  config.ignored_keys = check_unread_keys(options, config.model_type, ignored);
  options.finish();
  return config;
}

ModelConfig read_config(const Path& model, const IgnoredKeys& ignored) {
  if (is_gguf(model)) return read_gguf_config(model, ignored);
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
  return parse_config(parse_json(read_file(file), file.string()), file.string(), ignored);
}

}  // namespace graft
