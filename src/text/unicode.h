// Unicode as the tokenizers need it: UTF-8 in and out, character classes, lower case and normal
// forms.
//
// Classes and lower case come from a table asked of Hugging Face `tokenizers`
// (tools/unicode_tables.py); normal forms from ICU, held to Unicode 9.0, which is what that
// library's normalizer knows. Both keep token ids equal whatever ICU is installed. Not a general
// text library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

// The code points of `text`. Throws InputError "source: byte N: ..." at the first byte that is not
// UTF-8 (surrogates and overlong forms included).
std::u32string decode_utf8(std::string_view text, std::string_view source);

void append_utf8(std::string& out, char32_t c);
std::string to_utf8(std::u32string_view text);
int utf8_length(char32_t c);  // 1..4

// `bytes` with every ill-formed part (maximal subpart) replaced by U+FFFD.
std::string replace_invalid_utf8(std::string_view bytes);
bool is_utf8(std::string_view bytes);
// How many bytes at the end (0..3) are the start of a character whose other bytes have not come
// yet.
size_t incomplete_utf8_suffix(std::string_view bytes);

enum class CharClass : uint16_t {
  kBertRemoved = 1,  // what BERT's clean_text drops: control, format, private use, U+0000, U+FFFD
                     // (not unassigned ones)
  kPunctuation = 2,  // BERT's and Punctuation's: ASCII symbols and category P of an old Unicode
  kNonspacingMark = 4,  // category Mn
  kCombiningMark = 8,   // category M
  kLetter = 16,         // \p{L} of the regular expression engine
  kNumber = 32,         // \p{N} of the regular expression engine
  kNumeric = 64,        // the Digits pre-tokenizer's
  kWord = 128,          // \w
  kSpace = 256,         // White_Space
};

// The class bits of every code point. Made on first use, constant afterwards.
class CharClasses {
 public:
  CharClasses();
  bool is_in(char32_t c, CharClass wanted) const {
    return (bits(c) & static_cast<uint16_t>(wanted)) != 0;
  }
  uint16_t bits(char32_t c) const { return bits_[c]; }  // Requires: c <= U+10FFFF

 private:
  std::vector<uint16_t> bits_;
};
const CharClasses& char_classes();

// Letters or numbers as a set of a regular expression: [\x{41}-\x{5A}...]. `which`: kLetter or
// kNumber.
std::string regex_set(CharClass which);

inline bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return char_classes().is_in(c, CharClass::kSpace);
}

// The ideographs that BERT sets apart, by its own list of blocks.
bool is_bert_ideograph(char32_t c);

// Lower case of one character; U+0130 becomes two and is the caller's to handle (kDottedCapitalI ->
// i, U+0307).
inline constexpr char32_t kDottedCapitalI = 0x130;
char32_t lower(char32_t c);

// One character of a transformed text and how it relates to the one it comes from:
// 0 replaces the next old character, +1 is inserted after it, -N replaces it and swallows the N
// that follow.
struct Edited {
  char32_t c;
  int32_t change;
};

// The ends of the extended grapheme clusters of `text`, in order; the last one is its size.
std::vector<size_t> grapheme_ends(std::u32string_view text);

enum class NormalForm { kNfd, kNfc, kNfkd, kNfkc };

// The text in that form, with alignment. `text` holds code points without surrogates.
std::vector<Edited> normal_form(std::u32string_view text, NormalForm form);

// True when the form surely leaves `text` as it is (a quick look at the largest code point).
bool surely_in_form(std::u32string_view text, NormalForm form);

}  // namespace graft
