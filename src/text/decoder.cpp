#include "text/decoder.h"

#include <array>
#include <utility>

#include "base/error.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace graft {

namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// In this order; " do not" is the reference's own oddity.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kCleanups = {{{" .", "."},
                                                                                      {" ?", "?"},
                                                                                      {" !", "!"},
                                                                                      {" ,", ","},
                                                                                      {" ' ", "'"},
                                                                                      {" n't", "n't"},
                                                                                      {" 'm", "'m"},
                                                                                      {" do not", " don't"},
                                                                                      {" 's", "'s"},
                                                                                      {" 've", "'ve"},
                                                                                      {" 're", "'re"}}};

// The bytes that a token stands for; the token itself when one of its characters stands for none.
void append_bytes(std::string& out, std::string_view token) {
  const size_t before = out.size();
  for (const char32_t c : decode_utf8(token, "vocabulary")) {
    const int byte = char_to_byte(c);
    if (byte < 0) {
      out.resize(before);
      out += token;
      return;
    }
    out.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
  }
}

}  // namespace

Decoder Decoder::read(const FieldMap& map) {
  Decoder out;
  if (map.type({"WordPiece", "ByteLevel"}) == "WordPiece") {
    out.kind_ = Kind::kWordPiece;
    out.prefix_ = map.text("prefix");
    out.cleanup_ = map.boolean("cleanup");
  } else {
    out.kind_ = Kind::kByteLevel;
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) map.ignore(key);   // no meaning for decoding
  }
  map.finish();
  return out;
}

std::string Decoder::decode(const std::vector<std::string_view>& tokens) const {
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    switch (kind_) {
      case Kind::kByteLevel: append_bytes(out, tokens[i]); break;
      case Kind::kJoin:
        if (i > 0) out += ' ';
        out += tokens[i];
        break;
      case Kind::kWordPiece: {
        std::string token(tokens[i]);
        if (i > 0) token = token.starts_with(prefix_) ? token.substr(prefix_.size()) : " " + token;
        if (cleanup_) {
          for (const auto& [from, to] : kCleanups) replace_all(token, from, to);
        }
        out += token;
        break;
      }
    }
  }
  return kind_ == Kind::kByteLevel ? replace_invalid_utf8(out) : out;
}

}  // namespace graft
