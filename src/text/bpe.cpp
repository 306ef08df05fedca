#include "text/bpe.h"

#include <algorithm>
#include <array>
#include <queue>

#include "base/error.h"
#include "text/hash_table.h"
#include "text/unicode.h"

namespace graft {

namespace {

constexpr size_t kMaxMerges = size_t{1} << 21;
constexpr uint32_t kNone = ~uint32_t{0};

struct Merge {
  uint32_t rank = kNone;
  int32_t id = -1;
};

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

class Bpe : public TokenModel {
 public:
  Bpe(Vocabulary vocabulary, HashTable<Merge> merges, BpeOptions options)
      : TokenModel(std::move(vocabulary)),
        merges_(std::move(merges)),
        options_(options),
        bytes_(byte_tokens(vocabulary_)) {
    low_.fill(-1);
    for (int64_t id = 0; id < vocabulary_.id_bound(); ++id) {
      const std::string* token = vocabulary_.token_of(id);
      if (token == nullptr || token->empty() || token->size() > 4) continue;
      const std::u32string chars = decode_utf8(*token, "vocabulary");
      if (chars.size() != 1) continue;
      if (chars[0] < low_.size()) low_[chars[0]] = static_cast<int32_t>(id);
      else high_.insert(chars[0], static_cast<int32_t>(id));
    }
  }

  void tokenize(std::u32string_view word, std::vector<WordToken>& out) const override {
    if (options_.ignore_merges) {
      if (const auto id = vocabulary_.id_of(to_utf8(word))) {
        out.push_back({static_cast<int32_t>(*id), 0, static_cast<uint32_t>(word.size())});
        return;
      }
    }
    // Short words: a scan over the pairs beats a heap. Long ones: O(n log n).
    const size_t first = out.size();
    append_characters(word, out);
    if (out.size() - first <= kShort) merge_short(out, first);
    else merge_long(out, first);
  }

 private:
  static constexpr size_t kShort = 40;

  int32_t id_of(char32_t c) const {
    if (c < low_.size()) return low_[c];
    const int32_t* found = high_.find(c);
    return found == nullptr ? -1 : *found;
  }

  void append_characters(std::u32string_view word, std::vector<WordToken>& out) const {
    bool previous_unknown = false;
    for (uint32_t i = 0; i < word.size(); ++i) {
      const int32_t id = id_of(word[i]);
      if (id >= 0) {
        out.push_back({id, i, i + 1});
        previous_unknown = false;
        continue;
      }
      if (options_.byte_fallback) {
        for (const char byte : to_utf8(word.substr(i, 1)))
          out.push_back({bytes_[static_cast<uint8_t>(byte)], i, i + 1});
        previous_unknown = false;
        continue;
      }
      if (!options_.unknown) {
        throw InputError("the character " + quote(to_utf8(word.substr(i, 1))) +
                         " has no token, and the model has no unk_token to stand for it");
      }
      if (previous_unknown && options_.fuse_unknown) out.back().end = i + 1;
      else out.push_back({*options_.unknown, i, i + 1});
      previous_unknown = true;
    }
  }

  Merge merge_of(int32_t left, int32_t right) const {
    const Merge* found = merges_.find(pair_key(left, right));
    return found == nullptr ? Merge{} : *found;
  }

  // Merges the tokens from `first` on, in place. The lowest rank goes first, the leftmost of
  // equals.
  void merge_short(std::vector<WordToken>& tokens, size_t first) const {
    std::array<Merge, kShort> merges;  // of the pair (i, i + 1)
    WordToken* const t = tokens.data() + first;
    size_t count = tokens.size() - first;
    if (count < 2) return;
    for (size_t i = 0; i + 1 < count; ++i) merges[i] = merge_of(t[i].id, t[i + 1].id);
    while (count > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < count; ++i) {
        if (merges[i].rank < merges[best].rank) best = i;
      }
      if (merges[best].rank == kNone) break;
      t[best].id = merges[best].id;
      t[best].end = t[best + 1].end;
      std::copy(t + best + 2, t + count, t + best + 1);
      std::copy(merges.begin() + static_cast<ptrdiff_t>(best) + 1,
                merges.begin() + static_cast<ptrdiff_t>(count) - 1,
                merges.begin() + static_cast<ptrdiff_t>(best));
      --count;
      merges[count - 1] = {};
      if (best > 0) merges[best - 1] = merge_of(t[best - 1].id, t[best].id);
      if (best + 1 < count) merges[best] = merge_of(t[best].id, t[best + 1].id);
    }
    tokens.resize(first + count);
  }

