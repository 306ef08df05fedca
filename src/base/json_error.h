// What nlohmann's parser says of bad text, without what the place in a message says already.
#pragma once

#include <string>

#include "base/printable.h"

namespace graft {

// "[json.exception.parse_error.101] parse error at line 1, column 4: syntax error ..." -> "syntax
// error ..." It quotes the whole last token, which may be the whole file.
inline std::string json_error_reason(std::string what) {
  if (const size_t cut = what.find("] "); cut != std::string::npos) what = what.substr(cut + 2);
  if (const size_t cut = what.find(": ");
      what.starts_with("parse error at") && cut != std::string::npos)
    what = what.substr(cut + 2);
  return printable(what, 200);
}

}  // namespace graft
