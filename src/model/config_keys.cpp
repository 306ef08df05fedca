#include "model/config_keys.h"

#include <algorithm>

#include "base/error.h"
#include "base/printable.h"
#include "base/spelling.h"
#include "model/families.h"

namespace graft {

namespace {

constexpr const char* kAdapters = "adapters";

const std::vector<KeyRule> kRules = {
    // ---- What would change the numbers
    {{"is_encoder_decoder"}, {"false"}},
    {{"is_decoder", "add_cross_attention", "tie_encoder_decoder"}, {"false"}},
    {{"chunk_size_feed_forward"}, {"0"}},
    {{"pruned_heads", "per_layer_config"}, {"{}"}},
    {{"quantization_config", "compression_config"}, {"null"}},

    // ---- What other keys or another file say
    {{"bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "unk_token_id",
      "mask_token_id", "decoder_start_token_id", "tokenizer_class", "processor_class", "padding",
      "model_max_length"}},
    {{"max_length",
      "min_length",
      "max_new_tokens",
      "min_new_tokens",
      "do_sample",
      "early_stopping",
      "num_beams",
      "num_beam_groups",
      "diversity_penalty",
      "temperature",
      "top_k",
      "top_p",
      "typical_p",
      "repetition_penalty",
      "length_penalty",
      "no_repeat_ngram_size",
      "encoder_no_repeat_ngram_size",
      "bad_words_ids",
      "num_return_sequences",
      "return_dict_in_generate",
      "output_scores",
      "forced_bos_token_id",
      "forced_eos_token_id",
      "force_bos_token_to_be_generated",
      "remove_invalid_values",
      "exponential_decay_length_penalty",
      "suppress_tokens",
      "begin_suppress_tokens",
      "prefix",
      "task_specific_params"}},

    // ---- Heads other than the vocabulary's, and what their outputs are called
    {{"id2label",
      "label2id",
      "num_labels",
      "_num_labels",
      "problem_type",
      "finetuning_task",
      "pooler_fc_size",
      "pooler_num_attention_heads",
      "pooler_num_fc_layers",
      "pooler_size_per_head",
      "pooler_type",
      "directionality",
      "summary_type",
      "summary_use_proj",
      "summary_activation",
      "summary_proj_to_labels",
      "summary_first_dropout",
      "classif_dropout",
      "sbert_ce_default_activation_function",
      "sentence_transformers",
      "prediction_heads",
      "custom_heads",
      "n_special",
      "predict_special_tokens"}},

    // ---- Training: initial values, noise, how a smaller model was made
    {{"initializer_range", "initializer_factor", "init_std", "neftune_noise_alpha",
      "gradient_checkpointing", "save_step", "replacing_rate", "student_encoder_layers",
      "student_decoder_layers"}},

    // ---- What other programs do with the model: types, kernels, what they return
    {{"torch_dtype", "dtype", "use_bfloat16", "torchscript", "tf_legacy_loss", "use_cache",
      "return_dict", "output_attentions", "output_hidden_states", "output_past",
      "tie_last_hidden_states", "attn_implementation", "_attn_implementation",
      "_attn_implementation_internal", "_attn_implementation_autoset", "use_flash_attn",
      "_flash_attn_2_enabled"}},

    // ---- Where the file comes from
    {{"_name_or_path", "_model_name_or_path", "name", "author", "language", "architectures",
      "auto_map", "transformers_version", "adapters_version", "kobart_version", "kogpt_version",
      "created_date", "license", "_commit_hash", "transformers.js_config", "is_llama_config",
      "unsloth_fixed", "unsloth_version"}}};

bool holds(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

const KeyRule* rule_of(const std::string& key, const std::string& model_type) {
  for (const auto* rules : {&family_of(model_type).keys, &kRules}) {
    for (const KeyRule& rule : *rules) {
      if (holds(rule.keys, key)) return &rule;
    }
  }
  return nullptr;
}

// As a rule spells values: a scalar without quotes, anything else as JSON.
std::string rule_spelling(const Node& node) {
  return node.kind == Node::Kind::kScalar ? node.scalar : to_json(node, -1);
}

void check_value(Options& options, const std::string& key, const KeyRule& rule) {
  const Node& found = *options.raw(key);
  const bool is_empty =
      found.kind == Node::Kind::kList && found.items.empty();  // some writers' empty section
  // To the programs that read these keys, null is as good as false.
  const bool is_off = found.kind == Node::Kind::kNull && !holds(rule.values, "true") &&
                      !holds(rule.values, "absolute");
  if (rule.values.empty() || is_off || holds(rule.values, rule_spelling(found)) ||
      (is_empty && holds(rule.values, "{}")))
    return;
  options.fault(key, "another value than " + joined(rule.values, "or") +
                         " changes what the model computes and is not supported, found " +
                         quote(rule_spelling(found)));
}

// AdapterHub's library lists the adapters of a folder in every config.json that it writes. One in
// the list changes what the model computes.
void check_adapters(Options& options) {
  const Node& found = *options.raw(kAdapters);
  const Node* inside = found.find(kAdapters);
  const Node& list = inside != nullptr ? *inside : found;
  if (list.kind == Node::Kind::kNull ||
      (list.kind != Node::Kind::kScalar && list.items.empty() && list.members.empty()))
    return;
  std::vector<std::string> names;
  for (const auto& [name, identifier] : list.members) names.push_back(quote(name));
  options.fault(kAdapters,
                "expected no adapter, found " +
                    (names.empty() ? quote(rule_spelling(list)) : joined_first(names, 5)) +
                    ", which changes what the model computes: save the model without "
                    "it, and import what save_adapter writes of it");
}

std::vector<std::string> known_keys(const Options& options, const std::string& model_type) {
  std::vector<std::string> keys = options.known();
  for (const auto* rules : {&family_of(model_type).keys, &kRules}) {
    for (const KeyRule& rule : *rules) keys.insert(keys.end(), rule.keys.begin(), rule.keys.end());
  }
  return keys;
}

}  // namespace

std::span<const KeyRule> common_key_rules() { return kRules; }

std::string ignore_hint(const std::string& key) {
  return "if the model computes the same without it, load it with " +
         option_name("ignore_config_key") + " " + printable(key);
}

std::vector<std::string> take_ignored(std::vector<std::string>& unknown, const IgnoredKeys& ignored,
                                      const std::string& source) {
  for (const std::string& key : ignored.named) {
    if (holds(unknown, key)) continue;
    throw InputError(option_name("ignore_config_key") + " " + key + ": only a key of " + source +
                     " that graft does not know can be ignored" + did_you_mean(key, unknown) +
                     (unknown.empty() ? "; it has none" : "; it has " + joined_first(unknown, 5)));
  }
  std::vector<std::string> taken;
  std::erase_if(unknown, [&](const std::string& key) {
    const bool is_taken = holds(ignored.named, key) || holds(ignored.remembered, key);
    if (is_taken) taken.push_back(key);
    return is_taken;
  });
  return taken;
}

std::vector<std::string> check_unread_keys(Options& options, const std::string& model_type,
                                           const IgnoredKeys& ignored) {
  const std::vector<std::string> known = known_keys(options, model_type);
  std::vector<std::string> unknown, ruled;
  for (const std::string& key : options.unread()) {
    const KeyRule* rule = rule_of(key, model_type);
    const bool is_taken = holds(ignored.named, key) || holds(ignored.remembered, key);
    if (rule != nullptr) check_value(options, key, *rule);
    else if (key == kAdapters && !is_taken) check_adapters(options);
    else if (options.raw(key)->kind != Node::Kind::kNull) unknown.push_back(key);
    if (rule != nullptr && !options.is_faulty(key)) ruled.push_back(key);
  }
  // A key that has a rule by now was unknown to an earlier version, whose runs still name it.
  IgnoredKeys asked = ignored;
  std::erase_if(asked.named, [&](const std::string& key) { return holds(ruled, key); });
  std::vector<std::string> taken = take_ignored(unknown, asked, options.source());
  for (const std::string& key : unknown)
    options.fault(key, "unknown key" + did_you_mean(key, known) + "; " + ignore_hint(key));
  return taken;
}

}  // namespace graft
