#include "text/base64.h"

#include <cstdint>

#include "base/error.h"

namespace graft {

std::string decode_base64(std::string_view text, const std::string& where) {
  const auto digit = [](char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  const auto fail = [&](const std::string& why) {
    throw InputError(where + ": expected base64, found " + why);
  };
  if (text.size() % 4 != 0) fail("a text of " + std::to_string(text.size()) + " characters");
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int value = i >= text.size() - padding ? 0 : digit(text[i]);
    if (value < 0) fail(quote(text.substr(i, 1)) + " at character " + std::to_string(i));
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0})
      out.push_back(static_cast<char>(static_cast<unsigned char>(bits >> shift & 0xFF)));
    bits = 0;
  }
  out.resize(out.size() - padding);
  return out;
}

}  // namespace graft
