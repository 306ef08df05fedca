// Normalizers: what is done to a text before it is split. Each keeps the alignment with the user's
// text.
//
// Read from the "normalizer" of tokenizer.json: BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase,
// StripAccents, Strip, Replace, Prepend, Precompiled, Sequence. Everything else is refused by name.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/aligned_text.h"
#include "text/json_fields.h"
#include "text/precompiled.h"

namespace graft {

class BoundedRegex;  // text/bounded_regex.h

struct BertNormalizer {
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;
};
struct FormNormalizer {
  NormalForm form = NormalForm::kNfc;
};
struct LowercaseNormalizer {};
struct StripAccentsNormalizer {};
struct StripNormalizer {
  bool left = true, right = true;
};
struct ReplaceNormalizer {
  std::u32string pattern;                     // when `regex` is null
  std::shared_ptr<const BoundedRegex> regex;  // never matches nothing at all
  std::u32string content;
};
struct PrependNormalizer {
  std::u32string text;
};

using NormalizerStep =
    std::variant<BertNormalizer, FormNormalizer, LowercaseNormalizer, StripAccentsNormalizer,
                 StripNormalizer, ReplaceNormalizer, PrependNormalizer, PrecompiledNormalizer,
                 SentencePieceNormalizer>;

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}
  // Throws InputError naming the JSON pointer of what is wrong or not supported.
  static Normalizer read(const FieldMap& map);

  // `continues`: the text goes on from another one, so that nothing is put before it.
  // Throws InputError when the text would grow past kMaxGrowth times its length and kMaxGrown
  // characters more.
  void apply(AlignedText& text, bool continues = false) const;

  static constexpr size_t kMaxGrowth = 32;  // NFKD of one character is 18 at most
  static constexpr size_t kMaxGrown = 65536;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace graft
