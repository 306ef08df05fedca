// The tokenizer in a GGUF file's metadata -> the text of a tokenizer.json.
//
// ggml names how a text is cut into words ("tokenizer.ggml.pre") and leaves the rest to the reader:
// what is built here is what the models of that name have in their own tokenizer.json. Two kinds:
// "gpt2" (byte-level BPE with a list of merges) and "llama" (SentencePiece's BPE, where a score
// takes the place of a merge's rank and bytes stand in for unknown characters).
#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"
#include "model/gguf_model.h"

namespace graft {

namespace {

constexpr uint64_t kMaxTokens = uint64_t{1} << 22, kMaxMerges = uint64_t{1} << 21;
constexpr size_t kMaxPieceBytes =
    4096;  // of a piece whose merges are looked for; the work grows with the square
constexpr int64_t kMaxId = int64_t{1} << 31;
const std::string kBlank = "\xe2\x96\x81";  // U+2581, SentencePiece's sign of a space

enum class TokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

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

struct Tokens {
  const GgufMetadata& metadata;
  std::vector<std::string> texts;
  std::vector<TokenType> types;

  bool is(size_t id, TokenType type) const { return types[id] == type; }
};

std::string key_of(std::string_view name) { return "tokenizer.ggml." + std::string(name); }

Tokens read_tokens(const GgufMetadata& metadata) {
  Tokens tokens{metadata, {}, {}};
  const std::string tokens_key = key_of("tokens"), types_key = key_of("token_type");
  for (const std::string_view text : metadata.texts(tokens_key, kMaxTokens))
    tokens.texts.emplace_back(text);
  for (const int64_t type : metadata.integers(types_key, kMaxTokens)) {
    if (type < 1 || type > 6)
      metadata.fail(types_key, "expected types in 1..6, found " + std::to_string(type));
    tokens.types.push_back(static_cast<TokenType>(type));
  }
  if (tokens.texts.size() != tokens.types.size()) {
    metadata.fail(types_key, "expected " + std::to_string(tokens.texts.size()) +
                                 " types, one a token, found " +
                                 std::to_string(tokens.types.size()));
  }
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    const auto [place, is_new] = seen.emplace(tokens.texts[id], id);
    if (!is_new)
      metadata.fail(tokens_key, "tokens " + std::to_string(place->second) + " and " +
                                    std::to_string(id) + " are both " + quote(tokens.texts[id]));
  }
  return tokens;
}

Node vocabulary_node(const Tokens& tokens) {
  Members members;
  members.reserve(tokens.texts.size());
  for (size_t id = 0; id < tokens.texts.size(); ++id)
    members.emplace_back(tokens.texts[id], Node::integer(static_cast<int64_t>(id)));
  return Node::map(std::move(members));
}

// Tokens that are found whole in a text: control tokens, and those that a user has added.
Node added_tokens_node(const Tokens& tokens) {
  Node list = Node::list();
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    const bool is_special =
        tokens.is(id, TokenType::kControl) || tokens.is(id, TokenType::kUnknown);
    if (!is_special && !tokens.is(id, TokenType::kUserDefined)) continue;
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
std::string token_named(const Tokens& tokens, std::string_view name,
                        std::optional<int64_t> fallback) {
  const std::string key = key_of(std::string(name) + "_token_id");
  const int64_t id = tokens.metadata.integer(key, fallback, 0, kMaxId);
  if (id >= static_cast<int64_t>(tokens.texts.size()))
    tokens.metadata.fail(key, "no token has the id " + std::to_string(id));
  return tokens.texts[static_cast<size_t>(id)];
}

// What is put around a text: the first token of texts before it, the last one after it; null where
// neither is.
Node template_node(const Tokens& tokens, bool begins_with_bos, std::optional<int64_t> bos,
                   std::optional<int64_t> eos) {
  const GgufMetadata& m = tokens.metadata;
  const bool has_bos = m.boolean(key_of("add_bos_token"), begins_with_bos),
             has_eos = m.boolean(key_of("add_eos_token"), false);
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

std::string tokenizer_text(const Tokens& tokens, Parts parts) {
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

Node bpe_node(const Tokens& tokens, Node unknown, bool has_bytes, bool ignores_merges,
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
  const std::string key = key_of("pre"), name = metadata.text(key, "default");
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

// Merges as ["left", "right"]: the file holds "left right", and no byte-level token holds a space.
Node listed_merges(const GgufMetadata& metadata) {
  const std::string key = key_of("merges");
  Node list = Node::list();
  for (const std::string_view merge : metadata.texts(key, kMaxMerges)) {
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string_view::npos) {
      metadata.fail(key, "item " + std::to_string(list.items.size()) +
                             ": expected two tokens with a space between them, found " +
                             quote(merge));
    }
    list.items.push_back(Node::list({Node::text(std::string(merge.substr(0, space))),
                                     Node::text(std::string(merge.substr(space + 1)))}));
  }
  return list;
}

std::string byte_level_text(const Tokens& tokens) {
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

struct ScoredMerge {
  double score = 0;
  size_t left_chars = 0, right_chars = 0;
  std::string_view left, right;
};

// SentencePiece joins the neighbours whose union has the highest score. As merges: every way to cut
// a piece into two pieces, by falling score. Ties go as in the library that writes such models'
// tokenizer.json: longer left parts first, then longer right ones, then by id.
Node scored_merges(const Tokens& tokens) {
  const std::string key = key_of("scores");
  const std::vector<double> scores = tokens.metadata.numbers(key, kMaxTokens);
  if (scores.size() != tokens.texts.size()) {
    tokens.metadata.fail(key, "expected " + std::to_string(tokens.texts.size()) +
                                  " scores, one a token, found " + std::to_string(scores.size()));
  }
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (!std::isfinite(scores[id]))
      tokens.metadata.fail(key, "item " + std::to_string(id) + " is not a number");
    if (tokens.is(id, TokenType::kNormal)) ids.emplace(tokens.texts[id], id);
  }
  std::vector<ScoredMerge> merges;
  for (size_t id = 0; id < scores.size(); ++id) {
    const std::string_view piece = tokens.texts[id];
    if (!tokens.is(id, TokenType::kNormal)) continue;
    if (piece.size() > kMaxPieceBytes)
      tokens.metadata.fail(key_of("tokens"), "item " + std::to_string(id) + ": expected at most " +
                                                 std::to_string(kMaxPieceBytes) + " bytes, found " +
                                                 std::to_string(piece.size()));
    std::vector<size_t> cuts;  // where characters end
    for (size_t at = 0; at < piece.size();) cuts.push_back(at += utf8_sequence(piece, at));
    const size_t first = merges.size();
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const std::string_view left = piece.substr(0, cuts[i]), right = piece.substr(cuts[i]);
      if (ids.contains(left) && ids.contains(right))
        merges.push_back({scores[id], i + 1, cuts.size() - i - 1, left, right});
    }
    std::sort(merges.begin() + static_cast<ptrdiff_t>(first), merges.end(),
              [&](const ScoredMerge& a, const ScoredMerge& b) {
                return std::pair(ids.at(a.left), ids.at(a.right)) <
                       std::pair(ids.at(b.left), ids.at(b.right));
              });
    if (merges.size() > kMaxMerges)
      tokens.metadata.fail(key_of("tokens"),
                           "the tokens have more than " + std::to_string(kMaxMerges) + " merges");
  }
  std::stable_sort(merges.begin(), merges.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tuple(b.score, b.left_chars, b.right_chars) <
           std::tuple(a.score, a.left_chars, a.right_chars);
  });
  Node list = Node::list();
  for (const ScoredMerge& merge : merges)
    list.items.push_back(
        Node::list({Node::text(std::string(merge.left)), Node::text(std::string(merge.right))}));
  return list;
}

std::string sentence_piece_text(const Tokens& tokens) {
  const GgufMetadata& m = tokens.metadata;
  if (const std::string pre = m.text(key_of("pre"), "default"); pre != "default")
    m.fail(key_of("pre"), "expected \"default\" beside the model \"llama\", found " + quote(pre));
  if (m.boolean(key_of("remove_extra_whitespaces"), false))
    m.fail(key_of("remove_extra_whitespaces"), "only false is supported");
  const bool has_prefix = m.boolean(key_of("add_space_prefix"), true);
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
  const std::string prefix = key_of("");
  for (const auto& [key, value] : metadata.values()) {
    if (!key.starts_with(prefix) || key.ends_with("_token_id")) continue;
    const std::string_view name = std::string_view(key).substr(prefix.size());
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), name) == kKnownKeys.end())
      metadata.fail(key, "not supported; it may change how texts are cut");
  }
}

}  // namespace

std::string gguf_tokenizer_json(const GgufMetadata& metadata) {
  if (metadata.has("tokenizer.huggingface.json"))
    return metadata.text("tokenizer.huggingface.json", std::nullopt);  // the model's own, whole
  const std::string key = key_of("model"), model = metadata.text(key, std::nullopt);
  if (model != "gpt2" && model != "llama")
    metadata.fail(key, "expected \"gpt2\" or \"llama\", found " + quote(model));
  check_keys(metadata);
  const Tokens tokens = read_tokens(metadata);
  return model == "gpt2" ? byte_level_text(tokens) : sentence_piece_text(tokens);
}

}  // namespace graft
