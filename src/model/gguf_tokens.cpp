#include "model/gguf_tokens.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"

namespace graft {

namespace {

constexpr uint64_t kMaxMerges = uint64_t{1} << 21;
// Of a piece whose merges are looked for: the work grows with the square.
constexpr size_t kMaxPieceBytes = 4096;

using Ids = std::unordered_map<std::string_view, size_t>;

struct ScoredMerge {
  double score = 0;
  size_t left_chars = 0, right_chars = 0;
  std::string_view left, right;
};

Node pair_node(std::string_view left, std::string_view right) {
  return Node::list({Node::text(std::string(left)), Node::text(std::string(right))});
}

std::vector<double> read_scores(const TokenTable& tokens) {
  const std::string key = tokenizer_key("scores");
  std::vector<double> scores = tokens.metadata.numbers(key, kMaxGgufTokens);
  if (scores.size() != tokens.texts.size())
    tokens.metadata.fail(key, "expected " + std::to_string(tokens.texts.size()) +
                                  " scores, one a token, found " + std::to_string(scores.size()));
  for (size_t id = 0; id < scores.size(); ++id) {
    if (!std::isfinite(scores[id]))
      tokens.metadata.fail(key, "item " + std::to_string(id) + " is not a number");
  }
  return scores;
}

// The ways to cut a piece into two pieces, by the ids of these.
std::vector<ScoredMerge> merges_of(std::string_view piece, double score, const Ids& ids) {
  std::vector<size_t> cuts;  // where characters end
  for (size_t at = 0; at < piece.size();) cuts.push_back(at += utf8_sequence(piece, at));
  std::vector<ScoredMerge> merges;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const std::string_view left = piece.substr(0, cuts[i]), right = piece.substr(cuts[i]);
    if (ids.contains(left) && ids.contains(right))
      merges.push_back({score, i + 1, cuts.size() - i - 1, left, right});
  }
  std::sort(merges.begin(), merges.end(), [&](const ScoredMerge& a, const ScoredMerge& b) {
    return std::pair(ids.at(a.left), ids.at(a.right)) < std::pair(ids.at(b.left), ids.at(b.right));
  });
  return merges;
}

}  // namespace

std::string tokenizer_key(std::string_view name) { return "tokenizer.ggml." + std::string(name); }

TokenTable read_token_table(const GgufMetadata& metadata) {
  TokenTable tokens{metadata, {}, {}};
  const std::string tokens_key = tokenizer_key("tokens"), types_key = tokenizer_key("token_type");
  for (const std::string_view text : metadata.texts(tokens_key, kMaxGgufTokens))
    tokens.texts.emplace_back(text);
  for (const int64_t type : metadata.integers(types_key, kMaxGgufTokens)) {
    if (type < 1 || type > 6)
      metadata.fail(types_key, "expected types in 1..6, found " + std::to_string(type));
    tokens.types.push_back(static_cast<GgufTokenType>(type));
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

// The file holds "left right", and no byte-level token holds a space.
Node listed_merges(const GgufMetadata& metadata) {
  const std::string key = tokenizer_key("merges");
  Node list = Node::list();
  for (const std::string_view merge : metadata.texts(key, kMaxMerges)) {
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string_view::npos) {
      metadata.fail(key, "item " + std::to_string(list.items.size()) +
                             ": expected two tokens with a space between them, found " +
                             quote(merge));
    }
    list.items.push_back(pair_node(merge.substr(0, space), merge.substr(space + 1)));
  }
  return list;
}

Node scored_merges(const TokenTable& tokens) {
  const std::vector<double> scores = read_scores(tokens);
  const std::string key = tokenizer_key("tokens");
  Ids ids;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (tokens.is(id, GgufTokenType::kNormal)) ids.emplace(tokens.texts[id], id);
  }
  std::vector<ScoredMerge> merges;
  for (size_t id = 0; id < scores.size(); ++id) {
    const std::string_view piece = tokens.texts[id];
    if (!tokens.is(id, GgufTokenType::kNormal)) continue;
    if (piece.size() > kMaxPieceBytes)
      tokens.metadata.fail(key, "item " + std::to_string(id) + ": expected at most " +
                                    std::to_string(kMaxPieceBytes) + " bytes, found " +
                                    std::to_string(piece.size()));
    const std::vector<ScoredMerge> own = merges_of(piece, scores[id], ids);
    merges.insert(merges.end(), own.begin(), own.end());
    if (merges.size() > kMaxMerges)
      tokens.metadata.fail(key,
                           "the tokens have more than " + std::to_string(kMaxMerges) + " merges");
  }
  std::stable_sort(merges.begin(), merges.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tuple(b.score, b.left_chars, b.right_chars) <
           std::tuple(a.score, a.left_chars, a.right_chars);
  });
  Node list = Node::list();
  for (const ScoredMerge& merge : merges) list.items.push_back(pair_node(merge.left, merge.right));
  return list;
}

}  // namespace graft