  struct Candidate {
    uint32_t rank, at;
    int32_t id;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };

  void merge_long(std::vector<WordToken>& tokens, size_t first) const {
    WordToken* const t = tokens.data() + first;
    const auto count = static_cast<uint32_t>(tokens.size() - first);
    std::vector<uint32_t> next(count), previous(count);
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto consider = [&](uint32_t left, uint32_t right) {
      const Merge merge = merge_of(t[left].id, t[right].id);
      if (merge.rank != kNone) queue.push({merge.rank, left, merge.id});
    };
    for (uint32_t i = 0; i < count; ++i) {
      previous[i] = i == 0 ? kNone : i - 1;
      next[i] = i + 1 == count ? kNone : i + 1;
      if (i + 1 < count) consider(i, i + 1);
    }
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      const uint32_t right = t[top.at].id < 0 ? kNone : next[top.at];
      if (right == kNone || merge_of(t[top.at].id, t[right].id).id != top.id)
        continue;  // a pair that is gone
      t[top.at].id = top.id;
      t[top.at].end = t[right].end;
      t[right].id = -1;
      next[top.at] = next[right];
      if (next[right] != kNone) previous[next[right]] = top.at;
      if (previous[top.at] != kNone) consider(previous[top.at], top.at);
      if (next[top.at] != kNone) consider(top.at, next[top.at]);
    }
    const auto end = std::remove_if(tokens.begin() + static_cast<ptrdiff_t>(first), tokens.end(),
                                    [](const WordToken& token) { return token.id < 0; });
    tokens.erase(end, tokens.end());
  }

  HashTable<Merge> merges_;
  BpeOptions options_;
  std::array<int32_t, 256> bytes_;
  std::array<int32_t, 0x180> low_;  // ids of single characters, by code point
  HashTable<int32_t> high_;
};

// "left right" (older files) or ["left", "right"].
std::pair<std::string, std::string> read_pair(const FieldMap& map, const Node& item,
                                              const std::string& where) {
  if (item.kind == Node::Kind::kScalar && item.is_string) {
    const size_t space = item.scalar.find(' ');
    if (space != std::string::npos && item.scalar.find(' ', space + 1) == std::string::npos) {
      return {item.scalar.substr(0, space), item.scalar.substr(space + 1)};
    }
  }
  const auto is_text = [](const Node& node) {
    return node.kind == Node::Kind::kScalar && node.is_string;
  };
  if (item.kind == Node::Kind::kList && item.items.size() == 2 && is_text(item.items[0]) &&
      is_text(item.items[1])) {
    return {item.items[0].scalar, item.items[1].scalar};
  }
  map.fail("merges",
           where + "expected \"left right\" or [\"left\", \"right\"], found " + shown(item));
}

HashTable<Merge> read_merges(const FieldMap& map, const Vocabulary& vocabulary) {
  const Node& list = map.list("merges", kMaxMerges);
  HashTable<Merge> merges(list.items.size());
  uint32_t rank = 0;
  for (size_t i = 0; i < list.items.size(); ++i) {
    const Node& item = list.items[i];
    if (item.kind == Node::Kind::kScalar && item.scalar.starts_with("#version"))
      continue;  // the head of an older merges file
    const std::string where = "item " + std::to_string(i) + ": ";
    const auto [left, right] = read_pair(map, item, where);
    const auto id = [&](const std::string& token) {
      const std::optional<int64_t> found = vocabulary.id_of(token);
      if (!found) map.fail("merges", where + quote(token) + " is not in the vocabulary");
      return static_cast<int32_t>(*found);
    };
    const int32_t left_id = id(left), right_id = id(right);
    const auto [place, is_new] =
        merges.insert(pair_key(left_id, right_id), {rank, id(left + right)});
    if (!is_new)
      map.fail("merges",
               where + "the pair " + quote(left) + ", " + quote(right) + " appears twice");
    ++rank;
  }
  return merges;
}

