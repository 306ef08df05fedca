// What a Tokenizer is made of. For the readers of its files (tokenizer_file.cpp,
// sentencepiece_tokenizer.cpp) and tokenizer.cpp only.
#pragma once

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace graft {

// White space, or the byte-level sign of a space, at the two ends of a token, in characters.
struct Margins {
  uint32_t leading = 0, trailing = 0;
};
Margins margins_of(std::u32string_view token);

// One text, encoded but without special tokens.
struct TokenSequence {
  std::vector<int64_t> ids;
  std::vector<std::pair<int64_t, int64_t>> offsets;
  std::vector<Margins> margins;  // filled only when offsets are trimmed

  size_t size() const { return ids.size(); }
  void cut(size_t length, TruncationSide side);
};

struct Tokenizer::Parts {
  Normalizer normalizer;
  std::optional<PreTokenizer> pre_tokenizer;
  std::unique_ptr<const TokenModel> model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  std::string digest;
  std::vector<Margins> margins;  // by id of the model; empty when offsets are not trimmed

  bool trims() const { return !post_processor.trims().empty(); }
  // `continues`: see EncodeOptions; of a part of the text: it is the first part of such a text.
  TokenSequence encode(std::string_view text, std::string_view source, bool continues) const;
  void encode_part(AlignedText text, bool continues, TokenSequence& out) const;
  void encode_words(AlignedText text, bool continues, TokenSequence& out) const;
  void put_added(const AlignedText& text, const AddedSplit& split, TokenSequence& out) const;
  const std::string* token_of(int64_t id) const;
};

struct SentencePieceReader {
  using Parts = Tokenizer::Parts;
};
// A spiece.model, without digest. Throws InputError "source: ...".
SentencePieceReader::Parts parts_of_sentencepiece(std::string_view bytes, const std::string& source,
                                                  const SentencePieceSettings& settings);

}  // namespace graft
