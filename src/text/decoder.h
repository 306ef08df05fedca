// Decoders: tokens back to text, one token after the other.
//
// Read from the "decoder" of tokenizer.json: WordPiece, ByteLevel, Metaspace, Replace (of a
// string), ByteFallback, Fuse, Strip (at the start) and a Sequence of them; without one, tokens are
// joined by spaces. Everything else is refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/json_fields.h"

namespace graft {

struct DecoderStep {
  enum class Kind {
    kJoin,
    kWordPiece,
    kByteLevel,
    kMetaspace,
    kReplace,
    kByteFallback,
    kFuse,
    kStrip
  };

  Kind kind = Kind::kJoin;
  // kWordPiece: the prefix that goes, else a space comes before every token but the first; with
  // `flag`, no space stays before English punctuation and contractions. kMetaspace: the sign that
  // becomes a space; with `flag`, it goes in the first token. kReplace: what becomes `content`.
  // kStrip: the character that goes, up to `count` times, at the start of each token.
  std::string text, content;
  int64_t count = 0;
  bool flag = false;
};

class Decoder {
 public:
  Decoder() : steps_(1) {}
  explicit Decoder(std::vector<DecoderStep> steps) : steps_(std::move(steps)) {}
  // Throws InputError naming the JSON pointer of what is wrong or not supported.
  static Decoder read(const FieldMap& map);

  std::string decode(const std::vector<std::string_view>& tokens) const;
  const std::vector<DecoderStep>& steps() const { return steps_; }

  static constexpr int64_t kMaxStrip = 4096;

 private:
  std::vector<DecoderStep> steps_;
};

// Decoding under way. What push() appends to `out` is final: no later token changes it, and it ends
// at a whole character. All that push() and finish() append together is what Decoder::decode makes
// of the tokens.
class DecoderRun {
 public:
  explicit DecoderRun(const Decoder& decoder);  // `decoder` must outlive the object
  void push(std::string_view token, std::string& out);
  void finish(std::string& out);  // the end of the text; then a new one may begin

 private:
  struct State {
    bool is_first = true;  // no token has come yet
    std::string held;      // bytes whose text depends on what follows
    int64_t left = 0;      // kStrip: how many characters may still go
  };

  void feed(size_t step, std::string text, bool begins_token, std::string& out);
  void flush(size_t step, std::string& out);

  const std::vector<DecoderStep>& steps_;
  std::vector<State> states_;
};

}  // namespace graft
