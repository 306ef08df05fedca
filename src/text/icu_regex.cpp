#include "text/icu_regex.h"

#include "base/error.h"

namespace graft {

void check_regex_size(const std::string& pattern, size_t most, const std::string& where) {
  if (!pattern.empty() && pattern.size() <= most) return;
  throw InputError(where + ": expected a regular expression of 1.." + std::to_string(most) +
                   " bytes, found " + std::to_string(pattern.size()));
}

std::unique_ptr<icu::RegexPattern> compile_regex(const std::string& pattern, uint32_t flags,
                                                 const std::string& shown,
                                                 const std::string& where) {
  UErrorCode status = U_ZERO_ERROR;
  UParseError error{};
  std::unique_ptr<icu::RegexPattern> out(
      icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(pattern), flags, error, status));
  if (U_FAILURE(status) != 0) {
    throw InputError(where + ": not a valid regular expression: " + quote(shown) +
                     " (at character " + std::to_string(error.offset) + ": " + u_errorName(status) +
                     ")");
  }
  return out;
}

std::unique_ptr<icu::RegexMatcher> bounded_matcher(const icu::RegexPattern& pattern,
                                                   const icu::UnicodeString& text) {
  constexpr int32_t kMaxSteps = 1000;  // per match, in ICU's unit of very roughly a millisecond
  constexpr int32_t kMaxStackBytes = 8 << 20;
  UErrorCode status = U_ZERO_ERROR;
  std::unique_ptr<icu::RegexMatcher> matcher(pattern.matcher(text, status));
  ensure(U_SUCCESS(status) != 0, "ICU made no matcher");
  matcher->setTimeLimit(kMaxSteps, status);
  matcher->setStackLimit(kMaxStackBytes, status);
  ensure(U_SUCCESS(status) != 0, "ICU takes these limits");
  return matcher;
}

}  // namespace graft
