// Models: how one word becomes tokens. WordPiece and byte-level BPE; a further kind is one more class and one more line in
// read().
//
// Unigram, WordLevel, and BPE with byte_fallback, dropout, a prefix or a suffix are refused by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/json_fields.h"
#include "text/vocabulary.h"

namespace graft {

struct WordToken {
  int32_t id;
  uint32_t begin, end;   // code points of the word
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of `word` (not empty). Throws InputError if a character has no token and the model no token for the
  // unknown. Thread-safe.
  virtual void tokenize(std::u32string_view word, std::vector<WordToken>& out) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Reads the "model" of tokenizer.json. Throws InputError naming the JSON pointer of what is wrong or not supported.
  static std::unique_ptr<const TokenModel> read(const FieldMap& map);

 protected:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Vocabulary vocabulary_;
};

std::unique_ptr<const TokenModel> read_wordpiece(const FieldMap& map);
std::unique_ptr<const TokenModel> read_bpe(const FieldMap& map);

}  // namespace graft
