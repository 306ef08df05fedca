// Internal to src/study.
//
// What stands in the name of a file or folder that is made from the name of a member.
#pragma once

#include <cctype>
#include <cstddef>

namespace graft {

constexpr size_t kLongestName =
    150;  // file systems end at 255 bytes; a number or an ending follows

inline bool stands_in_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_' ||
         c == '+';
}

}  // namespace graft
