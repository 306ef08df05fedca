#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/names.h"
#include "text/bounded_regex.h"

namespace graft {

namespace {

struct Part {
  Span span;
  bool is_match;
};

// Oniguruma's reading of GPT-2's pattern 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|
// ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ : the end of the match at `begin`.
size_t end_of_gpt2_word(std::u32string_view text, size_t begin, const CharClasses& classes) {
  constexpr uint16_t kLetter = static_cast<uint16_t>(CharClass::kLetter),
                     kNumber = static_cast<uint16_t>(CharClass::kNumber),
                     kSpace = static_cast<uint16_t>(CharClass::kSpace),
                     kAny = kLetter | kNumber | kSpace;
  const size_t size = text.size();
  if (text[begin] == '\'' && begin + 1 < size) {
    const char32_t a = text[begin + 1];
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return begin + 2;
    const char32_t b = begin + 2 < size ? text[begin + 2] : 0;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
      return begin + 3;
  }
  const auto kind = [&](size_t at) -> uint16_t { return classes.bits(text[at]) & kAny; };
  size_t at = begin;
  if (text[at] == ' ' && at + 1 < size && (kind(at + 1) & kSpace) == 0) ++at;
  const uint16_t first = kind(at);
  if ((first & kSpace) == 0) {
    while (at < size && kind(at) == first) ++at;
    return at;
  }
  while (at < size && (kind(at) & kSpace) != 0) ++at;
  return at < size && at - begin > 1 ? at - 1
                                     : at;  // leave the last space to the word that follows
}

// Folds parts into words by what becomes of the delimiters.
void fold(const std::vector<Part>& parts, DelimiterBehavior behavior, std::vector<Span>& words) {
  std::vector<Span> out;
  bool previous = false;
  switch (behavior) {
    case DelimiterBehavior::kRemoved:
    case DelimiterBehavior::kIsolated:
      for (const Part& part : parts) {
        if (!part.is_match || behavior == DelimiterBehavior::kIsolated) out.push_back(part.span);
      }
      break;
    case DelimiterBehavior::kContiguous:
    case DelimiterBehavior::kMergedWithPrevious:
      for (const Part& part : parts) {
        const bool joins = behavior == DelimiterBehavior::kContiguous ? part.is_match == previous
                                                                      : part.is_match && !previous;
        if (joins && !out.empty()) out.back().end = part.span.end;
        else out.push_back(part.span);
        previous = part.is_match;
      }
      break;
    case DelimiterBehavior::kMergedWithNext:
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->is_match && !previous && !out.empty()) out.back().begin = part->span.begin;
        else out.push_back(part->span);
        previous = part->is_match;
      }
      std::reverse(out.begin(), out.end());
      break;
  }
  for (const Span& span : out) {
    if (span.begin < span.end) words.push_back(span);
  }
}

// Parts of `span` from the matches in it (given relative to its beginning); the gaps between them
// are the rest.
std::vector<Part> parts_from(const std::vector<Span>& matches, Span span) {
  std::vector<Part> parts;
  size_t done = span.begin;
  for (const Span& match : matches) {
    if (done < span.begin + match.begin) parts.push_back({{done, span.begin + match.begin}, false});
    done = span.begin + match.end;
    parts.push_back({{span.begin + match.begin, done}, true});
  }
  if (done < span.end) parts.push_back({{done, span.end}, false});
  return parts;
}

struct Cut {
  AlignedText& text;
  std::vector<Span>& words;
  bool continues;

  void operator()(const BertSplit&) const {
    constexpr uint16_t kSpace = static_cast<uint16_t>(CharClass::kSpace),
                       kStop = kSpace | static_cast<uint16_t>(CharClass::kPunctuation);
    const CharClasses& classes = char_classes();
    each([&](Span span, std::vector<Span>& out) {
      size_t begin = span.begin;
      for (size_t i = span.begin; i < span.end; ++i) {
        const uint16_t kind = classes.bits(text.chars[i]) & kStop;
        if (kind == 0) continue;
        if (begin < i) out.push_back({begin, i});
        if ((kind & kSpace) == 0) out.push_back({i, i + 1});
        begin = i + 1;
      }
      if (begin < span.end) out.push_back({begin, span.end});
    });
  }

