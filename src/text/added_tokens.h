// Added tokens: texts that are found whole before the model sees anything ("[MASK]", "<s>", a
// user's own words).
//
// As in Hugging Face `tokenizers`: tokens that are not `normalized` are found in the user's text,
// the others in the normalized one; the longest match wins, the leftmost first; `single_word` wants
// no word character beside it; `lstrip` and `rstrip` take the white space beside it along.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/aligned_text.h"
#include "text/json_fields.h"
#include "text/normalizer.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace graft {

struct AddedToken {
  int64_t id = 0;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
};

// A part of a text: the span, and the added token there, or -1.
struct AddedSplit {
  Span span;
  int64_t id = -1;
};

class AddedTokens {
 public:
  // Reads the list at "added_tokens" of `map` (null or absent: none). A token that the model lacks
  // gets the next free id, which must be the one in the file. Throws InputError naming the JSON
  // pointer of a fault.
  static AddedTokens read(const FieldMap& map, const Vocabulary& model,
                          const Normalizer& normalizer);

  std::vector<AddedSplit> split_raw(std::u32string_view text) const { return split(text, raw_); }
  std::vector<AddedSplit> split_normalized(std::u32string_view text) const {
    return split(text, normalized_);
  }
  bool has_raw() const { return !raw_.is_empty(); }
  bool has_normalized() const { return !normalized_.is_empty(); }

  // Those that are not in the model's vocabulary.
  const Vocabulary& beyond_model() const { return beyond_; }
  const AddedToken* find(int64_t id) const;
  bool is_special(int64_t id) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }

  static constexpr size_t kMaxTokens = 1 << 17;

 private:
  std::vector<AddedSplit> split(std::u32string_view text, const Trie& trie) const;

  std::vector<AddedToken> tokens_;  // by id
  Trie raw_, normalized_;           // to the index in tokens_
  Vocabulary beyond_;
};

}  // namespace graft
