// Bytes that a text file holds in base64.
#pragma once

#include <string>
#include <string_view>

namespace graft {

// RFC 4648, with padding. Throws InputError "where: ..." on anything else.
std::string decode_base64(std::string_view text, const std::string& where);

}  // namespace graft
