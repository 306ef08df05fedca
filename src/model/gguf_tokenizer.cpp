// The tokenizer in a GGUF file's metadata -> the text of a tokenizer.json.
//
// ggml names how a text is cut into words ("tokenizer.ggml.pre") and leaves the rest to the reader:
// what is built here is what the models of that name have in their own tokenizer.json. Two kinds:
// "gpt2" (byte-level BPE with a list of merges) and "llama" (SentencePiece's BPE, where a score
// takes the place of a merge's rank and bytes stand in for unknown characters).
#include <algorithm>
#include <array>

#include "base/error.h"
#include "model/gguf_model.h"
#include "model/gguf_tokens.h"

namespace graft {

namespace {

constexpr int64_t kMaxId = int64_t{1} << 31;
const std::string kBlank = "\xe2\x96\x81";  // U+2581, SentencePiece's sign of a space

// How a kind of byte-level model cuts words. `pattern`: of a Split before the bytes; empty: GPT-2's
// own, inside ByteLevel.
struct WordRule {
  std::string_view name;  // tokenizer.ggml.pre
  std::string_view pattern = {};
  bool has_single_digits = false;  // each digit a word
  bool has_nfc = false;
  bool ignores_merges = false;   // a word that is a token is taken whole
  bool begins_with_bos = false;  // where add_bos_token does not say
};

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<WordRule, 6> kWordRules{
    {{.name = "gpt-2"},
     {.name = "smollm", .has_single_digits = true},
     {.name = "llama-bpe",
      .pattern = kLlama3Pattern,
      .ignores_merges = true,
      .begins_with_bos = true},
     {.name = "llama3", .pattern = kLlama3Pattern, .ignores_merges = true, .begins_with_bos = true},
     {.name = "llama-v3",
      .pattern = kLlama3Pattern,
      .ignores_merges = true,
      .begins_with_bos = true},
     {.name = "qwen2", .pattern = kQwen2Pattern, .has_nfc = true}}};

// Keys "tokenizer.ggml.*" that are read here; ids of tokens ("*_token_id") belong to those who use
// them.
constexpr std::array<std::string_view, 12> kKnownKeys{"model",
                                                      "pre",
                                                      "tokens",
                                                      "scores",
                                                      "token_type",
                                                      "merges",
                                                      "add_bos_token",
                                                      "add_eos_token",
                                                      "add_space_prefix",
                                                      "remove_extra_whitespaces",
                                                      "token_type_count",
                                                      "add_sep_token"};

using Members = std::vector<std::pair<std::string, Node>>;

Node typed(const std::string& type, Members members = {}) {
  members.emplace(members.begin(), "type", Node::text(type));
  return Node::map(std::move(members));
}

Node byte_level(bool use_regex) {
  return typed("ByteLevel", {{"add_prefix_space", Node::boolean(false)},
                             {"trim_offsets", Node::boolean(false)},
                             {"use_regex", Node::boolean(use_regex)}});
}

Node string_pattern(const std::string& text) { return Node::map({{"String", Node::text(text)}}); }

Node vocabulary_node(const TokenTable& tokens) {
  Members members;
  members.reserve(tokens.texts.size());
  for (size_t id = 0; id < tokens.texts.size(); ++id)
    members.emplace_back(tokens.texts[id], Node::integer(static_cast<int64_t>(id)));
  return Node::map(std::move(members));
}

// Tokens that are found whole in a text: control tokens, and those that a user has added.
Node added_tokens_node(const TokenTable& tokens) {
  Node list = Node::list();
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    const bool is_special =
        tokens.is(id, GgufTokenType::kControl) || tokens.is(id, GgufTokenType::kUnknown);
    if (!is_special && !tokens.is(id, GgufTokenType::kUserDefined)) continue;
    list.items.push_back(Node::map({{"id", Node::integer(static_cast<int64_t>(id))},
                                    {"content", Node::text(tokens.texts[id])},
                                    {"single_word", Node::boolean(false)},
                                    {"lstrip", Node::boolean(false)},
                                    {"rstrip", Node::boolean(false)},
                                    {"normalized", Node::boolean(false)},
                                    {"special", Node::boolean(is_special)}}));
  }
  return list;
}

// The text of the token whose id `key` gives.
std::string token_named(const TokenTable& tokens, std::string_view name,
                        std::optional<int64_t> fallback) {
  const std::string key = tokenizer_key(std::string(name) + "_token_id");
  const int64_t id = tokens.metadata.integer(key, fallback, 0, kMaxId);
  if (id >= static_cast<int64_t>(tokens.texts.size()))
    tokens.metadata.fail(key, "no token has the id " + std::to_string(id));
  return tokens.texts[static_cast<size_t>(id)];
}

// What is put around a text: the first token of texts before it, the last one after it; null where
// neither is.
Node template_node(const TokenTable& tokens, bool begins_with_bos, std::optional<int64_t> bos,
                   std::optional<int64_t> eos) {
  const GgufMetadata& m = tokens.metadata;
  const bool has_bos = m.boolean(tokenizer_key("add_bos_token"), begins_with_bos),
             has_eos = m.boolean(tokenizer_key("add_eos_token"), false);
  if (!has_bos && !has_eos) return Node::null();
  const auto id_of = [&](const std::string& token) {
    return std::find(tokens.texts.begin(), tokens.texts.end(), token) - tokens.texts.begin();
  };
  Node single = Node::list(), pair = Node::list(), specials = Node::map();
  const auto special = [&](Node& list, const std::string& token, int64_t type_id) {
    list.items.push_back(
        Node::map({{"SpecialToken",
                    Node::map({{"id", Node::text(token)}, {"type_id", Node::integer(type_id)}})}}));
    specials[token] = Node::map({{"id", Node::text(token)},
                                 {"ids", Node::list({Node::integer(id_of(token))})},
                                 {"tokens", Node::list({Node::text(token)})}});
  };
  const std::string first = has_bos ? token_named(tokens, "bos", bos) : "",
                    last = has_eos ? token_named(tokens, "eos", eos) : "";
  const auto sequence = [&](Node& list, const char* name, int64_t type_id) {
    if (has_bos) special(list, first, type_id);
    list.items.push_back(
        Node::map({{"Sequence",
                    Node::map({{"id", Node::text(name)}, {"type_id", Node::integer(type_id)}})}}));
    if (has_eos) special(list, last, type_id);
  };
  sequence(single, "A", 0);
  sequence(pair, "A", 0);
  sequence(pair, "B", 1);
  return typed("TemplateProcessing", {{"single", std::move(single)},
                                      {"pair", std::move(pair)},
                                      {"special_tokens", std::move(specials)}});
}

struct Parts {
  Node normalizer, pre_tokenizer, post_processor, decoder, model;
};

std::string tokenizer_text(const TokenTable& tokens, Parts parts) {
  const Node root = Node::map({{"version", Node::text("1.0")},
                               {"truncation", Node::null()},
                               {"padding", Node::null()},
                               {"added_tokens", added_tokens_node(tokens)},
                               {"normalizer", std::move(parts.normalizer)},
                               {"pre_tokenizer", std::move(parts.pre_tokenizer)},
                               {"post_processor", std::move(parts.post_processor)},
                               {"decoder", std::move(parts.decoder)},
                               {"model", std::move(parts.model)}});
  return to_json(root, -1);
}

Node bpe_node(const TokenTable& tokens, Node unknown, bool has_bytes, bool ignores_merges,
              Node merges) {
  return typed("BPE", {{"dropout", Node::null()},
                       {"unk_token", std::move(unknown)},
                       {"continuing_subword_prefix", Node::null()},
                       {"end_of_word_suffix", Node::null()},
                       {"fuse_unk", Node::boolean(has_bytes)},
                       {"byte_fallback", Node::boolean(has_bytes)},
                       {"ignore_merges", Node::boolean(ignores_merges)},
                       {"vocab", vocabulary_node(tokens)},
                       {"merges", std::move(merges)}});
}

// ---- byte-level BPE ----

const WordRule& word_rule(const GgufMetadata& metadata) {
  const std::string key = tokenizer_key("pre"), name = metadata.text(key, "default");
  const auto* const found = std::find_if(kWordRules.begin(), kWordRules.end(),
                                         [&](const WordRule& rule) { return rule.name == name; });
  if (found != kWordRules.end()) return *found;
  std::vector<std::string> names;
  for (const WordRule& rule : kWordRules) names.push_back(quote(rule.name));
  metadata.fail(key, name == "default"
                         ? "the file does not say how its model cuts words; expected " +
                               joined(names, "or") + ". Convert the model with a newer converter"
                         : "expected " + joined(names, "or") + ", found " + quote(name));
}

Node pre_tokenizer_node(const WordRule& rule) {
  Node before;
  if (rule.has_single_digits)
    before = typed("Digits", {{"individual_digits", Node::boolean(true)}});
  if (!rule.pattern.empty()) {
    before =
        typed("Split", {{"pattern", Node::map({{"Regex", Node::text(std::string(rule.pattern))}})},
                        {"behavior", Node::text("Isolated")},
                        {"invert", Node::boolean(false)}});
  }
  Node bytes = byte_level(rule.pattern.empty());
  if (before.kind == Node::Kind::kNull) return bytes;
  return typed("Sequence", {{"pretokenizers", Node::list({std::move(before), std::move(bytes)})}});
}

std::string byte_level_text(const TokenTable& tokens) {
  const WordRule& rule = word_rule(tokens.metadata);
  Parts parts;
  if (rule.has_nfc) parts.normalizer = typed("NFC");
  parts.pre_tokenizer = pre_tokenizer_node(rule);
  parts.post_processor = template_node(tokens, rule.begins_with_bos, std::nullopt, std::nullopt);
  parts.decoder = byte_level(true);
  parts.model =
      bpe_node(tokens, Node::null(), false, rule.ignores_merges, listed_merges(tokens.metadata));
  return tokenizer_text(tokens, std::move(parts));
}

// ---- SentencePiece ----

std::string sentence_piece_text(const TokenTable& tokens) {
  const GgufMetadata& m = tokens.metadata;
  if (const std::string pre = m.text(tokenizer_key("pre"), "default"); pre != "default")
    m.fail(tokenizer_key("pre"),
           "expected \"default\" beside the model \"llama\", found " + quote(pre));
  if (m.boolean(tokenizer_key("remove_extra_whitespaces"), false))
    m.fail(tokenizer_key("remove_extra_whitespaces"), "only false is supported");
  const bool has_prefix = m.boolean(tokenizer_key("add_space_prefix"), true);
  Parts parts;
  Node to_blank =
      typed("Replace", {{"pattern", string_pattern(" ")}, {"content", Node::text(kBlank)}});
  Node prepend = typed("Prepend", {{"prepend", Node::text(kBlank)}});
  parts.normalizer =
      typed("Sequence",
            {{"normalizers", has_prefix ? Node::list({std::move(prepend), std::move(to_blank)})
                                        : Node::list({std::move(to_blank)})}});
  parts.post_processor = template_node(tokens, true, 1, 2);
  Node steps = Node::list(
      {typed("Replace", {{"pattern", string_pattern(kBlank)}, {"content", Node::text(" ")}}),
       typed("ByteFallback"), typed("Fuse")});
  if (has_prefix)
    steps.items.push_back(typed(
        "Strip",
        {{"content", Node::text(" ")}, {"start", Node::integer(1)}, {"stop", Node::integer(0)}}));
  parts.decoder = typed("Sequence", {{"decoders", std::move(steps)}});
  parts.model = bpe_node(tokens, Node::text(token_named(tokens, "unknown", 0)), true, false,
                         scored_merges(tokens));
  return tokenizer_text(tokens, std::move(parts));
}

// A tokenizer differs with every key: one that is not known is refused.
void check_keys(const GgufMetadata& metadata) {
  const std::string prefix = tokenizer_key("");
  for (const auto& [key, value] : metadata.values()) {
    if (!key.starts_with(prefix) || key.ends_with("_token_id")) continue;
    const std::string_view name = std::string_view(key).substr(prefix.size());
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), name) == kKnownKeys.end())
      metadata.fail(key, "not supported; it may change how texts are cut");
  }
}

