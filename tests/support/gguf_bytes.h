// The pieces of a GGUF file, little endian, for tests that make one by hand.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace graft::testing {

template <class T>
std::string raw(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

inline std::string text(const std::string& value) { return raw(uint64_t{value.size()}) + value; }

}  // namespace graft::testing
