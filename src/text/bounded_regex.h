// A regular expression over code points that behaves alike in ICU and in Oniguruma (which Hugging
// Face `tokenizers` uses), with bounded work.
//
// Constructs whose meaning differs between the two (anchors, \w, \b, inline flags other than
// (?i:...), possessive counts, ...) are refused. \p{L}, \p{N} and \s mean what text/unicode.h says;
// other properties, such as \p{Lu} or \p{Han}, would follow the installed ICU's Unicode version and
// are refused.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/aligned_text.h"

namespace graft {

class BoundedRegex {
 public:
  // Throws InputError "where: ..." if `pattern` is not valid or uses something refused.
  BoundedRegex(const std::string& pattern, const std::string& where);
  ~BoundedRegex();

  // All matches, in order, not overlapping. Throws InputError when the match needs too many steps.
  std::vector<Span> matches(std::u32string_view text) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
  std::string pattern_;
};

}  // namespace graft