  void operator()(const ByteLevelSplit& options) const {
    AlignedText bytes;
    std::vector<Span> out;
    const CharClasses& classes = char_classes();
    bytes.chars.reserve(text.size() + words.size());
    bytes.origin.reserve(text.size() + words.size());
    std::string buffer;
    for (const Span& span : words) {
      std::u32string_view chars = text.view().substr(span.begin, span.end - span.begin);
      std::vector<uint32_t> origin_copy;
      std::u32string chars_copy;
      const uint32_t* origin = text.origin.data() + span.begin;
      if (options.add_prefix_space && chars[0] != ' ' && !goes_on(span)) {
        chars_copy.reserve(chars.size() + 1);
        chars_copy.push_back(' ');
        chars_copy.append(chars);
        origin_copy.push_back(origin[0]);
        origin_copy.insert(origin_copy.end(), origin, origin + chars.size());
        chars = chars_copy;
        origin = origin_copy.data();
      }
      for (size_t at = 0; at < chars.size();) {
        const size_t end = options.use_regex ? end_of_gpt2_word(chars, at, classes) : chars.size();
        const size_t first = bytes.size();
        for (; at < end; ++at) {
          if (chars[at] < 0x80) {
            bytes.push(byte_to_char(static_cast<uint8_t>(chars[at])), origin[at]);
            continue;
          }
          buffer.clear();
          append_utf8(buffer, chars[at]);
          for (const char byte : buffer)
            bytes.push(byte_to_char(static_cast<uint8_t>(byte)), origin[at]);
        }
        out.push_back({first, bytes.size()});
      }
    }
    text = std::move(bytes);
    words = std::move(out);
  }

  void operator()(const MetaspaceSplit& options) const {
    AlignedText signs;
    signs.chars.reserve(text.size() + words.size());
    signs.origin.reserve(text.size() + words.size());
    std::vector<Span> out;
    for (const Span& span : words) {
      size_t first = signs.size();
      const char32_t c = text.chars[span.begin];
      const bool prepends =
          options.prepend == PrependScheme::kAlways ||
          (options.prepend == PrependScheme::kFirst && text.origin[span.begin] == 0);
      if (prepends && c != ' ' && c != options.sign && !goes_on(span))
        signs.push(options.sign, text.origin[span.begin]);
      for (size_t i = span.begin; i < span.end; ++i) {
        const bool is_sign = text.chars[i] == ' ' || text.chars[i] == options.sign;
        if (is_sign && options.split && signs.size() > first) {
          out.push_back({first, signs.size()});
          first = signs.size();
        }
        signs.push(is_sign ? options.sign : text.chars[i], text.origin[i]);
      }
      out.push_back({first, signs.size()});
    }
    text = std::move(signs);
    words = std::move(out);
  }

  void operator()(const WordSplit&) const {
    constexpr uint16_t kWord = static_cast<uint16_t>(CharClass::kWord),
                       kKinds = kWord | static_cast<uint16_t>(CharClass::kSpace);
    const CharClasses& classes = char_classes();
    each([&](Span span, std::vector<Span>& out) {
      for (size_t i = span.begin; i < span.end;) {
        const uint16_t kind = classes.bits(text.chars[i]) & kKinds;
        const size_t begin = i;
        while (i < span.end && (classes.bits(text.chars[i]) & kKinds) == kind) ++i;
        if (kind == 0 || kind == kWord) out.push_back({begin, i});
      }
    });
  }

  void operator()(const SpaceSplit&) const {
    by_class(CharClass::kSpace, DelimiterBehavior::kRemoved);
  }
  void operator()(const ClassSplit& options) const {
    by_class(options.delimiter, options.behavior);
  }

  void operator()(const PatternSplit& options) const {
    each([&](Span span, std::vector<Span>& out) {
      const std::u32string_view chars = text.view().substr(span.begin, span.end - span.begin);
      const std::vector<Span> matches =
          options.regex != nullptr ? options.regex->matches(chars) : places_of(options.text, chars);
      std::vector<Part> parts = parts_from(matches, span);
      for (Part& part : parts) part.is_match = part.is_match != options.invert;
      fold(parts, options.behavior, out);
    });
  }

 private:
  // Whether a word is the beginning of a text that goes on from another one.
  bool goes_on(Span span) const { return continues && span.begin == 0; }

  template <typename F>
  void each(F cut) const {
    std::vector<Span> out;
    out.reserve(words.size() + text.size() / 4);
    for (const Span& span : words) cut(span, out);
    words = std::move(out);
  }

  void by_class(CharClass delimiter, DelimiterBehavior behavior) const {
    const CharClasses& classes = char_classes();
    each([&](Span span, std::vector<Span>& out) {
      std::vector<Span> matches;
      for (size_t i = span.begin; i < span.end; ++i) {
        if (classes.is_in(text.chars[i], delimiter))
          matches.push_back({i - span.begin, i - span.begin + 1});
      }
      fold(parts_from(matches, span), behavior, out);
    });
  }
};

const std::vector<std::string> kSplitTypes = {
    "BertPreTokenizer", "ByteLevel", "Whitespace", "WhitespaceSplit", "Punctuation",
    "Digits",           "Split",     "Metaspace",  "Sequence"};
