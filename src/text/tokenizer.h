// A tokenizer as Hugging Face's tokenizer.json describes it: text to token ids with offsets, and back. Ids and offsets equal
// those of their `tokenizers`.
//
// WordPiece (BERT) and byte-level BPE (RoBERTa, GPT-2). A type or field that is not supported is refused with its JSON pointer,
// with these exceptions, which are harmless here: "truncation" and "padding" (the caller gives the length and the engine never
// pads), "decoder" flags without a meaning for decoding.
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
  // [begin, end) in code points of the text that the token comes from; (0, 0) for what the template added.
  std::vector<std::pair<int64_t, int64_t>> offsets;
  std::vector<bool> special;                          // true for what the template added, not for "[SEP]" found in the text
  bool is_truncated = false;                          // tokens were cut to reach max_length
};

enum class TruncationStrategy { kLongestFirst, kOnlyFirst, kOnlySecond };

struct EncodeOptions {
  bool add_special = true;
  int64_t max_length = 0;             // of the whole encoding, specials included; 0: no bound
  TruncationStrategy strategy = TruncationStrategy::kLongestFirst;
};

enum class SpecialTokens { kKeep, kSkip };

// What the file's own "truncation" says; reported, never applied.
struct FileTruncation {
  int64_t max_length = 0;
  TruncationStrategy strategy = TruncationStrategy::kLongestFirst;
};

// Immutable; every method may be called from several threads at once.
class Tokenizer {
 public:
  // `path`: a tokenizer.json. Throws InputError (with the JSON pointer) or IoError.
  static std::shared_ptr<const Tokenizer> load(const Path& path);
  // The same from memory; `source` names it in errors.
  static std::shared_ptr<const Tokenizer> parse(std::string_view json, const std::string& source);
  ~Tokenizer();

  // Throws InputError when a text is not UTF-8 (with the byte), or cannot be cut to max_length.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  Encoding encode(std::string_view text, std::optional<std::string_view> pair, const EncodeOptions& options = {}) const;

  // Throws InputError on an id that no token has. The result is UTF-8 always.
  std::string decode(std::span<const int64_t> ids, SpecialTokens special = SpecialTokens::kSkip) const;

  std::optional<int64_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int64_t id) const;
  bool is_special(int64_t id) const;                  // an added token marked special
  int64_t size() const;                               // number of tokens, added ones included
  int64_t id_bound() const;   // one more than the largest id: the least number of rows of an embedding table
  int64_t num_added(bool is_pair) const;              // special tokens that the template adds
  const std::string& digest() const;                  // SHA-256 of the file, in hexadecimal
  const std::optional<FileTruncation>& file_truncation() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);

  std::unique_ptr<const Parts> parts_;
};

}  // namespace graft
