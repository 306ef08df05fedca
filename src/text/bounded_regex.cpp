#include "text/bounded_regex.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/icu_regex.h"
#include "text/unicode.h"

namespace graft {

namespace {

constexpr size_t kMaxPatternBytes = 4096;
constexpr int kMaxSets = 32;

// Walks the pattern and names the first construct that ICU and Oniguruma read differently.
std::optional<std::string> differing_construct(std::string_view pattern) {
  int class_depth = 0;
  bool after_count = false;  // just behind {n,m}
  size_t count_start = 0;    // its opening brace
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const std::string_view rest = pattern.substr(i);
    if (c == '\\') {
      if (rest.size() < 2) return "a backslash at the end";
      const char e = rest[1];
      const bool is_letter_or_digit =
          (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z') || (e >= '0' && e <= '9');
      if (is_letter_or_digit && std::string_view("pPsSrnt").find(e) == std::string_view::npos)
        return "\\" + std::string(1, e);
      if (e == 'p' || e == 'P') {
        const std::string_view name = rest.substr(2, 3);
        if (name != "{L}" && name != "{N}")
          return std::string(rest.substr(0, std::min(rest.find('}'), rest.size() - 1) + 1)) +
                 " (only L and N are known)";
        i += 3;
      }
      ++i;
      after_count = false;
      continue;
    }
    if (class_depth > 0) {
      if (c == '[') ++class_depth;
      if (c == ']') --class_depth;
      if (rest.starts_with("--") || rest.starts_with("&&") || rest.starts_with("[:"))
        return std::string(rest.substr(0, 2)) + " in a set";
      after_count = false;
      continue;
    }
    if (c == '[') ++class_depth;
    if (c == '^' || c == '$') return std::string(1, c);
    if (rest.starts_with("(?") && !rest.starts_with("(?:") && !rest.starts_with("(?i:") &&
        !rest.starts_with("(?!") && !rest.starts_with("(?=") && !rest.starts_with("(?<=") &&
        !rest.starts_with("(?<!") && !rest.starts_with("(?>")) {
      return std::string(rest.substr(0, 3));
    }
    if (after_count && c == '+') return "a possessive count";
    if (after_count && c == '?' &&
        pattern.substr(count_start, i - count_start).find(',') == std::string_view::npos)
      return "a lazy fixed count";
    if (c == '{') count_start = i;
    after_count = c == '}';
  }
  return std::nullopt;
}

// Puts our own sets in place of \p{L}, \p{N} and their complements.
// A set may stand inside another one, so this holds within [...] too.
std::string with_own_classes(const std::string& pattern, const std::string& where) {
  std::string out;
  int num_sets = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view rest = std::string_view(pattern).substr(i);
    const std::string_view name = rest.substr(0, 5);
    const bool is_letter = name == "\\p{L}" || name == "\\P{L}",
               is_number = name == "\\p{N}" || name == "\\P{N}";
    if (is_letter || is_number) {
      if (++num_sets > kMaxSets)
        throw InputError(where + ": more than " + std::to_string(kMaxSets) +
                         " uses of \\p{L} or \\p{N} are not supported");
      std::string set = regex_set(is_letter ? CharClass::kLetter : CharClass::kNumber);
      if (name[1] == 'P') set.insert(1, "^");
      out += set;
      i += 4;
    } else {
      out += pattern[i];
      if (pattern[i] == '\\' && i + 1 < pattern.size()) out += pattern[++i];
    }
  }
  return out;
}

}  // namespace

struct BoundedRegex::Compiled {
  std::unique_ptr<icu::RegexPattern> pattern;
};

BoundedRegex::BoundedRegex(const std::string& pattern, const std::string& where)
    : compiled_(std::make_unique<Compiled>()), pattern_(pattern) {
  check_regex_size(pattern, kMaxPatternBytes, where);
  if (const auto construct = differing_construct(pattern)) {
    throw InputError(where + ": the regular expression " + quote(pattern) + " uses " + *construct +
                     ", which is not supported");
  }
  constexpr uint32_t kFlags = UREGEX_UNIX_LINES;  // '.' stops at \n only, as in Oniguruma
  // As written first, so that a fault is placed in what the file says.
  compile_regex(pattern, kFlags, pattern, where);
  compiled_->pattern = compile_regex(with_own_classes(pattern, where), kFlags, pattern, where);
}

BoundedRegex::~BoundedRegex() = default;

std::vector<Span> BoundedRegex::matches(std::u32string_view text) const {
  static_assert(sizeof(UChar32) == sizeof(char32_t));
  const icu::UnicodeString units = icu::UnicodeString::fromUTF32(
      reinterpret_cast<const UChar32*>(text.data()), static_cast<int32_t>(text.size()));
  const std::unique_ptr<icu::RegexMatcher> matcher = bounded_matcher(*compiled_->pattern, units);
  UErrorCode status = U_ZERO_ERROR;
  std::vector<Span> out;
  int32_t unit = 0;  // position in UTF-16
  size_t point = 0;  // the same position in code points
  const auto to_point = [&](int32_t target) {
    point += static_cast<size_t>(units.countChar32(unit, target - unit));
    unit = target;
    return point;
  };
  while (matcher->find(status) != 0) {
    const int32_t start = matcher->start(status), end = matcher->end(status);
    const size_t begin = to_point(start);
    if (start == end && !out.empty() && out.back().end == begin)
      continue;  // an empty match right behind another does not count in Oniguruma
    out.push_back({begin, to_point(end)});
  }
  if (U_FAILURE(status) != 0) {
    throw InputError("the regular expression " + quote(pattern_) +
                     " takes too many steps on a text of " + std::to_string(text.size()) +
                     " characters (" + u_errorName(status) + ")");
  }
  return out;
}

}  // namespace graft
