// A tokenizer as Hugging Face's tokenizer.json describes it, or SentencePiece's spiece.model
// (tokenizer.model): text to token ids with offsets, and back. Ids and offsets equal those of
// `tokenizers`, ids from a SentencePiece file those of `sentencepiece`.
//
// WordPiece (BERT), byte-level BPE (RoBERTa, GPT-2, LLaMA-3, Qwen2, SmolLM2), BPE with byte
// fallback (LLaMA-2, Mistral), Unigram (T5). A type or field of tokenizer.json that is not
// supported is refused with its JSON pointer, with these exceptions, which are harmless here:
// "truncation" and "padding" (the caller gives the length and the engine never pads), "decoder"
// flags without a meaning for decoding.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/files.h"

namespace graft {

struct Encoding {
  std::vector<int64_t> ids;
  std::vector<int64_t> type_ids;
  // [begin, end) in code points of the text that the token comes from; (0, 0) for what the template
  // added.
  std::vector<std::pair<int64_t, int64_t>> offsets;
  std::vector<bool> special;  // true for what the template added, not for "[SEP]" found in the text
  int64_t num_truncated = 0;  // tokens that were cut to reach max_length
};

enum class TruncationStrategy { kLongestFirst, kOnlyFirst, kOnlySecond };
// The end of a text that a cut takes. What the template adds stays on both.
enum class TruncationSide { kRight, kLeft };

struct EncodeOptions {
  bool add_special = true;
  int64_t max_length = 0;  // of the whole encoding, specials included; 0: no bound
  TruncationStrategy strategy = TruncationStrategy::kLongestFirst;
  TruncationSide side = TruncationSide::kRight;
  bool continues =
      false;  // the text goes on from another one: nothing is put before its first word
  bool trims_offsets = true;  // as the file says; false: a token's offsets keep its white space
};

enum class SpecialTokens { kKeep, kSkip };

struct SentencePieceSettings;  // text/sentencepiece_tokenizer.h

// Immutable; every method may be called from several threads at once.
class Tokenizer {
 public:
  // `path`: a tokenizer.json; a SentencePiece file, named *.model, read by the rules of T5
  // (Unigram) or LLaMA-2 (BPE) and the tokenizer_config.json beside it, if any; or a folder with
  // one of them. Throws InputError (with the JSON pointer) or IoError.
  static std::shared_ptr<const Tokenizer> load(const Path& path);
  // The same from memory; `source` names it in errors.
  static std::shared_ptr<const Tokenizer> parse(std::string_view json, const std::string& source);
  static std::shared_ptr<const Tokenizer> parse_sentencepiece(
      std::string_view bytes, const std::string& source, const SentencePieceSettings& settings);
  ~Tokenizer();

  // Throws InputError when a text is not UTF-8 (with the byte), or cannot be cut to max_length.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  Encoding encode(std::string_view text, std::optional<std::string_view> pair,
                  const EncodeOptions& options = {}) const;

  // Throws InputError on an id that no token has. The result is UTF-8 always. No clean-up of
  // spaces.
  std::string decode(std::span<const int64_t> ids,
                     SpecialTokens special = SpecialTokens::kSkip) const;

  std::optional<int64_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int64_t id) const;
  bool is_special(int64_t id) const;  // an added token marked special
  int64_t size() const;               // number of tokens, added ones included
  int64_t id_bound()
      const;  // one more than the largest id: the least number of rows of an embedding table
  int64_t num_added(bool is_pair) const;  // special tokens that the template adds
  const std::string& digest() const;      // SHA-256 of the file, in hexadecimal

 private:
  friend class StreamDecoder;
  friend struct SentencePieceReader;
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);

  // The token's text; null where `special` skips it. Throws InputError on an id that no token has.
  const std::string* decoded_token(int64_t id, SpecialTokens special) const;

  std::unique_ptr<const Parts> parts_;
};

// Decodes ids as they come. What push() and finish() return, joined, is what Tokenizer::decode
// makes of all the ids; each part is final and never ends inside a character. Text may be held back
// for a few tokens where a later one could change it.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer,
                         SpecialTokens special = SpecialTokens::kSkip);
  ~StreamDecoder();

  std::string push(int64_t id);  // throws InputError on an id that no token has
  std::string finish();          // what was held back; then a new text may begin

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace graft
