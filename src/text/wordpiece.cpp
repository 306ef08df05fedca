// WordPiece: the longest token that a word starts with, then the longest continuation ("##..."),
// and so on; one unknown token when that fails anywhere.
#include "base/error.h"
#include "text/token_model.h"
#include "text/trie.h"
#include "text/unicode.h"

namespace graft {

namespace {

class WordPiece : public TokenModel {
 public:
  WordPiece(Vocabulary vocabulary, const std::string& prefix, int32_t unknown, size_t longest_word)
      : TokenModel(std::move(vocabulary)), unknown_(unknown), longest_word_(longest_word) {
    for (int64_t id = 0; id < vocabulary_.id_bound(); ++id) {
      const std::string* token = vocabulary_.token_of(id);
      if (token == nullptr || token->empty()) continue;
      // A token with the prefix may also begin a word, when the text itself has "##".
      starts_.add(decode_utf8(*token, "vocabulary"), static_cast<int32_t>(id));
      if (token->size() > prefix.size() && token->starts_with(prefix)) {
        continuations_.add(
            decode_utf8(std::string_view(*token).substr(prefix.size()), "vocabulary"),
            static_cast<int32_t>(id));
      }
    }
  }

  void tokenize(std::u32string_view word, std::vector<WordToken>& out) const override {
    const size_t first = out.size();
    const auto length = static_cast<uint32_t>(word.size());
    if (word.size() <= longest_word_) {
      uint32_t at = 0;
      while (at < length) {
        const Trie::Match match = (at == 0 ? starts_ : continuations_).longest(word.substr(at));
        if (match.id < 0) break;
        out.push_back({match.id, at, at + static_cast<uint32_t>(match.length)});
        at += static_cast<uint32_t>(match.length);
      }
      if (at == length) return;
      out.resize(first);
    }
    out.push_back({unknown_, 0, length});
  }

 private:
  Trie starts_, continuations_;
  int32_t unknown_;
  size_t longest_word_;
};

}  // namespace

std::unique_ptr<const TokenModel> read_wordpiece(const FieldMap& map) {
  map.ignore("type");
  const std::string unknown = map.text("unk_token");
  const std::string prefix = map.text("continuing_subword_prefix");
  const auto longest = static_cast<size_t>(map.integer("max_input_chars_per_word", 0, 1 << 20));
  Vocabulary vocabulary = Vocabulary::read(map, "vocab");
  map.finish();
  const std::optional<int64_t> id = vocabulary.id_of(unknown);
  if (!id) map.fail("unk_token", quote(unknown) + " is not in the vocabulary");
  return std::make_unique<WordPiece>(std::move(vocabulary), prefix, static_cast<int32_t>(*id),
                                     longest);
}

}  // namespace graft
