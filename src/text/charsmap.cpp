#include "text/charsmap.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"

namespace graft {

namespace {

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

// The fields of a unit of darts-clone.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view bytes, const std::string& where) : where_(where) {
  if (bytes.size() > kMaxBytes)
    throw InputError(where + ": expected a charsmap of at most " + std::to_string(kMaxBytes) +
                     " bytes, found " + std::to_string(bytes.size()));
  const size_t size = bytes.size() < 4 ? 0 : read_u32(bytes, 0);
  if (size == 0 || size % 4 != 0 || size > bytes.size() - 4) {
    throw InputError(where + ": expected a charsmap whose trie lies inside it, found " +
                     std::to_string(bytes.size()) + " bytes with a trie of " +
                     std::to_string(size));
  }
  units_.reserve(size / 4);
  for (size_t at = 4; at < 4 + size; at += 4) units_.push_back(read_u32(bytes, at));
  texts_ = bytes.substr(4 + size);
}

uint32_t Charsmap::unit(size_t at) const {
  if (at >= units_.size())
    throw InputError(where_ + ": the charsmap is damaged: its trie points outside of itself");
  return units_[at];
}

std::optional<Charsmap::Match> Charsmap::find(std::string_view text, bool stop_at_first) const {
  size_t node = offset_of(unit(0)), length = 0;
  uint32_t value = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte == 0) break;  // ends a key
    node ^= byte;
    const uint32_t found = unit(node);
    if (label_of(found) != byte) break;
    node ^= offset_of(found);
    if (!has_leaf(found)) continue;
    value = value_of(unit(node));
    length = i + 1;
    if (stop_at_first) break;
  }
  if (length == 0) return std::nullopt;
  if (value > texts_.size())
    throw InputError(where_ + ": the charsmap is damaged: a text lies outside of it");
  const size_t end = std::min(texts_.find('\0', value), texts_.size());
  return Match{length, decode_utf8(std::string_view(texts_).substr(value, end - value), where_)};
}

}  // namespace graft
