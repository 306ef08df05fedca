// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
// easy as 1, 2, 3").
//
// A draw is a pure function of a key and a counter, so it does not depend on batch order, thread
// count or neighbours. Keys are made from meaning: (seed, step, micro-batch, pass, site, edit path,
// use); the counter is (example, position, ...).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace graft {

// A key for a stream of draws. Derive children with `with`; equal paths give equal keys. Each key
// has 2^16 streams side by side, with independent draws at the same counters; children have the
// stream of their parent.
struct RandomKey {
  uint64_t value = 0;
  uint16_t stream = 0;

  RandomKey with(uint64_t part) const;
  RandomKey with(std::string_view part) const;
  RandomKey in_stream(uint16_t other) const { return {value, other}; }
  // What the stream adds to the high half of a counter below 2^48, by exclusive or.
  uint64_t counter() const { return uint64_t{stream} << 48; }
  friend bool operator==(RandomKey, RandomKey) = default;
};

// The four 32-bit words at `counter` of the stream `key`.
inline std::array<uint32_t, 4> philox(RandomKey key, uint64_t counter_low, uint64_t counter_high) {
  counter_high ^= key.counter();
  uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key.value), k1 = static_cast<uint32_t>(key.value >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c0, c1, c2, c3};
}

// Sequential draws from one stream, for initial values, shuffles and routes.
class Random {
 public:
  explicit Random(RandomKey key) : key_(key) {}
  uint32_t bits();
  double uniform();                // in [0, 1), 53 bits
  double normal();                 // mean 0, deviation 1 (Box-Muller)
  uint64_t below(uint64_t bound);  // uniform in 0..bound-1, unbiased. Requires: bound > 0.

 private:
  RandomKey key_;
  uint64_t counter_ = 0;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

// A permutation of 0..count-1 (Fisher-Yates over `key`).
std::vector<int64_t> permutation(int64_t count, RandomKey key);

}  // namespace graft
