#include "text/unicode.h"

#include <unicode/brkiter.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"

namespace graft {

namespace {

struct PointRange {
  char32_t first, last;
};
struct LowerRun {
  char32_t first, last;
  uint8_t step;
  int32_t delta;
};

#include "text/unicode_tables.inc"

constexpr char32_t kEnd = 0x110000;

// Hugging Face's normalizer knows Unicode 9.0: later characters neither decompose, compose nor
// reorder.
bool is_known_to_normalizer(char32_t c) {
  if (c < 0x300) return true;
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] != 0 && age[0] <= 9;
}

int combining_class(char32_t c) {
  if (c < 0x300) return 0;
  const int value = u_getCombiningClass(static_cast<UChar32>(c));
  return value != 0 && is_known_to_normalizer(c) ? value : 0;
}

const icu::Normalizer2& composer(bool compatible) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = compatible ? icu::Normalizer2::getNFKCInstance(status)
                                             : icu::Normalizer2::getNFCInstance(status);
  ensure(U_SUCCESS(status) != 0 && found != nullptr, "ICU has no normalization data");
  return *found;
}

std::vector<Edited> decompose(std::u32string_view text, const icu::Normalizer2& normalizer) {
  std::vector<Edited> out;
  out.reserve(text.size() + text.size() / 4);
  size_t pending = 0;  // start of the run of marks not yet in canonical order
  const auto sort_pending = [&] {
    if (out.size() - pending > 1) {
      std::stable_sort(out.begin() + static_cast<ptrdiff_t>(pending), out.end(),
                       [](const Edited& a, const Edited& b) {
                         return combining_class(a.c) < combining_class(b.c);
                       });
    }
  };
  const auto push = [&](char32_t c, bool first) {
    const bool starts = combining_class(c) == 0;
    if (starts) sort_pending();
    out.push_back({c, first ? 0 : 1});
    if (starts) pending = out.size();
  };
  icu::UnicodeString parts;
  for (const char32_t c : text) {
    if (c < 0xA0 || !is_known_to_normalizer(c) ||
        !normalizer.getDecomposition(static_cast<UChar32>(c), parts)) {
      push(c, true);
      continue;
    }
    for (int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1))
      push(static_cast<char32_t>(parts.char32At(i)), i == 0);
  }
  sort_pending();
  return out;
}

// Canonical composition (Unicode 3.11, D117); a composite takes the alignment of its parts
// together.
std::vector<Edited> compose(const std::vector<Edited>& parts, const icu::Normalizer2& normalizer) {
  std::vector<Edited> out;
  out.reserve(parts.size());
  std::optional<size_t> starter;
  int last_class = -1;  // of the last mark kept after the starter; -1: none
  for (const Edited& part : parts) {
    const int part_class = combining_class(part.c);
    if (starter && (last_class == -1 || last_class < part_class)) {
      Edited& base = out[*starter];
      const UChar32 composite =
          normalizer.composePair(static_cast<UChar32>(base.c), static_cast<UChar32>(part.c));
      if (composite >= 0 && is_known_to_normalizer(static_cast<char32_t>(composite))) {
        base = {static_cast<char32_t>(composite), base.change + part.change - 1};
        continue;
      }
    }
    out.push_back(part);
    if (part_class == 0) {
      starter = out.size() - 1;
      last_class = -1;
    } else if (starter) {
      last_class = part_class;
    }
  }
  return out;
}

// The combining characters of Unicode 15.1 and 16.0, in case that ICU is older:
// Hugging Face's clusters are those of Unicode 16.0.
constexpr std::array<PointRange, 13> kNewExtenders = {{{0x897, 0x897},
                                                       {0x10D69, 0x10D6D},
                                                       {0x10EFC, 0x10EFC},
                                                       {0x113B8, 0x113C0},
                                                       {0x113C2, 0x113C2},
                                                       {0x113C5, 0x113C5},
                                                       {0x113C7, 0x113CA},
                                                       {0x113CC, 0x113D0},
                                                       {0x113D2, 0x113D2},
                                                       {0x113E1, 0x113E2},
                                                       {0x11F5A, 0x11F5A},
                                                       {0x1611E, 0x1612F},
                                                       {0x1E5EE, 0x1E5EF}}};

// A character of the same kind that every ICU knows. What came after Unicode 16.0 has no kind.
char32_t for_clusters(char32_t c) {
  if (c < 0x800) return c;
  for (const PointRange& range : kNewExtenders) {
    if (c >= range.first && c <= range.last) return 0x301;
  }
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] > 16 ? char32_t{0xE000} : c;
}

}  // namespace

CharClasses::CharClasses() : bits_(kEnd, 0) {
  const auto mark = [&](CharClass which, const auto& ranges) {
    for (const PointRange& range : ranges) {
      for (char32_t c = range.first; c <= range.last; ++c)
        bits_[c] = static_cast<uint16_t>(bits_[c] | static_cast<uint16_t>(which));
    }
  };
  mark(CharClass::kBertRemoved, kBertRemovedRanges);
  mark(CharClass::kPunctuation, kPunctuationRanges);
  mark(CharClass::kNonspacingMark, kNonspacingMarkRanges);
  mark(CharClass::kCombiningMark, kCombiningMarkRanges);
  mark(CharClass::kLetter, kLetterRanges);
  mark(CharClass::kNumber, kNumberRanges);
  mark(CharClass::kNumeric, kNumericRanges);
  mark(CharClass::kWord, kWordRanges);
  mark(CharClass::kSpace, kSpaceRanges);
}

