// A text under work: its code points now, and for each the code point of the user's text that it
// stands for.
//
// Every normalizer and pre-tokenizer keeps the two in step, which is all that offsets need. As in
// Hugging Face `tokenizers`, a character that was inserted points where its predecessor points, and
// a composite points at the first of its parts; so origins never decrease.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace graft {

struct AlignedText {
  std::u32string chars;
  std::vector<uint32_t> origin;  // same length

  size_t size() const { return chars.size(); }
  std::u32string_view view() const { return chars; }
  void push(char32_t c, uint32_t from) {
    chars.push_back(c);
    origin.push_back(from);
  }
  AlignedText slice(size_t begin, size_t end) const;

  // Replaces the text by `edited`; the first `skipped` old characters were dropped before it.
  // The changes must not run past the old end.
  void replace(const std::vector<Edited>& edited, size_t skipped = 0);
  // Keeps the characters for which keep(c) holds.
  template <typename Keep>
  void filter(Keep keep) {
    size_t kept = 0;
    for (size_t i = 0; i < chars.size(); ++i) {
      if (!keep(chars[i])) continue;
      chars[kept] = chars[i];
      origin[kept++] = origin[i];
    }
    chars.resize(kept);
    origin.resize(kept);
  }
};

// A half-open range of an AlignedText.
struct Span {
  size_t begin = 0, end = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

// Where `pattern` stands in `text`, from the left and without overlap. Requires: the pattern is not
// empty.
std::vector<Span> places_of(std::u32string_view pattern, std::u32string_view text);

// Throws InputError where a normalizer makes more than `limit` characters of a text: a file can
// chain replacements that each double it or hold long ones; no honest one comes near a limit.
void check_growth(size_t size, size_t limit);

}  // namespace graft
