#include "text/unigram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/trie.h"
#include "text/unicode.h"

namespace graft {

namespace {

constexpr double kUnknownPenalty = 10;

class Unigram : public TokenModel {
 public:
  Unigram(Vocabulary vocabulary, const std::vector<ScoredPiece>& pieces,
          const UnigramOptions& options)
      : TokenModel(std::move(vocabulary)), options_(options), bytes_(byte_tokens(vocabulary_)) {
    scores_.reserve(pieces.size());
    for (const ScoredPiece& piece : pieces) {
      scores_.push_back(piece.score);
      if (piece.is_matched && !piece.token.empty())
        trie_.add(decode_utf8(piece.token, "vocabulary"), static_cast<int32_t>(scores_.size() - 1));
    }
  }

  void tokenize(std::u32string_view word, std::vector<WordToken>& out) const override {
    std::vector<Step> best(word.size() + 1);  // the best way to each place
    for (uint32_t at = 0; at < word.size(); ++at) {
      bool has_single = false;
      trie_.each_prefix(word.substr(at), [&](int32_t id, size_t length) {
        improve(best[at + length], best[at].score + scores_[static_cast<size_t>(id)], at, id);
        has_single |= length == 1;
      });
      if (!has_single)
        improve(best[at + 1], best[at].score + rounded(options_.least_score - kUnknownPenalty), at,
                kUnknown);
    }
    const size_t first = out.size();
    bool follows_unknown = false;  // the token to the right, which was put just before
    for (auto end = static_cast<uint32_t>(word.size()); end > 0; end = best[end].begin) {
      const Step& step = best[end];
      const bool is_unknown = step.id == kUnknown || step.id == options_.unknown.value_or(kUnknown);
      if (is_unknown && follows_unknown) out.back().begin = step.begin;
      else out.push_back({is_unknown ? kUnknown : step.id, step.begin, end});
      follows_unknown = is_unknown;
    }
    std::reverse(out.begin() + static_cast<ptrdiff_t>(first), out.end());
    if (std::any_of(out.begin() + static_cast<ptrdiff_t>(first), out.end(),
                    [](const WordToken& token) { return token.id == kUnknown; }))
      resolve_unknown(word, out, first);
  }

 private:
  static constexpr int32_t kUnknown = -2;

  struct Step {
    double score = 0;
    uint32_t begin = 0;
    int32_t id = -1;  // -1: no way found yet
  };

  double rounded(double score) const {
    return options_.single_precision ? static_cast<double>(static_cast<float>(score)) : score;
  }

  void improve(Step& step, double score, uint32_t begin, int32_t id) const {
    const double candidate = rounded(score);
    if (step.id == -1 || candidate > step.score) step = {candidate, begin, id};
  }

  // An unknown stretch is a token after all if the vocabulary has it as a whole, else its bytes,
  // else the unknown token.
  void resolve_unknown(std::u32string_view word, std::vector<WordToken>& out, size_t first) const {
    const std::vector<WordToken> found(out.begin() + static_cast<ptrdiff_t>(first), out.end());
    out.resize(first);
    for (const WordToken& token : found) {
      if (token.id != kUnknown) {
        out.push_back(token);
        continue;
      }
      const std::string text = to_utf8(word.substr(token.begin, token.end - token.begin));
      const auto byte_id = [&](char c) { return bytes_[static_cast<uint8_t>(c)]; };
      if (const auto id = vocabulary_.id_of(text)) {
        out.push_back({static_cast<int32_t>(*id), token.begin, token.end});
      } else if (options_.byte_fallback &&
                 std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) >= 0; })) {
        for (const char c : text) out.push_back({byte_id(c), token.begin, token.end});
      } else if (options_.unknown) {
        out.push_back({*options_.unknown, token.begin, token.end});
      } else {
        throw InputError("the characters " + quote(text) +
                         " have no token, and the model has no unk_id to stand for them");
      }
    }
  }

  UnigramOptions options_;
  std::array<int32_t, 256> bytes_;
  std::vector<double> scores_;  // by id
  Trie trie_;
};

// ["token", score]
ScoredPiece read_piece(const FieldMap& map, const Node& item, const std::string& where) {
  const bool fits = item.kind == Node::Kind::kList && item.items.size() == 2 &&
                    item.items[0].kind == Node::Kind::kScalar && item.items[0].is_string;
  const std::optional<double> score = fits ? item.items[1].as_number() : std::nullopt;
  if (!score || !std::isfinite(*score))
    map.fail("vocab", where + "expected [\"token\", score], found " + shown(item));
  ScoredPiece piece{item.items[0].scalar, *score};
  if (piece.token.size() > Vocabulary::kMaxTokenBytes)
    map.fail("vocab", where + "the token " + quote(piece.token) + " is longer than " +
                          std::to_string(Vocabulary::kMaxTokenBytes) + " bytes");
  return piece;
}

}  // namespace

std::unique_ptr<const TokenModel> make_unigram(Vocabulary vocabulary,
                                               const std::vector<ScoredPiece>& pieces,
                                               const UnigramOptions& options) {
  ensure(static_cast<size_t>(vocabulary.size()) == pieces.size(),
         "make_unigram: one token per piece");
  return std::make_unique<Unigram>(std::move(vocabulary), pieces, options);
}

std::unique_ptr<const TokenModel> read_unigram(const FieldMap& map) {
  map.ignore("type");
  const Node& list = map.list("vocab", static_cast<size_t>(Vocabulary::kMaxTokens));
  if (list.items.empty()) map.fail("vocab", "expected at least one token");
  UnigramOptions options;
  options.least_score = std::numeric_limits<double>::infinity();
  Vocabulary vocabulary;
  std::vector<ScoredPiece> pieces;
  pieces.reserve(list.items.size());
  for (size_t i = 0; i < list.items.size(); ++i) {
    const std::string where = "item " + std::to_string(i) + ": ";
    pieces.push_back(read_piece(map, list.items[i], where));
    if (vocabulary.id_of(pieces.back().token))
      map.fail("vocab", where + "the token " + quote(pieces.back().token) + " appears twice");
    vocabulary.add(pieces.back().token, static_cast<int64_t>(i));
    options.least_score = std::min(options.least_score, pieces.back().score);
  }
  if (!map.is_null("unk_id"))
    options.unknown =
        static_cast<int32_t>(map.integer("unk_id", 0, static_cast<int64_t>(pieces.size()) - 1));
  options.byte_fallback = map.has("byte_fallback") && map.boolean("byte_fallback");
  map.finish();
  return make_unigram(std::move(vocabulary), pieces, options);
}

}  // namespace graft
