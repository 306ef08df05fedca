// Letters of ASCII, whatever the locale is; of all others text/unicode.h knows.
#pragma once

#include <string>

namespace graft {

inline char lower_ascii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

inline std::string lower_ascii(std::string text) {
  for (char& c : text) c = lower_ascii(c);
  return text;
}

}  // namespace graft
