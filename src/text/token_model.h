// Models: how one word becomes tokens. WordPiece, BPE (byte-level or with byte fallback) and
// Unigram; a further kind is one more class and one more line in read().
//
// WordLevel, and BPE with dropout, a prefix or a suffix, are refused by name.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_fields.h"
#include "text/vocabulary.h"

namespace graft {

struct WordToken {
  int32_t id;
  uint32_t begin, end;  // code points of the word
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of `word` (not empty). Throws InputError if a character has no token and the
  // model no token for the unknown. Thread-safe.
  virtual void tokenize(std::u32string_view word, std::vector<WordToken>& out) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Reads the "model" of tokenizer.json. Throws InputError naming the JSON pointer of what is wrong
  // or not supported.
  static std::unique_ptr<const TokenModel> read(const FieldMap& map);

 protected:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Vocabulary vocabulary_;
};

// A token of a SentencePiece model; its id is its place.
struct ScoredPiece {
  std::string token;
  double score = 0;
  bool is_matched = true;  // false: never found in a text (control tokens, reserved ids)
};

// The ids of <0x00> .. <0xFF>, by byte; -1: the vocabulary has no such token.
std::array<int32_t, 256> byte_tokens(const Vocabulary& vocabulary);

std::unique_ptr<const TokenModel> read_wordpiece(const FieldMap& map);
std::unique_ptr<const TokenModel> read_bpe(const FieldMap& map);
std::unique_ptr<const TokenModel> read_unigram(const FieldMap& map);

}  // namespace graft
