#include "tensor/dequantize.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "tensor/parallel.h"
#include "tensor/simd.h"

namespace graft {

namespace {

// ggml's types (enum ggml_type in ggml.h), those that it has given up left out.
constexpr BlockFormat kFormats[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 40},      {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},
    {41, "Q1_0", 128, 18}};

float half_at(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

// Each decoder below turns one block into its numbers. Low halves of the bytes are the first 16 (or
// 32) weights, high halves the next.

struct Q40 {  // d, 16 bytes of halves; q from -8
  static constexpr int64_t kValues = 32, kBytes = 18;
  static void decode(const uint8_t* block, float* to) {
    const float d = half_at(block);
    const uint8_t* const q = block + 2;
    for (int i = 0; i < 16; ++i) {
      to[i] = d * static_cast<float>((q[i] & 15) - 8);
      to[i + 16] = d * static_cast<float>((q[i] >> 4) - 8);
    }
  }
};

struct Q41 {  // d, m, 16 bytes of halves
  static constexpr int64_t kValues = 32, kBytes = 20;
  static void decode(const uint8_t* block, float* to) {
    const float d = half_at(block), m = half_at(block + 2);
    const uint8_t* const q = block + 4;
    for (int i = 0; i < 16; ++i) {
      to[i] = d * static_cast<float>(q[i] & 15) + m;
      to[i + 16] = d * static_cast<float>(q[i] >> 4) + m;
    }
  }
};

// The fifth bits of 32 weights, weight i's in bit i; as 0 or 16.
struct FifthBits {
  uint32_t bits;
  explicit FifthBits(const uint8_t* from) { std::memcpy(&bits, from, sizeof bits); }
  int of(int i) const { return static_cast<int>((bits >> i) & 1U) << 4; }
};

struct Q50 {  // d, fifth bits, 16 bytes of halves; q from -16
  static constexpr int64_t kValues = 32, kBytes = 22;
  static void decode(const uint8_t* block, float* to) {
    const float d = half_at(block);
    const FifthBits high(block + 2);
    const uint8_t* const q = block + 6;
    for (int i = 0; i < 16; ++i) {
      to[i] = d * static_cast<float>(((q[i] & 15) | high.of(i)) - 16);
      to[i + 16] = d * static_cast<float>(((q[i] >> 4) | high.of(i + 16)) - 16);
    }
  }
};

struct Q51 {  // d, m, fifth bits, 16 bytes of halves
  static constexpr int64_t kValues = 32, kBytes = 24;
  static void decode(const uint8_t* block, float* to) {
    const float d = half_at(block), m = half_at(block + 2);
    const FifthBits high(block + 4);
    const uint8_t* const q = block + 8;
    for (int i = 0; i < 16; ++i) {
      to[i] = d * static_cast<float>((q[i] & 15) | high.of(i)) + m;
      to[i + 16] = d * static_cast<float>((q[i] >> 4) | high.of(i + 16)) + m;
    }
  }
};

struct Q80 {  // d, 32 signed bytes
  static constexpr int64_t kValues = 32, kBytes = 34;
  static void decode(const uint8_t* block, float* to) {
    const float d = half_at(block);
    for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
};

// Scale and least value of each 32 weights of a K block, 6 bits each in 12 bytes: the first four of
// both in the low 6 bits of bytes 0..3 and 4..7; of the last four the low 4 bits in bytes 8..11 and
// the high 2 bits atop the first four.
struct SubScales {
  float scale[8], least[8];
  SubScales(float d, float m, const uint8_t* packed) {
    for (int i = 0; i < 4; ++i) {
      scale[i] = d * static_cast<float>(packed[i] & 63);
      least[i] = m * static_cast<float>(packed[i + 4] & 63);
      scale[i + 4] = d * static_cast<float>((packed[i + 8] & 15) | ((packed[i] >> 6) << 4));
      least[i + 4] = m * static_cast<float>((packed[i + 8] >> 4) | ((packed[i + 4] >> 6) << 4));
    }
  }
};

struct Q4K {  // d, m, scales [12], 128 bytes of halves
  static constexpr int64_t kValues = 256, kBytes = 144;
  static void decode(const uint8_t* block, float* to) {
    const SubScales s(half_at(block), half_at(block + 2), block + 4);
    const uint8_t* q = block + 16;
    for (int j = 0; j < 8; j += 2, q += 32, to += 64) {
      for (int i = 0; i < 32; ++i) {
        to[i] = s.scale[j] * static_cast<float>(q[i] & 15) - s.least[j];
        to[i + 32] = s.scale[j + 1] * static_cast<float>(q[i] >> 4) - s.least[j + 1];
      }
    }
  }
};

struct Q5K {  // d, m, scales [12], 32 bytes of fifth bits (bit j: of the j-th 32 weights), 128
              // bytes of halves
  static constexpr int64_t kValues = 256, kBytes = 176;
  static void decode(const uint8_t* block, float* to) {
    const SubScales s(half_at(block), half_at(block + 2), block + 4);
    const uint8_t* const high = block + 16;
    const uint8_t* q = block + 48;
    for (int j = 0; j < 8; j += 2, q += 32, to += 64) {
      for (int i = 0; i < 32; ++i) {
        to[i] =
            s.scale[j] * static_cast<float>((q[i] & 15) | (((high[i] >> j) & 1) << 4)) - s.least[j];
        to[i + 32] =
            s.scale[j + 1] * static_cast<float>((q[i] >> 4) | (((high[i] >> (j + 1)) & 1) << 4)) -
            s.least[j + 1];
      }
    }
  }
};

struct Q6K {  // 128 bytes of halves, 64 bytes of pairs of high bits, 16 signed scales, d; q from
              // -32
  static constexpr int64_t kValues = 256, kBytes = 210;
  static void decode(const uint8_t* block, float* to) {
    const uint8_t *low = block, *high = block + 128, *scales = block + 192;
    const float d = half_at(block + 208);
    for (int half = 0; half < 2; ++half, low += 64, high += 32, scales += 8, to += 128) {
      float scale[8];
      for (int i = 0; i < 8; ++i) scale[i] = d * static_cast<float>(static_cast<int8_t>(scales[i]));
      for (int i = 0; i < 32; ++i) {
        const int group = i / 16;
        to[i] = scale[group] * static_cast<float>(((low[i] & 15) | ((high[i] & 3) << 4)) - 32);
        to[i + 32] = scale[group + 2] *
                     static_cast<float>(((low[i + 32] & 15) | (((high[i] >> 2) & 3) << 4)) - 32);
        to[i + 64] = scale[group + 4] *
                     static_cast<float>(((low[i] >> 4) | (((high[i] >> 4) & 3) << 4)) - 32);
        to[i + 96] = scale[group + 6] *
                     static_cast<float>(((low[i + 32] >> 4) | ((high[i] >> 6) << 4)) - 32);
      }
    }
  }
};

template <class Block>
void decode_block(const uint8_t* from, float* to) {
  Block::decode(from, to);
}

template <class Block>
void decode_block(const uint8_t* from, c10::BFloat16* to) {
  float numbers[Block::kValues];
  Block::decode(from, numbers);
  for (int64_t i = 0; i < Block::kValues; i += simd::kLanes)
    simd::store(to + i, simd::load(numbers + i));
}

template <class Block, class Out>
void decode_all(const uint8_t* from, int64_t blocks, Out* to) {
  constexpr int64_t kGrain = (int64_t{1} << 16) / Block::kValues;
  parallel_ranges(blocks, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      decode_block<Block>(from + i * Block::kBytes, to + i * Block::kValues);
  });
}

template <class Block>
void decode_into(const uint8_t* from, at::Tensor& to) {
  const int64_t blocks = to.numel() / Block::kValues;
  if (to.scalar_type() == at::kFloat) decode_all<Block>(from, blocks, to.mutable_data_ptr<float>());
  else decode_all<Block>(from, blocks, to.mutable_data_ptr<c10::BFloat16>());
}

// Whole numbers of the file need no decoder of ours. The copy is for their alignment: `bytes` may
// begin anywhere.
void copy_into(at::ScalarType stored, const std::byte* bytes, size_t count, at::Tensor& to) {
  if (reinterpret_cast<uintptr_t>(bytes) % c10::elementSize(stored) == 0) {
    to.copy_(at::from_blob(const_cast<std::byte*>(bytes), to.sizes(), stored));
    return;
  }
  at::Tensor aligned = at::empty(to.sizes(), stored);
  std::memcpy(aligned.mutable_data_ptr(), bytes, count);
  to.copy_(aligned);
}

using Decoder = void (*)(const uint8_t*, at::Tensor&);

struct NamedDecoder {
  std::string_view name;
  Decoder decode;  // null: whole numbers, see copy_into
};

constexpr std::array<NamedDecoder, 11> kDecoders{{{"F32", nullptr},
                                                  {"F16", nullptr},
                                                  {"BF16", nullptr},
                                                  {"Q8_0", decode_into<Q80>},
                                                  {"Q4_0", decode_into<Q40>},
                                                  {"Q4_1", decode_into<Q41>},
                                                  {"Q5_0", decode_into<Q50>},
                                                  {"Q5_1", decode_into<Q51>},
                                                  {"Q4_K", decode_into<Q4K>},
                                                  {"Q5_K", decode_into<Q5K>},
                                                  {"Q6_K", decode_into<Q6K>}}};

const NamedDecoder* find_decoder(const BlockFormat& format) {
  const auto* const found =
      std::find_if(kDecoders.begin(), kDecoders.end(),
                   [&](const NamedDecoder& d) { return d.name == format.name; });
  return found == kDecoders.end() ? nullptr : found;
}

}  // namespace

const BlockFormat* find_block_format(uint32_t id) {
  const auto* const found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                         [&](const BlockFormat& f) { return f.id == id; });
  return found == std::end(kFormats) ? nullptr : found;
}

