#include "model/families.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

namespace {

// BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) share one encoder; so do their checkpoints' names.
std::vector<std::pair<std::string, std::string>> bert_names() {
  return {
      {"embed.word.weight", "embeddings.word_embeddings.weight"},
      {"embed.position.weight", "embeddings.position_embeddings.weight"},
      {"embed.type.weight", "embeddings.token_type_embeddings.weight"},
      {"embed.norm.weight", "embeddings.LayerNorm.weight"},
      {"embed.norm.bias", "embeddings.LayerNorm.bias"},
      {"enc.#.attn.q.weight", "encoder.layer.#.attention.self.query.weight"},
      {"enc.#.attn.q.bias", "encoder.layer.#.attention.self.query.bias"},
      {"enc.#.attn.k.weight", "encoder.layer.#.attention.self.key.weight"},
      {"enc.#.attn.k.bias", "encoder.layer.#.attention.self.key.bias"},
      {"enc.#.attn.v.weight", "encoder.layer.#.attention.self.value.weight"},
      {"enc.#.attn.v.bias", "encoder.layer.#.attention.self.value.bias"},
      {"enc.#.attn.o.weight", "encoder.layer.#.attention.output.dense.weight"},
      {"enc.#.attn.o.bias", "encoder.layer.#.attention.output.dense.bias"},
      {"enc.#.attn.norm.weight", "encoder.layer.#.attention.output.LayerNorm.weight"},
      {"enc.#.attn.norm.bias", "encoder.layer.#.attention.output.LayerNorm.bias"},
      {"enc.#.ffn.up.weight", "encoder.layer.#.intermediate.dense.weight"},
      {"enc.#.ffn.up.bias", "encoder.layer.#.intermediate.dense.bias"},
      {"enc.#.ffn.down.weight", "encoder.layer.#.output.dense.weight"},
      {"enc.#.ffn.down.bias", "encoder.layer.#.output.dense.bias"},
      {"enc.#.ffn.norm.weight", "encoder.layer.#.output.LayerNorm.weight"},
      {"enc.#.ffn.norm.bias", "encoder.layer.#.output.LayerNorm.bias"},
      {"pooler.weight", "pooler.dense.weight"},
      {"pooler.bias", "pooler.dense.bias"},
  };
}

const std::vector<Family>& families() {
  static const std::vector<Family> table = {
      {"bert", HeadStyle::kPooler, {"bert.", ""}, bert_names(), {"cls.", "classifier.", "embeddings.position_ids"}},
      {"roberta", HeadStyle::kDense, {"roberta.", ""}, bert_names(), {"lm_head.", "classifier.", "pooler.", "embeddings.position_ids"}},
  };
  return table;
}

std::vector<int64_t> slot_shape(const std::string& pattern, const ModelConfig& c) {
  const auto ends = [&](const char* tail) { return pattern.ends_with(tail); };
  if (pattern == "embed.word.weight") return {c.vocabulary, c.width};
  if (pattern == "embed.position.weight") return {c.max_positions + c.position_offset, c.width};
  if (pattern == "embed.type.weight") return {c.type_vocabulary, c.width};
  if (ends("ffn.up.weight")) return {c.ffn_width, c.width};
  if (ends("ffn.up.bias")) return {c.ffn_width};
  if (ends("ffn.down.weight")) return {c.width, c.ffn_width};
  if (ends("norm.weight") || ends(".bias")) return {c.width};
  return {c.width, c.width};
}

std::string with_layer(std::string pattern, const std::string& layer) {
  const size_t hole = pattern.find('#');
  return hole == std::string::npos ? pattern : pattern.replace(hole, 1, layer);
}

}  // namespace

const Family& family_of(const std::string& model_type) {
  for (const Family& family : families()) {
    if (family.model_type == model_type) return family;
  }
  throw InputError("model_type " + quote(model_type) + " is not supported" + did_you_mean(model_type, known_families()) +
                   "; known families: " + joined(known_families()));
}

std::vector<std::string> known_families() {
  std::vector<std::string> names;
  for (const Family& family : families()) names.push_back(family.model_type);
  return names;
}

std::vector<TensorSlot> tensor_slots(const ModelConfig& config) {
  const Family& family = family_of(config.model_type);
  std::vector<TensorSlot> slots;
  const auto add = [&](const std::string& pattern, int64_t layer) {
    const bool is_pooler = pattern.starts_with("pooler.");
    if (is_pooler && family.head_style != HeadStyle::kPooler) return;
    slots.push_back({with_layer(pattern, std::to_string(layer)), slot_shape(pattern, config), is_pooler});
  };
  const auto is_layered = [](const auto& name) { return name.first.find('#') != std::string::npos; };
  const auto first = std::find_if(family.names.begin(), family.names.end(), is_layered);
  const auto last = std::find_if_not(first, family.names.end(), is_layered);
  for (auto it = family.names.begin(); it != first; ++it) add(it->first, 0);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (auto it = first; it != last; ++it) add(it->first, layer);
  }
  for (auto it = last; it != family.names.end(); ++it) add(it->first, 0);
  return slots;
}

std::optional<std::string> checkpoint_name(const Family& family, const std::string& canonical) {
  std::string pattern = canonical, layer;
  if (canonical.starts_with("enc.")) {
    const size_t end = canonical.find('.', 4);
    if (end == std::string::npos) return std::nullopt;
    layer = canonical.substr(4, end - 4);
    pattern = "enc.#" + canonical.substr(end);
  }
  for (const auto& [ours, theirs] : family.names) {
    if (ours == pattern) return with_layer(theirs, layer);
  }
  return std::nullopt;
}

}  // namespace graft
