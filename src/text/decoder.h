// Decoders: tokens back to text. WordPiece and ByteLevel, or none (tokens joined by a space); everything else is refused by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/json_fields.h"

namespace graft {

class Decoder {
 public:
  // Throws InputError naming the JSON pointer of what is wrong or not supported.
  static Decoder read(const FieldMap& map);

  // ByteLevel: bytes that are not UTF-8 become U+FFFD. WordPiece: prefixes go, a space before every other token but the first,
  // and with `cleanup` none before English punctuation and contractions.
  std::string decode(const std::vector<std::string_view>& tokens) const;

 private:
  enum class Kind { kJoin, kWordPiece, kByteLevel };

  Kind kind_ = Kind::kJoin;
  std::string prefix_;
  bool cleanup_ = false;
};

}  // namespace graft
