// SHA-256 (FIPS 180-4), for naming the exact bytes of a file in provenance. Not for secrets.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace graft {

// Of bytes that come in pieces.
class Sha256 {
 public:
  void update(std::string_view bytes);
  std::string digest() const;  // of all so far: 64 lower-case hexadecimal digits

 private:
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::string rest_;  // less than a block
  uint64_t num_bytes_ = 0;
};

std::string sha256(std::string_view bytes);

}  // namespace graft
