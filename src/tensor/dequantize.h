// Weights stored in blocks of few bits, as ggml lays them out, back to numbers. Reads; never
// quantises.
//
// A block holds 32 or 256 weights w of one row as small integers q and shared scales (half
// precision): w = d q, or w = d q + m with a least value m; in the "K" formats each 32 (Q6_K: 16)
// weights of a block have a small integer scale of their own on top. Every product here is exact in
// float32 up to its last rounding, so the result is the same to the bit whichever way a compiler
// contracts it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace graft {

// How one type of tensor is laid out: `values` numbers in `bytes` bytes, along the last dimension.
struct BlockFormat {
  uint32_t id;            // in GGUF files
  std::string_view name;  // "Q4_K"
  int64_t values, bytes;
};

// Null for a number that no type has. Types that can be laid out but not read are found too.
const BlockFormat* find_block_format(uint32_t id);

// Those that can be read: "F32, F16, BF16, Q8_0, ... and Q6_K".
std::string dequantizable_formats();

// A new tensor of `shape` and `dtype` (float32, or bfloat16 rounded to nearest even) from its
// blocks, in parallel. `about` opens the messages. Throws InputError for a format that cannot be
// read; InternalError for a dtype besides those two, or when `bytes` is not the size of `shape`.
at::Tensor dequantize(const BlockFormat& format, std::span<const std::byte> bytes,
                      at::IntArrayRef shape, at::ScalarType dtype, const std::string& about);

}  // namespace graft