// tokenizer_config.json: how other programs load tokenizer.json, what they call its special tokens,
// and the chat template.
Node tokenizer_config(const GgufMetadata& metadata) {
  Node config = Node::map({{"tokenizer_class", Node::text("PreTrainedTokenizerFast")},
                           {"clean_up_tokenization_spaces", Node::boolean(false)}});
  const GgufTokens special = gguf_special_tokens(metadata);
  const std::vector<std::string_view> texts =
      metadata.has(tokenizer_key("tokens"))
          ? metadata.texts(tokenizer_key("tokens"), kMaxGgufTokens)
          : std::vector<std::string_view>{};  // beside a tokenizer.json that came whole
  const auto name = [&](const char* key, std::optional<int64_t> id) {
    if (id && *id < std::ssize(texts))
      config[key] = Node::text(std::string(texts[static_cast<size_t>(*id)]));
  };
  name("bos_token", special.bos);
  if (!special.eos.empty()) name("eos_token", special.eos.front());
  name("pad_token", special.pad);
  if (const std::optional<std::string> chat = gguf_chat_template(metadata))
    config["chat_template"] = Node::text(*chat);
  return config;
}

}  // namespace

std::string gguf_tokenizer_json(const GgufMetadata& metadata) {
  if (metadata.has("tokenizer.huggingface.json"))
    return metadata.text("tokenizer.huggingface.json", std::nullopt);  // the model's own, whole
  const std::string key = tokenizer_key("model"), model = metadata.text(key, std::nullopt);
  if (model != "gpt2" && model != "llama")
    metadata.fail(key, "expected \"gpt2\" or \"llama\", found " + quote(model));
  check_keys(metadata);
  const TokenTable tokens = read_token_table(metadata);
  return model == "gpt2" ? byte_level_text(tokens) : sentence_piece_text(tokens);
}

std::map<std::string, std::string> gguf_tokenizer_files(const GgufMetadata& metadata) {
  if (!metadata.has("tokenizer.huggingface.json") && !metadata.has(tokenizer_key("model")))
    return {};
  return {{"tokenizer.json", gguf_tokenizer_json(metadata)},
          {"tokenizer_config.json", to_json(tokenizer_config(metadata))}};
}

}  // namespace graft
