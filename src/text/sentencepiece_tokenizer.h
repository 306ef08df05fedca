// A tokenizer made of a SentencePiece file by the rules of T5 (Unigram) or LLaMA-2 (BPE); no other
// model's.
//
// The file says nothing of special tokens around a text nor of tokens beside its pieces: those come
// from here and from tokenizer_config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

struct SentencePieceSettings {
  std::string model_class;      // "T5Tokenizer" or "LlamaTokenizer"; "": by the type of the model
  int64_t num_extra_ids = 100;  // T5: <extra_id_0> .. behind the pieces, the last one first
  std::optional<bool> add_bos, add_eos;  // LLaMA: only the first by default; T5: always the second
  bool is_legacy = true;  // false: no space is put before a text that follows an added token
  struct Token {
    int64_t id = 0;
    std::string content;
  };
  std::vector<Token> tokens;  // what the config says of ids; checked against the pieces
};

// From the text of a tokenizer_config.json. Throws InputError on a tokenizer_class that is neither
// T5Tokenizer nor LlamaTokenizer, or a bad field.
SentencePieceSettings read_sentencepiece_settings(std::string_view json, const std::string& source);

}  // namespace graft
