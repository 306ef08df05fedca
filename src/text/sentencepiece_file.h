// SentencePiece's model file (spiece.model, tokenizer.model): a protocol buffer, "ModelProto" of
// sentencepiece_model.proto. What encoding needs of it is read; how the model was trained is passed
// over.
//
// Read by hand: Debian's libsentencepiece has no accessors for these fields,
// and its protobuf clashes with the one inside libtorch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct SentencePieceFile {
  struct Piece {
    std::string text;  // UTF-8
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;
  int64_t model_type = 1;  // 1: Unigram, 2: BPE, 3: words, 4: characters
  bool byte_fallback = false, space_is_suffix = false;
  std::string charsmap, denormalizer_charsmap;  // text/charsmap.h
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
};

// Throws InputError "source: byte N: ..." if `bytes` is not such a file.
SentencePieceFile parse_sentencepiece_file(std::string_view bytes, const std::string& source);

}  // namespace graft
