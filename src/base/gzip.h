// Reading files that gzip wrote (RFC 1952), by zlib.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace graft {

// Whether `bytes` begin as those of gzip do. No UTF-8 text does.
bool is_gzip(std::string_view bytes);

// Of a file of rows: a few kilobytes could ask for all memory.
constexpr size_t kMostUnpacked = size_t{4} << 30;

// The bytes inside, of all members of the file. Throws InputError opening with `source` where they
// are damaged or cut, where something else follows, or where they are more than `limit`.
std::string gunzip(std::string_view bytes, const std::string& source, size_t limit);

}  // namespace graft
