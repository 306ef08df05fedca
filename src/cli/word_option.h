// A flag whose value is one of the words of a table (base/names.h).
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "base/names.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace graft {

// `read` gets one of `words`; others are refused, and --help lists these.
CLI::Option* add_word_option(CLI::App& command, const std::string& flag,
                             const std::vector<std::string>& words,
                             const std::function<void(const std::string&)>& read,
                             const std::string& help);

// Read straight into `value`, an E or one that may be none, which must outlive the command line.
template <class E, size_t N, class Value>
CLI::Option* add_word_option(CLI::App& command, const std::string& flag, const Name<E> (&names)[N],
                             Value& value, const std::string& help) {
  const auto read = [&names, &value](const std::string& word) { value = value_of(names, word); };
  return add_word_option(command, flag, words_of(names), read, help);
}

}  // namespace graft
