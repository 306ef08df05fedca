#include "model/config.h"

#include <algorithm>

#include "base/error.h"
#include "base/options.h"
#include "model/families.h"

namespace graft {

namespace {

constexpr int64_t kMaxWidth = 1 << 20;

// Keys that name the file's origin, its tokens or settings of other programs; none changes a number computed here.
constexpr const char* kHarmless[] = {
    "_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version", "use_cache", "gradient_checkpointing",
    "initializer_range", "bos_token_id", "eos_token_id", "id2label", "label2id", "num_labels", "problem_type", "finetuning_task",
    "classifier_dropout", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
    "pooler_type", "directionality", "model_type", "tie_word_embeddings", "return_dict", "output_attentions",
    "output_hidden_states", "language", "name", "sep_token_id", "cls_token_id", "task_specific_params", "attn_implementation",
    "_attn_implementation_autoset"};

Activation parse_activation(const std::string& name) {
  if (name == "gelu") return Activation::kGelu;
  if (name == "relu") return Activation::kRelu;
  return Activation::kGeluTanh;
}

// A switch that must have the value under which the trunk computes.
void require_value(Options& options, const char* key, const std::string& value) {
  const std::string found = options.text(key, value);
  if (found != value) options.fault(key, "only " + quote(value) + " is supported, found " + quote(found));
}

}  // namespace

ModelConfig parse_config(const Node& json, const std::string& source) {
  Options options(json, source);
  ModelConfig config;
  config.model_type = options.choice("model_type", std::nullopt, known_families());
  config.width = options.integer("hidden_size", std::nullopt, 1, kMaxWidth);
  config.layers = options.integer("num_hidden_layers", std::nullopt, 1, 1000);
  config.heads = options.integer("num_attention_heads", std::nullopt, 1, 4096);
  config.ffn_width = options.integer("intermediate_size", std::nullopt, 1, kMaxWidth);
  config.vocabulary = options.integer("vocab_size", std::nullopt, 1, int64_t{1} << 24);
  config.max_positions = options.integer("max_position_embeddings", std::nullopt, 1, int64_t{1} << 22);
  config.type_vocabulary = options.integer("type_vocab_size", std::nullopt, 1, 1 << 16);
  config.pad_id = options.integer("pad_token_id", config.model_type == "roberta" ? 1 : 0, 0, std::max<int64_t>(1, config.vocabulary - 1));
  config.norm_epsilon = options.number("layer_norm_eps", 1e-12, 0, 1);
  config.hidden_dropout = options.number("hidden_dropout_prob", 0.1, 0, 1);
  config.attention_dropout = options.number("attention_probs_dropout_prob", 0.1, 0, 1);
  config.activation = parse_activation(options.choice("hidden_act", "gelu", {"gelu", "gelu_new", "gelu_pytorch_tanh", "relu"}));
  config.classifier_dropout = config.hidden_dropout;
  if (const Node* own = options.raw("classifier_dropout"); own != nullptr && own->kind != Node::Kind::kNull) {
    config.classifier_dropout = options.number("classifier_dropout", 0.1, 0, 1);
  }
  if (config.model_type == "roberta") {  // position ids start after the padding id's row
    config.position_offset = config.pad_id + 1;
    config.max_positions -= config.position_offset;
    if (config.max_positions < 1) options.fault("max_position_embeddings", "expected more rows than pad_token_id + 1");
  }
  if (config.width % config.heads != 0) {
    options.fault("num_attention_heads", "expected a divisor of hidden_size " + std::to_string(config.width) + ", found " +
                                             quote(std::to_string(config.heads)));
  }
  require_value(options, "position_embedding_type", "absolute");
  require_value(options, "is_decoder", "false");
  require_value(options, "add_cross_attention", "false");
  require_value(options, "is_encoder_decoder", "false");
  require_value(options, "chunk_size_feed_forward", "0");
  if (const Node* pruned = options.raw("pruned_heads"); pruned != nullptr && !(pruned->members.empty() && pruned->items.empty())) {
    options.fault("pruned_heads", "pruned heads are not supported");
  }
  for (const char* key : kHarmless) options.ignore(key);
  options.finish();
  return config;
}

ModelConfig load_config(const Path& model_dir) {
  const Path file = model_dir / "config.json";
  if (!std::filesystem::exists(file)) {
    throw InputError("'" + file.string() + "': no such file; a model is a Hugging Face folder with config.json, *.safetensors and tokenizer.json");
  }
  return parse_config(parse_json(read_file(file), file.string()), file.string());
}

}  // namespace graft
