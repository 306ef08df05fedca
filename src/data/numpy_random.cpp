#include "data/numpy_random.h"

#include <array>
#include <bit>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace graft {

namespace {

// NumPy's SeedSequence (after O'Neill's seed_seq_fe): four words of entropy, hashed into eight.
class SeedSequence {
 public:
  explicit SeedSequence(uint64_t seed) {
    const auto low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
    const std::array<uint32_t, 4> entropy = {low, high, 0, 0};
    for (size_t i = 0; i < pool_.size(); ++i) pool_[i] = hashed(entropy[i]);
    for (size_t from = 0; from < pool_.size(); ++from) {
      for (size_t to = 0; to < pool_.size(); ++to) {
        if (from != to) pool_[to] = mixed(pool_[to], hashed(pool_[from]));
      }
    }
  }

  // The first `N` words of generate_state(N, uint64).
  template <size_t N>
  std::array<uint64_t, N> state() const {
    std::array<uint64_t, N> out{};
    uint32_t constant = 0x8B51F9DD;
    for (size_t i = 0; i < 2 * N; ++i) {
      uint32_t word = pool_[i % pool_.size()] ^ constant;
      constant *= 0x58F38DED;
      word *= constant;
      word ^= word >> 16;
      out[i / 2] |= static_cast<uint64_t>(word) << (32 * (i % 2));
    }
    return out;
  }

 private:
  uint32_t hashed(uint32_t value) {
    value ^= constant_;
    constant_ *= 0x931E8875;
    value *= constant_;
    return value ^ (value >> 16);
  }

  static uint32_t mixed(uint32_t x, uint32_t y) {
    const uint32_t out = 0xCA01F9DD * x - 0x4973F715 * y;
    return out ^ (out >> 16);
  }

  uint32_t constant_ = 0x43B0D7E5;
  std::array<uint32_t, 4> pool_{};
};

__extension__ using Wide = unsigned __int128;

// PCG XSL RR 128/64, whose halves of 32 bits come low first.
class Pcg64 {
 public:
  explicit Pcg64(uint64_t seed) {
    const auto words = SeedSequence(seed).state<4>();
    increment_ = ((joined(words[2], words[3])) << 1) | 1;
    step();
    state_ += joined(words[0], words[1]);
    step();
  }

  uint32_t bits() {
    if (has_half_) {
      has_half_ = false;
      return half_;
    }
    const uint64_t both = wide_bits();
    has_half_ = true;
    half_ = static_cast<uint32_t>(both >> 32);
    return static_cast<uint32_t>(both);
  }

  // Uniform in 0..most: as many low bits as `most` has, until they are no more than it.
  uint32_t up_to(uint32_t most) {
    const auto mask = static_cast<uint32_t>((uint64_t{1} << std::bit_width(most)) - 1);
    for (;;) {
      if (const uint32_t value = bits() & mask; value <= most) return value;
    }
  }

 private:
  static Wide joined(uint64_t high, uint64_t low) { return (Wide{high} << 64) | low; }

  void step() {
    state_ = state_ * joined(2549297995355413924ULL, 4865540595714422341ULL) + increment_;
  }

  uint64_t wide_bits() {
    step();
    const auto value = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
    const auto turn = static_cast<unsigned>(state_ >> 122);
    return (value >> turn) | (value << ((64 - turn) & 63));
  }

  Wide state_ = 0, increment_ = 0;
  uint32_t half_ = 0;
  bool has_half_ = false;
};

}  // namespace

std::vector<int64_t> numpy_permutation(int64_t count, uint64_t seed) {
  ensure(count >= 0 && count < int64_t{UINT32_MAX}, "numpy_permutation: a count of 32 bits");
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  Pcg64 random(seed);
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[random.up_to(static_cast<uint32_t>(i - 1))]);
  return order;
}

}  // namespace graft
