// Texts of several pieces as tokens: a prompt and what follows it, a conversation and what the
// model says in it.
//
// A text has the tokens that a tokenizer makes of it as a whole, wherever its pieces meet:
// tokenizers of the SentencePiece kind put a space before a text, and so before every piece that is
// tokenised by itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace graft {

struct Piece {
  std::string text;
  bool is_target =
      false;  // what the model is to write: an assistant's content and the mark that ends its turn
  bool is_muted =
      false;  // an answer that shall not be learnt: a loss over the whole text leaves it out, too

  friend bool operator==(const Piece&, const Piece&) = default;
};

// Code points of a text that is UTF-8.
int64_t num_chars(const std::string& text);

struct PieceTokens {
  std::vector<int64_t> ids;  // of the pieces' joined text, without special tokens around it
  std::vector<bool>
      is_target;               // a character at least of the token stands in a piece with that mark
  std::vector<bool> is_muted;  // the same, of tokens that are no targets
};
// Throws what Tokenizer::encode throws.
PieceTokens encode_pieces(const Tokenizer& tokenizer, const std::vector<Piece>& pieces);

// A text that is to be continued, and its tokens without special ones around it.
struct Opening {
  std::string text;
  std::vector<int64_t> ids;
};
// The tokens of `text` behind an opening that keeps its own: those of both as a whole, cut where
// the opening's end. Where the whole does not begin with the opening's tokens, because one would
// reach over the border, they are those of `text` alone with nothing put before it.
std::vector<int64_t> continuation_ids(const Tokenizer& tokenizer, const Opening& opening,
                                      const std::string& text);

}  // namespace graft
