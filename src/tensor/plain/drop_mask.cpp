#include "tensor/plain/drop_mask.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

namespace graft::plain {

namespace {

using at::Tensor;

constexpr int64_t kLow16 = 0xFFFF, kLow32 = 0xFFFFFFFF, kLanesOfGroup = 16;

Tensor shifted_right(const Tensor& x, int64_t bits) { return at::bitwise_right_shift(x, bits); }

// The halves of a product of 32-bit words, made of products with 16 bits: none reaches the sign bit
// of int64.
struct Product {
  Tensor high, low;
};

Product product(const Tensor& word, int64_t factor) {
  const Tensor lower = at::bitwise_and(word, kLow16) * factor;
  const Tensor upper = shifted_right(word, 16) * factor + shifted_right(lower, 16);
  return {shifted_right(upper, 16),
          at::bitwise_and(upper, kLow16) * (kLow16 + 1) + at::bitwise_and(lower, kLow16)};
}

// Philox4x32-10 as in base/random.h, a counter an element.
std::array<Tensor, 4> philox_words(RandomKey key, std::array<Tensor, 4> c) {
  auto k0 = static_cast<uint32_t>(key.value), k1 = static_cast<uint32_t>(key.value >> 32);
  for (int round = 0; round < 10; ++round) {
    const Product p0 = product(c[0], 0xD2511F53), p1 = product(c[2], 0xCD9E8D57);
    c = {at::bitwise_xor(at::bitwise_xor(p1.high, c[1]), static_cast<int64_t>(k0)), p1.low,
         at::bitwise_xor(at::bitwise_xor(p0.high, c[3]), static_cast<int64_t>(k1)), p0.low};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

// Column c of a row takes lane c % 16, word (c / 16) % 4 and half (c / 64) % 2 of group c / 128
// (dropout_bits.h).
Tensor mask_of_lane(RandomKey key, const RowNames& names, DropRate rate, int64_t columns,
                    at::ScalarType type) {
  const int64_t rows = names.high.size(0), groups = (columns + kDrawGroup - 1) / kDrawGroup;
  const Tensor high = at::bitwise_xor(names.high, static_cast<int64_t>(key.counter()));
  const Tensor zero = at::zeros({rows, groups * kLanesOfGroup}, names.high.options());
  const auto counter = [&](const Tensor& word) {
    return at::bitwise_and(word, kLow32).view({rows, 1}) + zero;
  };
  const auto words =
      philox_words(key, {zero + at::arange(groups * kLanesOfGroup, zero.options()),
                         counter(names.position), counter(high), counter(shifted_right(high, 32))});
  std::vector<Tensor> by_lane;
  for (const Tensor& word : words) by_lane.push_back(word.view({rows, groups, kLanesOfGroup}));
  const Tensor word = at::stack(by_lane, 2);  // [R, groups, 4, 16]
  const Tensor draws = at::stack({at::bitwise_and(word, kLow16), shifted_right(word, 16)},
                                 2)  // [R, groups, 2, 4, 16]
                           .view({rows, groups * kDrawGroup})
                           .narrow(1, 0, columns);
  return draws.ge(static_cast<int64_t>(rate.threshold)).to(type) * rate.scale;
}

}  // namespace

Tensor drop_mask(const LaneDropouts& lanes, const RowNames& names, int64_t columns,
                 at::ScalarType type) {
  const int64_t rows = names.high.size(0);
  std::vector<Tensor> masks;
  int64_t begin = 0;
  for (const LaneDropout& lane : lanes) {
    const int64_t end = std::min(lane.end, rows);
    const RowNames own{names.high.slice(0, begin, end), names.position.slice(0, begin, end)};
    const DropRate rate(lane.probability);
    masks.push_back(rate.active()
                        ? mask_of_lane(lane.key, own, rate, columns, type)
                        : at::ones({end - begin, columns}, names.high.options().dtype(type)));
    begin = end;
  }
  return at::cat(masks);
}

}  // namespace graft::plain
