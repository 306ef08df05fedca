// What both parsers of documents refuse. Internal to src/base.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace graft {

inline constexpr size_t kMaxDepth = 64;
inline constexpr size_t kMaxBytes = size_t{64} << 20;

inline void check_size(std::string_view text, const std::string& source) {
  if (text.size() > kMaxBytes)
    throw InputError(source + ": expected at most 64 MiB of text, found " +
                     std::to_string(text.size()) + " bytes");
}

inline std::string too_deep() {
  return "nested deeper than " + std::to_string(kMaxDepth) + " levels";
}

}  // namespace graft
