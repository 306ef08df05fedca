// What a GGUF file says of its tokenizer's tokens and merges. Internal to src/model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/document.h"
#include "tensor/gguf_metadata.h"

namespace graft {

// ggml took the numbers over from SentencePiece.
enum class GgufTokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// As many as a vocabulary of tokenizer.json may have (text/vocabulary.h), which these become.
inline constexpr uint64_t kMaxGgufTokens = uint64_t{1} << 21;

struct TokenTable {
  const GgufMetadata& metadata;
  std::vector<std::string> texts;  // by id
  std::vector<GgufTokenType> types;

  bool is(size_t id, GgufTokenType type) const { return types[id] == type; }
};

// The metadata's key of a part of the tokenizer.
std::string tokenizer_key(std::string_view name);

// All tokens and their types. Throws InputError where they are not one type a token, or two tokens
// are one text.
TokenTable read_token_table(const GgufMetadata& metadata);

// A list of ["left", "right"], the first merges first: as the file lists them,
Node listed_merges(const GgufMetadata& metadata);
// and as SentencePiece's scores have them, which joins the neighbours whose union has the highest
// score: every way to cut a piece into two pieces, by falling score. Ties go as in the library that
// writes such models' tokenizer.json: longer left parts first, then longer right ones, then by id.
Node scored_merges(const TokenTable& tokens);

}  // namespace graft
