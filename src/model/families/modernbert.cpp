// ModernBERT (Warner et al. 2024, arXiv:2412.13663): a pre-norm encoder with rotary positions whose
// blocks see a window of tokens, and every third one all of them. Norms have no bias, one stands on
// the embeddings, and the first block's attention has none of its own. One layer makes queries,
// keys and values, another gate and up. Classifiers read the head for masks.
#include <algorithm>

#include "model/families/all.h"
#include "model/families/config_reader.h"
#include "model/families/names.h"

namespace graft {

namespace {

// Our layers in the order in which one layer of the checkpoint gives their outputs.
CheckpointNames fused(const std::vector<Part>& ours, const std::string& theirs) {
  CheckpointNames names;
  for (size_t i = 0; i < ours.size(); ++i) {
    const std::string piece = "[" + std::to_string(i) + "/" + std::to_string(ours.size()) + "]";
    names.emplace_back(weight_of(enc(ours[i])), theirs + ".weight" + piece);
    names.emplace_back(bias_of(enc(ours[i])), theirs + ".bias" + piece);
  }
  return names;
}

CheckpointNames modernbert_names() {
  CheckpointNames names = without_biases({{trunk(Part::kEmbedWord), "embeddings.tok_embeddings"}});
  append(names, with_biases({{trunk(Part::kEmbedNorm), "embeddings.norm"},
                             {enc(Part::kAttnNorm), "layers.#.attn_norm"}}));
  append(names, fused({Part::kAttnQ, Part::kAttnK, Part::kAttnV}, "layers.#.attn.Wqkv"));
  append(names, with_biases({{enc(Part::kAttnO), "layers.#.attn.Wo"},
                             {enc(Part::kFfnNorm), "layers.#.mlp_norm"}}));
  append(names, fused({Part::kFfnGate, Part::kFfnUp}, "layers.#.mlp.Wi"));
  append(names,
         with_biases({{enc(Part::kFfnDown), "layers.#.mlp.Wo"}, {enc(Part::kNorm), "final_norm"}}));
  return names;
}

CheckpointNames modernbert_mask_names() {
  CheckpointNames names =
      with_biases({{trunk(Part::kMaskDense), "head.dense"}, {trunk(Part::kMaskNorm), "head.norm"}});
  append(names, {{bias_of(trunk(Part::kMask)), "decoder.bias"}, {kOutputTable, "decoder.weight"}});
  return names;
}

Activation read_activation(Options& options, const char* key) {
  std::vector<std::string> names = plain_activations();
  names.emplace_back("silu");
  return parse_activation(options.choice(key, "gelu", names));
}

// The base of one kind of blocks; transformers 5 writes it in a section of rope_parameters, and a
// file that has both keys must say the same with both.
double read_base(Options& options, const char* key, const char* kind, double otherwise) {
  const double base = options.is_given(key) ? options.number(key, otherwise, 1, 1e12) : otherwise;
  if (!options.is_given("rope_parameters")) return base;
  Options& all = options.section("rope_parameters");
  if (!all.is_given(kind)) return base;
  Options& section = all.section(kind);
  require_value(section, "rope_type", "default");
  const double own = section.number("rope_theta", base, 1, 1e12);
  if (options.is_given(key) && own != base)
    options.fault(key, "expected " + Node::number(own).scalar + " as in rope_parameters");
  return own;
}

// Blocks are local but for every n-th, from the first on; layer_types says it block by block.
std::vector<bool> read_local_blocks(Options& options, int64_t layers) {
  const int64_t every = options.integer("global_attn_every_n_layers", 3, 1, kMaxLayers);
  std::vector<bool> local;
  for (int64_t i = 0; i < layers; ++i) local.push_back(i % every != 0);
  if (!options.is_given("layer_types")) return local;
  const std::vector<std::string> types = options.texts("layer_types", std::nullopt);
  local.clear();
  for (const std::string& type : types) {
    local.push_back(type == "sliding_attention");
    if (!local.back() && type != "full_attention")
      options.fault("layer_types",
                    "expected \"full_attention\" or \"sliding_attention\", found " + quote(type));
  }
  if (static_cast<int64_t>(local.size()) != layers)
    options.fault("layer_types", "expected one for each of the " + std::to_string(layers) +
                                     " layers, found " + std::to_string(local.size()));
  local.resize(static_cast<size_t>(layers));
  return local;
}

void read_stack_of_modernbert(Options& options, const ModelConfig& c, StackConfig& stack) {
  stack.has_attention_bias = stack.has_attention_output_bias =
      options.boolean("attention_bias", false);
  stack.has_gated_ffn = true;
  stack.has_ffn_bias = options.boolean("mlp_bias", false);
  stack.activation = read_activation(options, "hidden_activation");
  stack.norm_place = NormPlace::kBefore;
  stack.norm = {Norm::kLayer, options.number("norm_eps", 1e-5, 0, 1),
                options.boolean("norm_bias", false)};
  stack.embed_norm = stack.final_norm = stack.norm;
  stack.has_first_norm = false;
  if (stack.head_width() % 2 != 0)
    options.fault("num_attention_heads", "rotary positions take heads of even width, found " +
                                             quote(std::to_string(c.width / stack.heads)));
  const Rotary global{read_base(options, "global_rope_theta", "full_attention", 160000), {}};
  const bool has_local_base = !options.has("local_rope_theta") ||
                              options.is_given("local_rope_theta");  // null: as global blocks
  const Rotary local{read_base(options, "local_rope_theta", "sliding_attention",
                               has_local_base ? 10000 : global.base),
                     {}};
  stack.positions = global;
  // A window of so many tokens reaches half as far on each side.
  const int64_t window = options.integer("local_attention", 128, 1, kMaxPositions) / 2;
  const std::vector<bool> blocks = read_local_blocks(options, stack.layers);
  if (std::find(blocks.begin(), blocks.end(), true) != blocks.end())
    stack.local = LocalAttention{window, blocks, local};
}

void read_modernbert(Options& options, ModelConfig& c) {
  const StackKeys keys{"num_hidden_layers", "num_attention_heads", "intermediate_size"};
  c.width = options.integer("hidden_size", 768, 1, kMaxWidth);
  StackConfig& stack = c.encoder.emplace(read_stack(options, keys));
  split_width(options, c, keys, stack);
  c.vocabulary = options.integer("vocab_size", 50368, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", 8192, 1, kMaxPositions);
  read_pad_id(options, c, std::min<int64_t>(50283, c.vocabulary - 1));
  read_stack_of_modernbert(options, c, stack);
  c.embed_dropout = dropout_rate(options, "embedding_dropout", 0);
  c.hidden_dropout = c.attention_dropout = 0;
  c.activation_dropout = dropout_rate(options, "mlp_dropout", 0);
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", 0);
  c.read_row = options.choice("classifier_pooling", "cls", {"cls", "mean"}) == "mean"
                   ? ReadRow::kMean
                   : ReadRow::kFirst;
  c.head_style = HeadStyle::kMaskStates;
  c.mask_head = {.activation = read_activation(options, "classifier_activation"),
                 .norm = stack.norm,
                 .has_dense_bias = options.boolean("classifier_bias", false),
                 .has_output_bias = options.boolean("decoder_bias", true)};
  read_output(options, c, true);
}

}  // namespace

std::vector<Family> modernbert_families() {
  return {{.model_type = "modernbert",
           .read_config = read_modernbert,
           .keys =
               {// Above 0 the output of attention drops out, too, and the FFN's does not.
                {{"attention_dropout"}, {"0", "0.0"}},
                {{"is_causal"}, {"false"}},
                {{"num_future_masks", "position_embedding_type", "layer_norm_eps",
                  "initializer_cutoff_factor", "deterministic_flash_attn", "reference_compile",
                  "repad_logits_with_grad", "sparse_prediction", "sparse_pred_ignore_index"}}},
           .has_gated_ffn = true,
           .prefixes = {"model.", ""},
           .names = modernbert_names(),
           .unused = {"classifier.", "decoder."},
           .classifier_class = "ModernBertForSequenceClassification",
           .head_names = {{"out", "classifier"}},
           .mask_names = modernbert_mask_names()}};
}

}  // namespace graft
