#include "base/printable.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "base/error.h"
#include "base/utf8.h"

namespace graft {

namespace {

// Of the well-formed sequence of `length` bytes at `at`.
uint32_t code_point(std::string_view text, size_t at, size_t length) {
  const auto lead = static_cast<unsigned char>(text[at]);
  uint32_t code = length == 1 ? lead : lead & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i)
    code = (code << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3FU);
  return code;
}

// Control characters of Unicode (C0, DEL, C1), ends of lines and paragraphs, and marks of
// direction, which reorder what follows.
bool steers_terminal(uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x061C || code == 0x200E ||
         code == 0x200F || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
}

uint32_t code_point_at(std::string_view text, size_t at, size_t length) {
  return length == 0 ? static_cast<unsigned char>(text[at]) : code_point(text, at, length);
}

}  // namespace

bool has_steering_marks(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_sequence(text, at);
    const uint32_t code = code_point_at(text, at, length);
    if (code >= 0x7F && steers_terminal(code)) return true;
    at += std::max<size_t>(length, 1);
  }
  return false;
}

std::string printable(std::string_view text, size_t most, std::string_view escaped) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_sequence(text, at), step = std::max<size_t>(length, 1);
    const uint32_t code = code_point_at(text, at, length);
    std::string piece;
    if (length == 0 || steers_terminal(code)) {
      char escape[16];
      std::snprintf(escape, sizeof escape, length > 1 ? "\\u%04x" : "\\x%02x", code);
      piece = escape;
    } else {
      if (escaped.find(text[at]) != std::string_view::npos) piece = '\\';
      piece += text.substr(at, step);
    }
    if (out.size() + piece.size() > most) return out + "...";
    out += piece;
    at += step;
  }
  return out;
}

std::string bare_name(std::string_view name) { return printable(name, 1000); }

std::string named(std::string_view name) { return "'" + bare_name(name) + "'"; }

std::string listed_names(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (const std::string& name : names) shown.push_back(printable(name));
  return shown.size() > 50 ? joined_first(shown, 50) : joined(shown);
}

std::string message_text(std::string_view message) {
  constexpr size_t kLongestLine = 2000, kMostLines = 200;
  std::string out;
  for (size_t count = 0, at = 0; at <= message.size(); ++count) {
    const size_t end = std::min(message.find('\n', at), message.size());
    if (count == kMostLines && end < message.size()) {
      const auto left =
          std::count(message.begin() + static_cast<std::ptrdiff_t>(at), message.end(), '\n') + 1;
      return out + "\n... and " + std::to_string(left) + " more lines";
    }
    if (count > 0) out += '\n';
    const std::string_view line = message.substr(at, end - at);
    out += printable(line, line.ends_with("...")
                               ? kLongestLine + 3
                               : kLongestLine);  // a line that was cut is not cut again
    at = end + 1;
  }
  return out;
}

}  // namespace graft
