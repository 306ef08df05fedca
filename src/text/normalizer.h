// Normalizers: what is done to a text before it is split. Each keeps the alignment with the user's text.
//
// Read from the "normalizer" of tokenizer.json: BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace (of
// a string), Prepend, Sequence. Everything else is refused by name.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "text/aligned_text.h"
#include "text/json_fields.h"

namespace graft {

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
  std::u32string pattern, content;
};
struct PrependNormalizer {
  std::u32string text;
};

using NormalizerStep = std::variant<BertNormalizer, FormNormalizer, LowercaseNormalizer, StripAccentsNormalizer, StripNormalizer,
                                    ReplaceNormalizer, PrependNormalizer>;

class Normalizer {
 public:
  // Throws InputError naming the JSON pointer of what is wrong or not supported.
  static Normalizer read(const FieldMap& map);

  // Throws InputError when the text would grow past kMaxGrowth times its length and kMaxGrown characters more.
  void apply(AlignedText& text) const;

  static constexpr size_t kMaxGrowth = 32;       // NFKD of one character is 18 at most
  static constexpr size_t kMaxGrown = 65536;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace graft
