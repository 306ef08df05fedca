#include "base/random.h"

#include <cmath>
#include <numbers>
#include <numeric>

namespace graft {

namespace {

// SplitMix64's finaliser: every input bit reaches every output bit.
uint64_t mixed(uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9ULL;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

}  // namespace

RandomKey RandomKey::with(uint64_t part) const {
  return {mixed(value * 0x9E3779B97F4A7C15ULL + mixed(part + 0x632BE59BD9B4E019ULL)), stream};
}

RandomKey RandomKey::with(std::string_view part) const {
  uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a
  for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return with(hash ^ (uint64_t{part.size()} << 56));
}

uint32_t Random::bits() {
  if (used_ == 4) {
    block_ = philox(key_, counter_++, 0);
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

double Random::uniform() {
  const uint64_t high = bits() >> 5, low = bits() >> 6;  // 27 + 26 bits
  return static_cast<double>((high << 26) | low) * 0x1p-53;
}

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint64_t Random::below(uint64_t bound) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  for (;;) {
    const uint64_t draw = (uint64_t{bits()} << 32) | bits();
    if (draw < limit) return draw % bound;
  }
}

std::vector<int64_t> permutation(int64_t count, RandomKey key) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random random(key);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace graft