const CharClasses& char_classes() {
  static const CharClasses classes;
  return classes;
}

std::u32string decode_utf8(std::string_view text, std::string_view source) {
  std::u32string out;
  out.reserve(text.size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const size_t size = text.size();
  size_t i = 0;
  while (i < size) {
    if (bytes[i] < 0x80) {
      out.push_back(bytes[i++]);
      continue;
    }
    const size_t start = i;
    UChar32 c = 0;
    U8_NEXT(bytes, i, size, c);
    if (c < 0) {
      throw InputError(std::string(source) + ": byte " + std::to_string(start) +
                       ": not valid UTF-8, found byte value " + std::to_string(bytes[start]) +
                       "; convert the text to UTF-8");
    }
    out.push_back(static_cast<char32_t>(c));
  }
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
  };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

int utf8_length(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  const size_t size = bytes.size();
  for (size_t i = 0; i < size;) {
    UChar32 c = 0;
    U8_NEXT(data, i, size, c);
    append_utf8(out, c < 0 ? char32_t{0xFFFD} : static_cast<char32_t>(c));
  }
  return out;
}

bool is_utf8(std::string_view bytes) { return find_invalid_utf8(bytes) == std::string_view::npos; }

size_t incomplete_utf8_suffix(std::string_view bytes) {
  for (size_t n = 1; n <= std::min<size_t>(3, bytes.size()); ++n) {
    const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[bytes.size() - n + i]); };
    const uint8_t lead = at(0);
    if ((lead & 0xC0) == 0x80) continue;
    const size_t wanted = lead >= 0xC2 && lead <= 0xDF   ? 2
                          : lead >= 0xE0 && lead <= 0xEF ? 3
                          : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                         : 0;
    if (wanted <= n) return 0;
    if (n == 1) return 1;
    // The second byte has a narrower range behind some leads (Unicode, table 3-7).
    const int least = lead == 0xE0   ? 0xA0
                      : lead == 0xF0 ? 0x90
                                     : 0x80,
              most = lead == 0xED   ? 0x9F
                     : lead == 0xF4 ? 0x8F
                                    : 0xBF;
    return at(1) >= least && at(1) <= most ? n : 0;
  }
  return 0;
}

std::vector<size_t> grapheme_ends(std::u32string_view text) {
  std::vector<size_t> out;
  out.reserve(text.size());
  // Below U+0300 only \r\n is a cluster of more than one character.
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x300; })) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') out.push_back(i + 1);
    }
    return out;
  }
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> breaks(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  ensure(U_SUCCESS(status) != 0 && breaks != nullptr, "ICU has no rules for characters");
  icu::UnicodeString units;
  for (const char32_t c : text) units.append(static_cast<UChar32>(for_clusters(c)));
  breaks->setText(units);
  breaks->first();
  int32_t unit = 0;
  size_t point = 0;
  for (int32_t end = breaks->next(); end != icu::BreakIterator::DONE; end = breaks->next()) {
    point += static_cast<size_t>(units.countChar32(unit, end - unit));
    unit = end;
    out.push_back(point);
  }
  return out;
}

bool is_bert_ideograph(char32_t c) {
  if (c < 0x3400) return false;
  // U+2B820..2B91F is missing from the list of the original BERT code's port, and so here.
  static constexpr std::array<PointRange, 8> kBlocks = {{{0x3400, 0x4DBF},
                                                         {0x4E00, 0x9FFF},
                                                         {0xF900, 0xFAFF},
                                                         {0x20000, 0x2A6DF},
                                                         {0x2A700, 0x2B73F},
                                                         {0x2B740, 0x2B81F},
                                                         {0x2B920, 0x2CEAF},
                                                         {0x2F800, 0x2FA1F}}};
  return std::any_of(kBlocks.begin(), kBlocks.end(),
                     [c](const PointRange& block) { return c >= block.first && c <= block.last; });
}

char32_t lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  const auto* const run = std::partition_point(std::begin(kLowerRuns), std::end(kLowerRuns),
                                               [c](const LowerRun& r) { return r.last < c; });
  if (run == std::end(kLowerRuns) || c < run->first || (c - run->first) % run->step != 0) return c;
  return static_cast<char32_t>(static_cast<int32_t>(c) + run->delta);
}

std::string regex_set(CharClass which) {
  std::string out = "[";
  const auto add = [&](const auto& ranges) {
    char buffer[40];
    for (const PointRange& range : ranges) {
      std::snprintf(buffer, sizeof buffer, "\\x{%X}-\\x{%X}", static_cast<unsigned>(range.first),
                    static_cast<unsigned>(range.last));
      out += buffer;
    }
  };
  if (which == CharClass::kLetter) add(kLetterRanges);
  else add(kNumberRanges);
  return out + ']';
}

bool surely_in_form(std::u32string_view text, NormalForm form) {
  // Below these points no character decomposes, is a mark, or composes with its neighbour.
  const char32_t bound = form == NormalForm::kNfd ? 0xC0 : form == NormalForm::kNfc ? 0x300 : 0xA0;
  return std::all_of(text.begin(), text.end(), [bound](char32_t c) { return c < bound; });
}

std::vector<Edited> normal_form(std::u32string_view text, NormalForm form) {
  const bool compatible = form == NormalForm::kNfkd || form == NormalForm::kNfkc;
  std::vector<Edited> parts = decompose(text, composer(compatible));
  if (form == NormalForm::kNfd || form == NormalForm::kNfkd) return parts;
  return compose(parts, composer(false));
}

}  // namespace graft