constexpr Name<DelimiterBehavior> kBehaviors[] = {
    {DelimiterBehavior::kRemoved, "Removed"},
    {DelimiterBehavior::kIsolated, "Isolated"},
    {DelimiterBehavior::kMergedWithPrevious, "MergedWithPrevious"},
    {DelimiterBehavior::kMergedWithNext, "MergedWithNext"},
    {DelimiterBehavior::kContiguous, "Contiguous"}};

DelimiterBehavior read_behavior(const FieldMap& map) {
  return value_of(kBehaviors, map.choice("behavior", words_of(kBehaviors)));
}

PatternSplit read_pattern(const FieldMap& map) {
  PatternSplit step;
  step.behavior = read_behavior(map);
  step.invert = map.boolean("invert");
  const FieldMap pattern = map.map("pattern");
  if (pattern.has("Regex")) {
    step.regex = std::make_shared<const BoundedRegex>(
        pattern.text("Regex"), map.source() + ": " + pattern.pointer() + "/Regex");
  } else {
    step.text = pattern.chars("String");
  }
  pattern.finish();
  return step;
}

void read_step(const FieldMap& map, std::vector<SplitStep>& steps) {
  const std::string type = map.type(kSplitTypes);
  if (!steps.empty() && std::holds_alternative<ByteLevelSplit>(steps.back()))
    map.fail("type", "ByteLevel must be the last pre-tokenizer");
  if (type == "Sequence") {
    for (const FieldMap& item : map.maps("pretokenizers")) read_step(item, steps);
  } else if (type == "BertPreTokenizer") {
    steps.emplace_back(BertSplit{});
  } else if (type == "ByteLevel") {
    map.boolean("trim_offsets");  // the post-processor's own flag decides; checked, then harmless
    steps.emplace_back(ByteLevelSplit{map.boolean("add_prefix_space"),
                                      map.has("use_regex") ? map.boolean("use_regex") : true});
  } else if (type == "Metaspace") {
    steps.emplace_back(read_metaspace(map));
  } else if (type == "Whitespace") {
    steps.emplace_back(WordSplit{});
  } else if (type == "WhitespaceSplit") {
    steps.emplace_back(SpaceSplit{});
  } else if (type == "Punctuation") {
    steps.emplace_back(ClassSplit{CharClass::kPunctuation, map.has("behavior")
                                                               ? read_behavior(map)
                                                               : DelimiterBehavior::kIsolated});
  } else if (type == "Digits") {
    const bool alone = map.boolean("individual_digits");
    steps.emplace_back(ClassSplit{CharClass::kNumeric, alone ? DelimiterBehavior::kIsolated
                                                             : DelimiterBehavior::kContiguous});
  } else {
    steps.emplace_back(read_pattern(map));
  }
  map.finish();
}

struct ByteTable {
  std::array<char32_t, 256> chars{};
  std::array<int16_t, 0x144> bytes{};

  constexpr ByteTable() {
    for (int16_t& byte : bytes) byte = -1;
    char32_t spare = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool is_printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      chars[b] = is_printable ? char32_t{b} : spare++;
      bytes[chars[b]] = static_cast<int16_t>(b);
    }
  }
};
constexpr ByteTable kByteTable;

}  // namespace

char32_t byte_to_char(uint8_t byte) { return kByteTable.chars[byte]; }
int char_to_byte(char32_t c) { return c < kByteTable.bytes.size() ? kByteTable.bytes[c] : -1; }

MetaspaceSplit read_metaspace(const FieldMap& map) {
  MetaspaceSplit out;
  const std::u32string sign = map.chars("replacement");
  if (sign.size() != 1)
    map.fail("replacement", "expected one character, found " + quote(to_utf8(sign)));
  out.sign = sign[0];
  map.ignore("str_rep");  // older files: the same sign again
  if (map.has("prepend_scheme")) {
    const std::string scheme = map.choice("prepend_scheme", {"first", "never", "always"});
    out.prepend = scheme == "first"   ? PrependScheme::kFirst
                  : scheme == "never" ? PrependScheme::kNever
                                      : PrependScheme::kAlways;
  }
  if (!map.is_null("add_prefix_space") && !map.boolean("add_prefix_space")) {
    if (out.prepend != PrependScheme::kNever)
      map.fail("add_prefix_space", "false contradicts prepend_scheme, which is not never");
  }
  if (!map.is_null("split")) out.split = map.boolean("split");
  return out;
}

PreTokenizer PreTokenizer::read(const FieldMap& map) {
  PreTokenizer out;
  read_step(map, out.steps_);
  return out;
}

std::vector<Span> PreTokenizer::apply(AlignedText& text, bool continues) const {
  std::vector<Span> words;
  if (text.size() > 0) words.push_back({0, text.size()});
  for (const SplitStep& step : steps_) std::visit(Cut{text, words, continues}, step);
  return words;
}

}  // namespace graft
