// SHA-256 (FIPS 180-4), for naming the exact bytes of a file in provenance. Not for secrets.
#pragma once

#include <string>
#include <string_view>

namespace graft {

// 64 lower-case hexadecimal digits.
std::string sha256(std::string_view bytes);

}  // namespace graft
