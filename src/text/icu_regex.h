// ICU's regular expressions with bounded work: what a file says may be of any length and make a
// matcher step back without end.
#pragma once

#include <unicode/regex.h>
#include <unicode/unistr.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace graft {

// Throws InputError "where: ..." unless `pattern` has 1..most bytes.
void check_regex_size(const std::string& pattern, size_t most, const std::string& where);

// `flags`: ICU's. Throws InputError "where: ..." where `pattern` is none, which shows `shown`: what
// the file says.
std::unique_ptr<icu::RegexPattern> compile_regex(const std::string& pattern, uint32_t flags,
                                                 const std::string& shown,
                                                 const std::string& where);

// Ends with an error status where a match takes too many steps, or too much memory. `pattern` and
// `text` must outlive it.
std::unique_ptr<icu::RegexMatcher> bounded_matcher(const icu::RegexPattern& pattern,
                                                   const icu::UnicodeString& text);

}  // namespace graft
