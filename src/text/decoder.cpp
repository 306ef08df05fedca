#include "text/decoder.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace graft {

namespace {

using Kind = DecoderStep::Kind;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// In this order; " do not" is the reference's own oddity.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kCleanups = {
    {{" .", "."},
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

// "<0x0A>" is 10.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(static_cast<unsigned char>(value));
}

std::string wordpiece_text(const DecoderStep& step, std::string token, bool is_first) {
  if (!is_first)
    token = token.starts_with(step.text) ? token.substr(step.text.size()) : " " + token;
  if (step.flag) {
    for (const auto& [from, to] : kCleanups) replace_all(token, from, to);
  }
  return token;
}

void read_steps(const FieldMap& map, std::vector<DecoderStep>& steps) {
  const std::string type = map.type({"WordPiece", "ByteLevel", "Metaspace", "Replace",
                                     "ByteFallback", "Fuse", "Strip", "Sequence"});
  // From there on a text is one token that comes in parts.
  const bool is_fused = std::any_of(steps.begin(), steps.end(), [](const DecoderStep& earlier) {
    return earlier.kind == Kind::kFuse || earlier.kind == Kind::kByteLevel;
  });
  if (is_fused && type != "Strip" && type != "Fuse" && type != "Sequence")
    map.fail(
        "type",
        quote(type) + " after Fuse or ByteLevel is not supported; supported there: Strip and Fuse");
  DecoderStep step;
  if (type == "Sequence") {
    for (const FieldMap& item : map.maps("decoders")) read_steps(item, steps);
    map.finish();
    return;
  }
  if (type == "WordPiece") {
    step = {Kind::kWordPiece, map.text("prefix"), "", 0, map.boolean("cleanup")};
  } else if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"})
      map.ignore(key);  // no meaning for decoding
  } else if (type == "Metaspace") {
    const MetaspaceSplit options = read_metaspace(map);
    step.kind = Kind::kMetaspace;
    append_utf8(step.text, options.sign);
    step.flag = options.prepend != PrependScheme::kNever;
  } else if (type == "Replace") {
    step = {Kind::kReplace, to_utf8(map.string_pattern("pattern")), map.text("content"), 0, false};
  } else if (type == "Strip") {
    const std::u32string c = map.chars("content");
    if (c.size() != 1) map.fail("content", "expected one character, found " + quote(to_utf8(c)));
    map.integer("stop", 0, 0);
    step = {Kind::kStrip, to_utf8(c), "", map.integer("start", 0, Decoder::kMaxStrip), false};
  } else {
    step.kind = type == "Fuse" ? Kind::kFuse : Kind::kByteFallback;
  }
  map.finish();
  steps.push_back(std::move(step));
}

}  // namespace

Decoder Decoder::read(const FieldMap& map) {
  std::vector<DecoderStep> steps;
  read_steps(map, steps);
  if (steps.empty()) map.fail("decoders", "expected at least one decoder");
  return Decoder(std::move(steps));
}

std::string Decoder::decode(const std::vector<std::string_view>& tokens) const {
  std::string out;
  DecoderRun run(*this);
  for (const std::string_view token : tokens) run.push(token, out);
  run.finish(out);
  return out;
}

DecoderRun::DecoderRun(const Decoder& decoder) : steps_(decoder.steps()), states_(steps_.size()) {}

void DecoderRun::push(std::string_view token, std::string& out) {
  feed(0, std::string(token), true, out);
}

void DecoderRun::finish(std::string& out) {
  for (size_t i = 0; i < steps_.size(); ++i) flush(i, out);
  states_.assign(steps_.size(), {});
}

// What `step` still holds is complete now.
void DecoderRun::flush(size_t step, std::string& out) {
  State& state = states_[step];
  if (state.held.empty()) return;
  std::string held;
  held.swap(state.held);
  if (steps_[step].kind == Kind::kByteLevel)
    return feed(step + 1, replace_invalid_utf8(held), false, out);
  // Byte fallback: a run of bytes that is not UTF-8 as a whole becomes one U+FFFD a byte.
  if (is_utf8(held)) return feed(step + 1, std::move(held), true, out);
  for (size_t i = 0; i < held.size(); ++i) feed(step + 1, "\xEF\xBF\xBD", true, out);
}

void DecoderRun::feed(size_t i, std::string text, bool begins_token, std::string& out) {
  if (i == steps_.size()) {
    out += text;
    return;
  }
  const DecoderStep& step = steps_[i];
  State& state = states_[i];
  const bool is_first = std::exchange(state.is_first, false);
  switch (step.kind) {
    case Kind::kJoin: return feed(i + 1, is_first ? std::move(text) : " " + text, true, out);
    case Kind::kWordPiece:
      return feed(i + 1, wordpiece_text(step, std::move(text), is_first), true, out);
    case Kind::kByteLevel: {
      append_bytes(state.held, text);
      const size_t complete = state.held.size() - incomplete_utf8_suffix(state.held);
      const std::string done =
          replace_invalid_utf8(std::string_view(state.held).substr(0, complete));
      state.held.erase(0, complete);
      return feed(i + 1, done, is_first, out);
    }
    case Kind::kMetaspace:
      replace_all(text, step.text, is_first && step.flag ? "" : " ");
      return feed(i + 1, std::move(text), true, out);
    case Kind::kReplace:
      replace_all(text, step.text, step.content);
      return feed(i + 1, std::move(text), true, out);
    case Kind::kByteFallback:
      if (const auto byte = byte_of(text)) {
        state.held.push_back(*byte);
        return;
      }
      flush(i, out);
      return feed(i + 1, std::move(text), true, out);
    case Kind::kFuse: return feed(i + 1, std::move(text), is_first, out);
    case Kind::kStrip: {
      if (begins_token) state.left = step.count;
      size_t at = 0;
      while (state.left > 0 && std::string_view(text).substr(at).starts_with(step.text)) {
        at += step.text.size();
        --state.left;
      }
      if (at < text.size()) state.left = 0;
      return feed(i + 1, text.substr(at), begins_token, out);
    }
  }
}

}  // namespace graft
