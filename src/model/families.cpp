#include "model/families.h"

#include <algorithm>

#include "base/error.h"
#include "model/sites.h"

namespace graft {

namespace {

using Names = std::vector<std::pair<std::string, std::string>>;

// Each stack of an encoder-decoder may hold the one word table under a name of its own.
const Names kStackTables = {{"embed.word.weight", "encoder.embed_tokens.weight"},
                            {"embed.word.weight", "decoder.embed_tokens.weight"}};

void append(Names& names, const Names& more) { names.insert(names.end(), more.begin(), more.end()); }

// Weight and bias of each.
Names with_biases(const Names& layers) {
  Names names;
  for (const auto& [ours, theirs] : layers) {
    names.emplace_back(ours + ".weight", theirs + ".weight");
    names.emplace_back(ours + ".bias", theirs + ".bias");
  }
  return names;
}

// BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) share one encoder; so do their checkpoints' names.
Names bert_names() {
  Names names = {{"embed.word.weight", "embeddings.word_embeddings.weight"},
                 {"embed.position.weight", "embeddings.position_embeddings.weight"},
                 {"embed.type.weight", "embeddings.token_type_embeddings.weight"}};
  append(names, with_biases({{"embed.norm", "embeddings.LayerNorm"},
                             {"enc.#.attn.q", "encoder.layer.#.attention.self.query"},
                             {"enc.#.attn.k", "encoder.layer.#.attention.self.key"},
                             {"enc.#.attn.v", "encoder.layer.#.attention.self.value"},
                             {"enc.#.attn.o", "encoder.layer.#.attention.output.dense"},
                             {"enc.#.attn.norm", "encoder.layer.#.attention.output.LayerNorm"},
                             {"enc.#.ffn.up", "encoder.layer.#.intermediate.dense"},
                             {"enc.#.ffn.down", "encoder.layer.#.output.dense"},
                             {"enc.#.ffn.norm", "encoder.layer.#.output.LayerNorm"},
                             {"pooler", "pooler.dense"}}));
  return names;
}

Names bart_attention(const std::string& ours, const std::string& theirs) {
  return with_biases({{ours + ".q", theirs + ".q_proj"},
                      {ours + ".k", theirs + ".k_proj"},
                      {ours + ".v", theirs + ".v_proj"},
                      {ours + ".o", theirs + ".out_proj"},
                      {ours + ".norm", theirs + "_layer_norm"}});
}

Names bart_ffn(const std::string& ours, const std::string& theirs) {
  return with_biases({{ours + ".ffn.up", theirs + ".fc1"},
                      {ours + ".ffn.down", theirs + ".fc2"},
                      {ours + ".ffn.norm", theirs + ".final_layer_norm"}});
}

Names bart_names() {
  Names names = {{"embed.word.weight", "shared.weight"}, {"embed.position.weight", "encoder.embed_positions.weight"}};
  append(names, with_biases({{"embed.norm", "encoder.layernorm_embedding"}}));
  append(names, bart_attention("enc.#.attn", "encoder.layers.#.self_attn"));
  append(names, bart_ffn("enc.#", "encoder.layers.#"));
  names.emplace_back("dec.embed.position.weight", "decoder.embed_positions.weight");
  append(names, with_biases({{"dec.embed.norm", "decoder.layernorm_embedding"}}));
  append(names, bart_attention("dec.#.attn", "decoder.layers.#.self_attn"));
  append(names, bart_attention("dec.#.cross", "decoder.layers.#.encoder_attn"));
  append(names, bart_ffn("dec.#", "decoder.layers.#"));
  names.emplace_back("lm.weight", "lm_head.weight");
  return names;
}

// One sublayer of a block of T5: its own norm stands beside it.
Names t5_attention(const std::string& ours, const std::string& layer, const std::string& kind) {
  Names names;
  for (const char* each : {"q", "k", "v", "o"})
    names.emplace_back(ours + "." + each + ".weight", layer + "." + kind + "." + each + ".weight");
  names.emplace_back(ours + ".norm.weight", layer + ".layer_norm.weight");
  return names;
}

Names t5_ffn(const std::string& ours, const std::string& layer, bool is_gated) {
  const std::string dense = layer + ".DenseReluDense.";
  Names names;
  if (is_gated) names.emplace_back(ours + ".ffn.gate.weight", dense + "wi_0.weight");
  names.emplace_back(ours + ".ffn.up.weight", dense + (is_gated ? "wi_1.weight" : "wi.weight"));
  names.emplace_back(ours + ".ffn.down.weight", dense + "wo.weight");
  names.emplace_back(ours + ".ffn.norm.weight", layer + ".layer_norm.weight");
  return names;
}

Names t5_names(bool is_gated) {
  const std::string relative = ".block.0.layer.0.SelfAttention.relative_attention_bias.weight";
  const std::string encoder = "encoder.block.#.layer.", decoder = "decoder.block.#.layer.";
  Names names = {{"embed.word.weight", "shared.weight"}, {"enc.distance.weight", "encoder" + relative}};
  append(names, t5_attention("enc.#.attn", encoder + "0", "SelfAttention"));
  append(names, t5_ffn("enc.#", encoder + "1", is_gated));
  append(names, {{"enc.norm.weight", "encoder.final_layer_norm.weight"}, {"dec.distance.weight", "decoder" + relative}});
  append(names, t5_attention("dec.#.attn", decoder + "0", "SelfAttention"));
  append(names, t5_attention("dec.#.cross", decoder + "1", "EncDecAttention"));
  append(names, t5_ffn("dec.#", decoder + "2", is_gated));
  append(names, {{"dec.norm.weight", "decoder.final_layer_norm.weight"}, {"lm.weight", "lm_head.weight"}});
  return names;
}

Names gpt2_names() {
  Names names = {{"embed.word.weight", "wte.weight"}, {"embed.position.weight", "wpe.weight"}};
  append(names, with_biases({{"dec.#.attn.norm", "h.#.ln_1"}}));
  for (const auto& [ours, piece] :
       {std::pair{"q", "[0/3]"}, std::pair{"k", "[1/3]"}, std::pair{"v", "[2/3]"}}) {  // one layer makes all three
    for (const char* tensor : {".weight", ".bias"})
      names.emplace_back(std::string("dec.#.attn.") + ours + tensor, std::string("h.#.attn.c_attn") + tensor + piece);
  }
  append(names, with_biases({{"dec.#.attn.o", "h.#.attn.c_proj"},
                             {"dec.#.ffn.norm", "h.#.ln_2"},
                             {"dec.#.ffn.up", "h.#.mlp.c_fc"},
                             {"dec.#.ffn.down", "h.#.mlp.c_proj"},
                             {"dec.norm", "ln_f"}}));
  names.emplace_back("lm.weight", "lm_head.weight");
  return names;
}

Names llama_names() {
  Names names = {{"embed.word.weight", "embed_tokens.weight"}, {"dec.#.attn.norm.weight", "layers.#.input_layernorm.weight"}};
  append(names, with_biases({{"dec.#.attn.q", "layers.#.self_attn.q_proj"},
                             {"dec.#.attn.k", "layers.#.self_attn.k_proj"},
                             {"dec.#.attn.v", "layers.#.self_attn.v_proj"},
                             {"dec.#.attn.o", "layers.#.self_attn.o_proj"}}));
  names.emplace_back("dec.#.ffn.norm.weight", "layers.#.post_attention_layernorm.weight");
  append(names, with_biases({{"dec.#.ffn.gate", "layers.#.mlp.gate_proj"},
                             {"dec.#.ffn.up", "layers.#.mlp.up_proj"},
                             {"dec.#.ffn.down", "layers.#.mlp.down_proj"}}));
  append(names, {{"dec.norm.weight", "norm.weight"}, {"lm.weight", "lm_head.weight"}});
  return names;
}

bool is_bias(const std::string& pattern) { return pattern.ends_with(".bias"); }
bool is_norm(const std::string& pattern) { return pattern.find("norm.") != std::string::npos; }

bool is_present(const std::string& pattern, const Family& family, const ModelConfig& c) {
  if (pattern.starts_with("pooler.")) return family.head_style == HeadStyle::kPooler;
  if (pattern == "lm.weight")  // of an encoder it belongs to the head that fills masks in
    return !c.has_tied_output && (c.has_output_layer() || !c.has_decoder());
  if (!is_bias(pattern) || is_norm(pattern)) return true;
  if (pattern.ends_with(".o.bias")) return c.has_attention_output_bias;
  return pattern.find(".ffn.") != std::string::npos ? c.has_ffn_bias : c.has_attention_bias;
}

std::vector<int64_t> slot_shape(const std::string& pattern, const ModelConfig& c) {
  const auto ends = [&](const char* tail) { return pattern.ends_with(tail); };
  const StackConfig& s = pattern.starts_with("enc.") ? c.stack("enc") : c.last();
  if (pattern == "embed.word.weight" || pattern == "lm.weight") return {c.vocabulary, c.width};
  if (ends("embed.position.weight")) return {c.max_positions + c.position_offset, c.width};
  if (pattern == "embed.type.weight") return {c.type_vocabulary, c.width};
  if (ends(".distance.weight")) return {c.distance_buckets, s.heads};
  if (is_norm(pattern)) return {c.width};
  if (ends("ffn.up.weight") || ends("ffn.gate.weight")) return {s.ffn_width, c.width};
  if (ends("ffn.up.bias") || ends("ffn.gate.bias")) return {s.ffn_width};
  if (ends("ffn.down.weight")) return {c.width, s.ffn_width};
  if (ends(".q.weight")) return {s.attention_width, c.width};
  if (ends(".q.bias")) return {s.attention_width};
  if (ends(".k.weight") || ends(".v.weight")) return {s.key_width(), c.width};
  if (ends(".k.bias") || ends(".v.bias")) return {s.key_width()};
  if (ends(".o.weight")) return {c.width, s.attention_width};
  if (is_bias(pattern)) return {c.width};
  return {c.width, c.width};  // the pooler
}

Names mask_names(const std::string& dense, const std::string& norm, const std::string& head) {
  Names names = with_biases({{"mask.dense", dense}, {"mask.norm", norm}});
  append(names, {{"mask.bias", head + ".bias"}, {"lm.weight", head + ".decoder.weight"}});
  return names;
}

std::string with_layer(std::string pattern, const std::string& layer) {
  const size_t hole = pattern.find('#');
  return hole == std::string::npos ? pattern : pattern.replace(hole, 1, layer);
}

// Heads of classifiers beside a decoder: a score for every label, or RoBERTa's two layers under another name.
const Names kScoreAlone = {{"out", "score"}};
const Names kDenseBesideDecoder = {{"dense", "classification_head.dense"}, {"out", "classification_head.out_proj"}};

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

bool is_layered(const std::string& pattern) { return pattern.find('#') != std::string::npos; }

}  // namespace

const std::vector<Family>& all_families() {
  static const std::vector<Family> table = {
      {.model_type = "bert",
       .head_style = HeadStyle::kPooler,
       .prefixes = {"bert.", ""},
       .names = bert_names(),
       .copies = {{"mask.bias", "cls.predictions.decoder.bias"}},
       .unused = {"cls.", "classifier.", "embeddings.position_ids"},
       .classifier_class = "BertForSequenceClassification",
       .head_names = {{"out", "classifier"}},
       .mask_names = mask_names("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions")},
      {.model_type = "roberta",
       .head_style = HeadStyle::kDense,
       .prefixes = {"roberta.", ""},
       .names = bert_names(),
       .copies = {{"mask.bias", "lm_head.decoder.bias"}},
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
  const auto add = [&](const std::string& pattern, int64_t layer) {
    if (!is_present(pattern, family, config)) return;
    slots.push_back({with_layer(pattern, std::to_string(layer)), slot_shape(pattern, config), pattern.starts_with("pooler.")});
  };
  for (auto it = family.names.begin(); it != family.names.end();) {  // the patterns of a block follow each other
    const auto end = std::find_if(it, family.names.end(), [&](const auto& name) {
      return is_layered(name.first) != is_layered(it->first) || name.first.substr(0, 3) != it->first.substr(0, 3);
    });
    const int64_t times = !is_layered(it->first) ? 1 : config.stack(it->first.substr(0, 3)).layers;
    for (int64_t layer = 0; layer < times; ++layer) {
      for (auto each = it; each != end; ++each) add(each->first, layer);
    }
    it = end;
  }
  return slots;
}

std::vector<TensorSlot> mask_head_slots(const ModelConfig& config) {
  std::vector<TensorSlot> slots;
  for (const auto& [ours, theirs] : family_of(config).mask_names) {
    if (!is_present(ours, family_of(config), config)) continue;
    const bool is_matrix = ours == "mask.dense.weight";
    slots.push_back({ours,
                     ours == "lm.weight"   ? std::vector<int64_t>{config.vocabulary, config.width}
                     : ours == "mask.bias" ? std::vector<int64_t>{config.vocabulary}
                     : is_matrix           ? std::vector<int64_t>{config.width, config.width}
                                           : std::vector<int64_t>{config.width},
                     true});
  }
  return slots;
}

std::vector<TensorSlot> all_slots(const ModelConfig& config) {
  std::vector<TensorSlot> slots = tensor_slots(config);
  for (TensorSlot& slot : mask_head_slots(config)) slots.push_back(std::move(slot));
  return slots;
}

bool is_stored_transposed(const Family& family, const std::string& canonical) {
  return family.stores_transposed && !canonical.starts_with("embed.") && canonical != "lm.weight";
}

CheckpointPiece piece_of(const std::string& checkpoint_name) {
  const size_t open = checkpoint_name.find('[');
  if (open == std::string::npos) return {checkpoint_name};
  const size_t slash = checkpoint_name.find('/', open);
  return {checkpoint_name.substr(0, open), std::stoll(checkpoint_name.substr(open + 1, slash - open - 1)),
          std::stoll(checkpoint_name.substr(slash + 1))};
}

std::optional<std::string> checkpoint_name(const Family& family, const std::string& canonical) {
  const Place place = place_of(canonical);
  const std::string pattern = place.layer < 0 ? canonical : place.stack + ".#." + place.rest;
  for (const auto* names : {&family.names, &family.mask_names}) {
    for (const auto& [ours, theirs] : *names) {
      if (ours == pattern) return with_layer(theirs, std::to_string(place.layer));
    }
  }
  return std::nullopt;
}

}  // namespace graft
