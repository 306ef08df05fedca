#include "text/added_tokens.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"

namespace graft {

namespace {

AddedToken read_token(const FieldMap& map) {
  AddedToken token;
  token.id = map.integer("id", 0, Vocabulary::kMaxId - 1);
  token.content = map.text("content");
  if (token.content.empty() || token.content.size() > Vocabulary::kMaxTokenBytes) {
    map.fail("content", "expected a text of 1.." + std::to_string(Vocabulary::kMaxTokenBytes) +
                            " bytes, found " + std::to_string(token.content.size()));
  }
  token.single_word = map.boolean("single_word");
  token.lstrip = map.boolean("lstrip");
  token.rstrip = map.boolean("rstrip");
  token.normalized = map.boolean("normalized");
  token.special = map.boolean("special");
  map.finish();
  return token;
}

bool is_word(char32_t c) { return char_classes().is_in(c, CharClass::kWord); }

}  // namespace

AddedTokens AddedTokens::read(const FieldMap& map, const Vocabulary& model,
                              const Normalizer& normalizer) {
  AddedTokens out;
  if (map.is_null("added_tokens")) return out;
  const Node& list = map.list("added_tokens", kMaxTokens);
  std::unordered_set<std::string> seen;
  int64_t next_id =
      model.size();  // what the reference library gives to a token that the model lacks
  for (size_t i = 0; i < list.items.size(); ++i) {
    const FieldMap item(list.items[i], map.source(),
                        map.pointer() + "/added_tokens/" + std::to_string(i));
    AddedToken token = read_token(item);
    if (!seen.insert(token.content).second)
      item.fail("content", "the token " + quote(token.content) + " appears twice");
    const std::optional<int64_t> known = model.id_of(token.content);
    const int64_t expected = known ? *known : next_id;
    if (token.id != expected) {
      item.fail("id", "token " + quote(token.content) +
                          (known ? " has another id in the vocabulary"
                                 : " is not in the vocabulary, so it gets the next free id") +
                          "; expected " + std::to_string(expected) + ", found " +
                          std::to_string(token.id));
    }
    if (!known) {
      if (model.token_of(token.id) != nullptr)
        item.fail("id", "the id " + std::to_string(token.id) + " belongs to " +
                            quote(*model.token_of(token.id)));
      out.beyond_.add(token.content, token.id);
      ++next_id;
    }
    out.tokens_.push_back(std::move(token));
  }
  std::sort(out.tokens_.begin(), out.tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  // Where two tokens normalize to the same text the first one wins, special ones before the others.
  for (const bool special : {true, false}) {
    for (size_t i = 0; i < out.tokens_.size(); ++i) {
      const AddedToken& token = out.tokens_[i];
      if (token.special != special) continue;
      AlignedText content;
      content.chars = decode_utf8(token.content, map.source() + ": /added_tokens");
      content.origin.assign(content.chars.size(), 0);
      if (token.normalized) normalizer.apply(content);
      if (content.size() == 0)
        map.fail("added_tokens",
                 "the token " + quote(token.content) + " is empty after normalization");
      (token.normalized ? out.normalized_ : out.raw_).add(content.chars, static_cast<int32_t>(i));
    }
  }
  return out;
}

const AddedToken* AddedTokens::find(int64_t id) const {
  const auto at =
      std::lower_bound(tokens_.begin(), tokens_.end(), id,
                       [](const AddedToken& token, int64_t wanted) { return token.id < wanted; });
  return at != tokens_.end() && at->id == id ? &*at : nullptr;
}

bool AddedTokens::is_special(int64_t id) const {
  const AddedToken* token = find(id);
  return token != nullptr && token->special;
}

std::vector<AddedSplit> AddedTokens::split(std::u32string_view text, const Trie& trie) const {
  std::vector<AddedSplit> out;
  size_t done = 0;   // end of the last token taken, with its white space
  Span left, right;  // the stretches of white space last walked each way: never walked again, so
                     // the work stays linear
  for (size_t at = 0; at < text.size();) {
    const Trie::Match match = trie.longest(text.substr(at));
    if (match.id < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.id)];
    size_t begin = at, end = at + match.length;
    at = end;  // a match that is turned down is passed over whole
    if (token.single_word &&
        ((begin > 0 && is_word(text[begin - 1])) || (end < text.size() && is_word(text[end]))))
      continue;
    if (token.lstrip) {
      const size_t from = begin;
      while (begin > 0 && is_space(text[begin - 1])) {
        if (begin == left.end && left.begin < left.end) {
          begin = left.begin;
          break;
        }
        --begin;
      }
      left = {begin, from};
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      if (end < right.begin || end >= right.end) {
        right.begin = right.end = end;
        while (right.end < text.size() && is_space(text[right.end])) ++right.end;
      }
      end = right.end;
    }
    if (done < begin) out.push_back({{done, begin}, -1});
    out.push_back({{begin, end}, token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({{done, text.size()}, -1});
  return out;
}

}  // namespace graft