std::string dequantizable_formats() {
  std::vector<std::string> names;
  for (const NamedDecoder& decoder : kDecoders) names.emplace_back(decoder.name);
  return joined(names);
}

at::Tensor dequantize(const BlockFormat& format, std::span<const std::byte> bytes,
                      at::IntArrayRef shape, at::ScalarType dtype, const std::string& about) {
  const NamedDecoder* const decoder = find_decoder(format);
  if (decoder == nullptr) {
    throw InputError(about + "weights of type " + std::string(format.name) +
                     " cannot be read; types that can: " + dequantizable_formats() +
                     ". Take a file of the model in one of them");
  }
  ensure(dtype == at::kFloat || dtype == at::kBFloat16,
         "dequantize: only float32 and bfloat16 are made");
  at::Tensor out = at::empty(shape, dtype);
  ensure(out.numel() % format.values == 0 &&
             bytes.size() == static_cast<size_t>(out.numel() / format.values * format.bytes),
         "dequantize: the bytes are not those of the shape");
  if (out.numel() == 0) return out;
  if (decoder->decode != nullptr)
    decoder->decode(reinterpret_cast<const uint8_t*>(bytes.data()), out);
  else
    copy_into(format.name == "F32"   ? at::kFloat
              : format.name == "F16" ? at::kHalf
                                     : at::kBFloat16,
              bytes.data(), bytes.size(), out);
  return out;
}

}  // namespace graft
