#include "model/families.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

namespace {

using Names = CheckpointNames;
using HeadNames = std::vector<std::pair<std::string, std::string>>;
using Layers = std::vector<std::pair<Place, std::string>>;

constexpr Place trunk(Part part) { return {.part = part}; }
// In the first block, where the part is one of blocks.
constexpr Place in_stack(StackId stack, Part part) {
  return {stack, static_cast<int16_t>(is_of_block(part) ? 0 : -1), part};
}
constexpr Place enc(Part part) { return in_stack(StackId::kEncoder, part); }
constexpr Place dec(Part part) { return in_stack(StackId::kDecoder, part); }

// Each stack of an encoder-decoder may hold the one word table under a name of its own.
const Names kStackTables = {{kWordTable, "encoder.embed_tokens.weight"}, {kWordTable, "decoder.embed_tokens.weight"}};

void append(Names& names, const Names& more) { names.insert(names.end(), more.begin(), more.end()); }

// Weight and bias of each.
Names with_biases(const Layers& layers) {
  Names names;
  for (const auto& [ours, theirs] : layers) {
    names.emplace_back(weight_of(ours), theirs + ".weight");
    names.emplace_back(bias_of(ours), theirs + ".bias");
  }
  return names;
}

Names without_biases(const Layers& layers) {
  Names names;
  for (const auto& [ours, theirs] : layers) names.emplace_back(weight_of(ours), theirs + ".weight");
  return names;
}

// BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) share one encoder; so do their checkpoints' names.
Names bert_names() {
  Names names = without_biases({{trunk(Part::kEmbedWord), "embeddings.word_embeddings"},
                                {trunk(Part::kEmbedPosition), "embeddings.position_embeddings"},
                                {trunk(Part::kEmbedType), "embeddings.token_type_embeddings"}});
  append(names, with_biases({{trunk(Part::kEmbedNorm), "embeddings.LayerNorm"},
                             {enc(Part::kAttnQ), "encoder.layer.#.attention.self.query"},
                             {enc(Part::kAttnK), "encoder.layer.#.attention.self.key"},
                             {enc(Part::kAttnV), "encoder.layer.#.attention.self.value"},
                             {enc(Part::kAttnO), "encoder.layer.#.attention.output.dense"},
                             {enc(Part::kAttnNorm), "encoder.layer.#.attention.output.LayerNorm"},
                             {enc(Part::kFfnUp), "encoder.layer.#.intermediate.dense"},
                             {enc(Part::kFfnDown), "encoder.layer.#.output.dense"},
                             {enc(Part::kFfnNorm), "encoder.layer.#.output.LayerNorm"},
                             {kPooler, "pooler.dense"}}));
  return names;
}

Names bart_attention(StackId stack, const AttentionParts& ours, const std::string& theirs) {
  return with_biases({{in_stack(stack, ours.q), theirs + ".q_proj"},
                      {in_stack(stack, ours.k), theirs + ".k_proj"},
                      {in_stack(stack, ours.v), theirs + ".v_proj"},
                      {in_stack(stack, ours.o), theirs + ".out_proj"},
                      {in_stack(stack, ours.norm), theirs + "_layer_norm"}});
}

Names bart_ffn(StackId stack, const std::string& theirs) {
  return with_biases({{in_stack(stack, Part::kFfnUp), theirs + ".fc1"},
                      {in_stack(stack, Part::kFfnDown), theirs + ".fc2"},
                      {in_stack(stack, Part::kFfnNorm), theirs + ".final_layer_norm"}});
}

Names bart_names() {
  Names names =
      without_biases({{trunk(Part::kEmbedWord), "shared"}, {trunk(Part::kEmbedPosition), "encoder.embed_positions"}});
  append(names, with_biases({{trunk(Part::kEmbedNorm), "encoder.layernorm_embedding"}}));
  append(names, bart_attention(StackId::kEncoder, kOwnAttention, "encoder.layers.#.self_attn"));
  append(names, bart_ffn(StackId::kEncoder, "encoder.layers.#"));
  append(names, without_biases({{dec(Part::kEmbedPosition), "decoder.embed_positions"}}));
  append(names, with_biases({{dec(Part::kEmbedNorm), "decoder.layernorm_embedding"}}));
  append(names, bart_attention(StackId::kDecoder, kOwnAttention, "decoder.layers.#.self_attn"));
  append(names, bart_attention(StackId::kDecoder, kCrossAttention, "decoder.layers.#.encoder_attn"));
  append(names, bart_ffn(StackId::kDecoder, "decoder.layers.#"));
  append(names, without_biases({{trunk(Part::kLm), "lm_head"}}));
  return names;
}

// One sublayer of a block of T5: its own norm stands beside it.
Names t5_attention(StackId stack, const AttentionParts& ours, const std::string& layer, const std::string& kind) {
  return without_biases({{in_stack(stack, ours.q), layer + "." + kind + ".q"},
                         {in_stack(stack, ours.k), layer + "." + kind + ".k"},
                         {in_stack(stack, ours.v), layer + "." + kind + ".v"},
                         {in_stack(stack, ours.o), layer + "." + kind + ".o"},
                         {in_stack(stack, ours.norm), layer + ".layer_norm"}});
}

Names t5_ffn(StackId stack, const std::string& layer, bool is_gated) {
  const std::string dense = layer + ".DenseReluDense.";
  Names names;
  if (is_gated) append(names, without_biases({{in_stack(stack, Part::kFfnGate), dense + "wi_0"}}));
  append(names, without_biases({{in_stack(stack, Part::kFfnUp), dense + (is_gated ? "wi_1" : "wi")},
                                {in_stack(stack, Part::kFfnDown), dense + "wo"},
                                {in_stack(stack, Part::kFfnNorm), layer + ".layer_norm"}}));
  return names;
}

Names t5_names(bool is_gated) {
  const std::string relative = ".block.0.layer.0.SelfAttention.relative_attention_bias";
  const std::string encoder = "encoder.block.#.layer.", decoder = "decoder.block.#.layer.";
  Names names = without_biases({{trunk(Part::kEmbedWord), "shared"}, {enc(Part::kDistance), "encoder" + relative}});
  append(names, t5_attention(StackId::kEncoder, kOwnAttention, encoder + "0", "SelfAttention"));
  append(names, t5_ffn(StackId::kEncoder, encoder + "1", is_gated));
  append(names, without_biases({{enc(Part::kNorm), "encoder.final_layer_norm"}, {dec(Part::kDistance), "decoder" + relative}}));
  append(names, t5_attention(StackId::kDecoder, kOwnAttention, decoder + "0", "SelfAttention"));
  append(names, t5_attention(StackId::kDecoder, kCrossAttention, decoder + "1", "EncDecAttention"));
  append(names, t5_ffn(StackId::kDecoder, decoder + "2", is_gated));
  append(names, without_biases({{dec(Part::kNorm), "decoder.final_layer_norm"}, {trunk(Part::kLm), "lm_head"}}));
  return names;
}

Names gpt2_names() {
  Names names = without_biases({{trunk(Part::kEmbedWord), "wte"}, {trunk(Part::kEmbedPosition), "wpe"}});
  append(names, with_biases({{dec(Part::kAttnNorm), "h.#.ln_1"}}));
  for (const auto& [ours, piece] : {std::pair{Part::kAttnQ, "[0/3]"}, std::pair{Part::kAttnK, "[1/3]"},
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

Names llama_names() {
  Names names = without_biases({{trunk(Part::kEmbedWord), "embed_tokens"}, {dec(Part::kAttnNorm), "layers.#.input_layernorm"}});
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

bool is_present(const TensorId& tensor, const Family& family, const ModelConfig& c) {
  const Part part = tensor.place.part;
  if (part == Part::kPooler) return family.head_style == HeadStyle::kPooler;
  if (part == Part::kLm)  // of an encoder it belongs to the head that fills masks in
    return !c.has_tied_output && (c.has_output_layer() || !c.has_decoder());
  if (tensor.kind == TensorKind::kWeight || is_norm(part)) return true;
  if (is_attention_output(part)) return c.has_attention_output_bias;
  return is_ffn_layer(part) ? c.has_ffn_bias : c.has_attention_bias;
}

std::vector<int64_t> slot_shape(const TensorId& tensor, const ModelConfig& c) {
  const StackConfig& s = tensor.place.stack == StackId::kEncoder ? *c.encoder : c.last();
  const auto layer = [&](int64_t out, int64_t in) {
    return tensor.kind == TensorKind::kBias ? std::vector<int64_t>{out} : std::vector<int64_t>{out, in};
  };
  switch (tensor.place.part) {
    case Part::kAttnQ:
    case Part::kCrossQ: return layer(s.attention_width, c.width);
    case Part::kAttnK:
    case Part::kAttnV:
    case Part::kCrossK:
    case Part::kCrossV: return layer(s.key_width(), c.width);
    case Part::kAttnO:
    case Part::kCrossO: return layer(c.width, s.attention_width);
    case Part::kFfnUp:
    case Part::kFfnGate: return layer(s.ffn_width, c.width);
    case Part::kFfnDown: return layer(c.width, s.ffn_width);
    case Part::kAttnNorm:
    case Part::kCrossNorm:
    case Part::kFfnNorm:
    case Part::kNorm:
    case Part::kEmbedNorm:
    case Part::kMaskNorm: return {c.width};
    case Part::kDistance: return {c.distance_buckets, s.heads};
    case Part::kEmbedPosition: return {c.max_positions + c.position_offset, c.width};
    case Part::kEmbedType: return {c.type_vocabulary, c.width};
    case Part::kEmbedWord:
    case Part::kLm: return {c.vocabulary, c.width};
    case Part::kPooler:
    case Part::kMaskDense: return layer(c.width, c.width);
    case Part::kMask: return {c.vocabulary};
    default: throw InternalError("no tensor stands at " + to_name(tensor.place));
  }
}

Names mask_names(const std::string& dense, const std::string& norm, const std::string& head) {
  Names names = with_biases({{trunk(Part::kMaskDense), dense}, {trunk(Part::kMaskNorm), norm}});
  append(names, {{bias_of(trunk(Part::kMask)), head + ".bias"}, {kOutputTable, head + ".decoder.weight"}});
  return names;
}

std::string with_layer(std::string pattern, const std::string& layer) {
  const size_t hole = pattern.find('#');
  return hole == std::string::npos ? pattern : pattern.replace(hole, 1, layer);
}

// Heads of classifiers beside a decoder: a score for every label, or RoBERTa's two layers under another name.
const HeadNames kScoreAlone = {{"out", "score"}};
const HeadNames kDenseBesideDecoder = {{"dense", "classification_head.dense"}, {"out", "classification_head.out_proj"}};

Family t5_family(const std::string& model_type, bool is_gated) {
  return {.model_type = model_type,
          .has_gated_ffn = is_gated,
          .read_row = ReadRow::kLastEnd,
          .head_style = HeadStyle::kDense,
          .prefixes = {"transformer.", ""},
          .names = t5_names(is_gated),
          .copies = kStackTables,
          // Of old checkpoints: a table that the decoder never reads.
          .unused = {"classification_head.", "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias."},
          .classifier_class = model_type == "t5" ? "T5ForSequenceClassification" : "MT5ForSequenceClassification",
          .head_names = kDenseBesideDecoder};
}

Family llama_family(const std::string& model_type, const std::string& classifier_class) {
  return {.model_type = model_type,
          .has_gated_ffn = true,
          .read_row = ReadRow::kLastToken,
          .prefixes = {"model.", ""},
          .plain_prefix = "model.",
          .names = llama_names(),
          .unused = {"layers.#.self_attn.rotary_emb.", "rotary_emb.", "score."},
          .classifier_class = classifier_class,
          .head_names = kScoreAlone};
}

}  // namespace

const std::vector<Family>& all_families() {
  static const std::vector<Family> table = {
      {.model_type = "bert",
       .head_style = HeadStyle::kPooler,
       .prefixes = {"bert.", ""},
       .names = bert_names(),
       .copies = {{bias_of(trunk(Part::kMask)), "cls.predictions.decoder.bias"}},
       .unused = {"cls.", "classifier.", "embeddings.position_ids"},
       .classifier_class = "BertForSequenceClassification",
       .head_names = {{"out", "classifier"}},
       .mask_names = mask_names("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions")},
      {.model_type = "roberta",
       .head_style = HeadStyle::kDense,
       .prefixes = {"roberta.", ""},
       .names = bert_names(),
       .copies = {{bias_of(trunk(Part::kMask)), "lm_head.decoder.bias"}},
       .unused = {"lm_head.", "classifier.", "pooler.", "embeddings.position_ids"},
       .classifier_class = "RobertaForSequenceClassification",
       .head_names = {{"dense", "classifier.dense"}, {"out", "classifier.out_proj"}},
       .mask_names = mask_names("lm_head.dense", "lm_head.layer_norm", "lm_head")},
      {.model_type = "bart",
       .read_row = ReadRow::kLastEnd,
       .head_style = HeadStyle::kDense,
       .prefixes = {"model.", ""},
       .plain_prefix = "model.",
       .names = bart_names(),
       .copies = kStackTables,
       .unused = {"classification_head."},
       .classifier_class = "BartForSequenceClassification",
       .head_names = kDenseBesideDecoder,
       .zero = {"final_logits_bias"}},
      t5_family("t5", false),
      t5_family("t5", true),
      t5_family("mt5", true),
      t5_family("mt5", false),
      {.model_type = "gpt2",
       .read_row = ReadRow::kLastToken,
       .prefixes = {"transformer.", ""},
       .plain_prefix = "transformer.",
       .names = gpt2_names(),
       .unused = {"score.", "h.#.attn.bias", "h.#.attn.masked_bias"},
       .classifier_class = "GPT2ForSequenceClassification",
       .head_names = kScoreAlone,
       .stores_transposed = true},
      llama_family("llama", "LlamaForSequenceClassification"),
      llama_family("mistral", "MistralForSequenceClassification"),
      llama_family("qwen2", "Qwen2ForSequenceClassification"),
  };
  return table;
}

const Family& family_of(const std::string& model_type) {
  for (const Family& family : all_families()) {
    if (family.model_type == model_type) return family;
  }
  throw InputError("model_type " + quote(model_type) + " is not supported" + did_you_mean(model_type, known_families()) +
                   "; known families: " + joined(known_families()));
}

const Family& family_of(const ModelConfig& config) {
  for (const Family& family : all_families()) {
    if (family.model_type == config.model_type && family.has_gated_ffn == config.has_gated_ffn) return family;
  }
  return family_of(config.model_type);
}

bool has_pooler(const ModelConfig& config) { return family_of(config).head_style == HeadStyle::kPooler; }

std::vector<std::string> known_families() {
  std::vector<std::string> names;
  for (const Family& family : all_families()) {
    if (std::find(names.begin(), names.end(), family.model_type) == names.end()) names.push_back(family.model_type);
  }
  return names;
}

std::vector<TensorSlot> tensor_slots(const ModelConfig& config) {
  const Family& family = family_of(config);
  std::vector<TensorSlot> slots;
  const auto add = [&](TensorId tensor, int64_t layer) {
    if (!is_present(tensor, family, config)) return;
    tensor.place.layer = static_cast<int16_t>(layer);
    slots.push_back({tensor, slot_shape(tensor, config), tensor.place.part == Part::kPooler});
  };
  for (auto it = family.names.begin(); it != family.names.end();) {  // those of a block follow each other
    const Place& first = it->first.place;
    const auto end = std::find_if(it, family.names.end(), [&](const auto& name) {
      return is_of_block(name.first.place.part) != is_of_block(first.part) || name.first.place.stack != first.stack;
    });
    const bool is_block = is_of_block(first.part);
    const int64_t times = is_block ? config.stack(first.stack).layers : 1;
    for (int64_t layer = 0; layer < times; ++layer) {
      for (auto each = it; each != end; ++each) add(each->first, is_block ? layer : -1);
    }
    it = end;
  }
  return slots;
}

std::vector<TensorSlot> mask_head_slots(const ModelConfig& config) {
  std::vector<TensorSlot> slots;
  for (const auto& [ours, theirs] : family_of(config).mask_names) {
    if (is_present(ours, family_of(config), config)) slots.push_back({ours, slot_shape(ours, config), true});
  }
  return slots;
}

std::vector<TensorSlot> all_slots(const ModelConfig& config) {
  std::vector<TensorSlot> slots = tensor_slots(config);
  for (TensorSlot& slot : mask_head_slots(config)) slots.push_back(std::move(slot));
  return slots;
}

bool is_stored_transposed(const Family& family, const TensorId& tensor) {
  return family.stores_transposed && !is_embedding(tensor.place) && tensor != kOutputTable;
}

CheckpointPiece piece_of(const std::string& checkpoint_name) {
  const size_t open = checkpoint_name.find('[');
  if (open == std::string::npos) return {checkpoint_name};
  const size_t slash = checkpoint_name.find('/', open);
  return {checkpoint_name.substr(0, open), std::stoll(checkpoint_name.substr(open + 1, slash - open - 1)),
          std::stoll(checkpoint_name.substr(slash + 1))};
}

std::optional<std::string> checkpoint_name(const Family& family, const TensorId& tensor) {
  TensorId first = tensor;
  if (is_of_block(tensor.place.part)) first.place.layer = 0;
  for (const auto* names : {&family.names, &family.mask_names}) {
    for (const auto& [ours, theirs] : *names) {
      if (ours == first) return with_layer(theirs, std::to_string(tensor.place.layer));
    }
  }
  return std::nullopt;
}

}  // namespace graft