std::array<int32_t, 256> no_byte_tokens() {
  std::array<int32_t, 256> out{};
  out.fill(-1);
  return out;
}

}  // namespace

bool has_byte_tokens(const Vocabulary& vocabulary) {
  const std::array<int32_t, 256> ids = byte_tokens(vocabulary);
  return std::find(ids.begin(), ids.end(), -1) == ids.end();
}

std::unique_ptr<const TokenModel> read_bpe(const FieldMap& map) {
  map.ignore("type");
  if (!map.is_null("dropout") && map.raw("dropout").scalar != "0.0")
    map.fail("dropout", "merge dropout is not supported, found " + shown(map.raw("dropout")));
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!map.is_null(affix) && !map.text(affix).empty())
      map.fail(affix, "only null or \"\" is supported, found " + shown(map.raw(affix)));
  }
  BpeOptions options;
  options.fuse_unknown = map.has("fuse_unk") && map.boolean("fuse_unk");
  options.ignore_merges = map.has("ignore_merges") && map.boolean("ignore_merges");
  Vocabulary vocabulary = Vocabulary::read(map, "vocab");
  HashTable<Merge> merges = read_merges(map, vocabulary);
  if (!map.is_null("unk_token")) {
    const std::optional<int64_t> id = vocabulary.id_of(map.text("unk_token"));
    if (!id) map.fail("unk_token", shown(map.raw("unk_token")) + " is not in the vocabulary");
    options.unknown = static_cast<int32_t>(*id);
  }
  if (map.has("byte_fallback") && map.boolean("byte_fallback")) {
    options.byte_fallback = has_byte_tokens(vocabulary);
    if (!options.byte_fallback && byte_tokens(vocabulary) != no_byte_tokens())
      map.fail("byte_fallback",
               "a vocabulary that has some of the tokens <0x00> to <0xFF> but not all of them is "
               "not supported");
  }
  map.finish();
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), options);
}

std::unique_ptr<const TokenModel> make_bpe_by_score(Vocabulary vocabulary,
                                                    const std::vector<ScoredPiece>& pieces,
                                                    const BpeOptions& options) {
  ensure(static_cast<size_t>(vocabulary.size()) == pieces.size(),
         "make_bpe_by_score: one piece per token");
  // The rank of a merge is that of the score of what it makes; equal scores, equal ranks.
  std::vector<double> order;
  for (const ScoredPiece& piece : pieces) order.push_back(piece.score);
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  const auto matched_id = [&](std::string_view token) {
    const auto id = vocabulary.id_of(token);
    return id && pieces[static_cast<size_t>(*id)].is_matched ? static_cast<int32_t>(*id) : -1;
  };
  HashTable<Merge> merges(pieces.size() * 2);
  for (size_t id = 0; id < pieces.size(); ++id) {
    const std::string_view token = pieces[id].token;
    const auto place =
        std::lower_bound(order.begin(), order.end(), pieces[id].score, std::greater<>());
    for (size_t cut = 1; pieces[id].is_matched && cut < token.size(); ++cut) {
      if ((static_cast<uint8_t>(token[cut]) & 0xC0) == 0x80) continue;
      const int32_t left = matched_id(token.substr(0, cut)), right = matched_id(token.substr(cut));
      if (left >= 0 && right >= 0)
        merges.insert(pair_key(left, right),
                      {static_cast<uint32_t>(place - order.begin()), static_cast<int32_t>(id)});
    }
  }
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), options);
}

}  // namespace graft
