// One table between the values of a kind and the words that documents and messages have for them.
//
//   constexpr Name<Clamp> kClamps[] = {{Clamp::kCode, "code"}, {Clamp::kPaper, "paper"}};
//   word_of(kClamps, Clamp::kPaper)      "paper"
//   value_of(kClamps, "code")            Clamp::kCode
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace graft {

template <class E>
struct Name {
  E value;
  const char* word;
};

// Requires: a value of the table.
template <class E, size_t N>
const char* word_of(const Name<E> (&names)[N], const std::type_identity_t<E>& value) {
  for (const Name<E>& name : names) {
    if (name.value == value) return name.word;
  }
  throw InternalError("a value has no word in its table");
}

// Requires: a word of the table.
template <class E, size_t N>
const E& value_of(const Name<E> (&names)[N], std::string_view word) {
  for (const Name<E>& name : names) {
    if (name.word == word) return name.value;
  }
  throw InternalError("no value is called " + quote(word));
}

// In the order of the table.
template <class E, size_t N>
std::vector<std::string> words_of(const Name<E> (&names)[N]) {
  std::vector<std::string> words;
  for (const Name<E>& name : names) words.emplace_back(name.word);
  return words;
}

}  // namespace graft
