// GGUF: blocks of every type as the gguf package reads them, typed metadata, and every lie that a
// file can tell.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/gguf.h"
#include "tensor/safetensors.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/testing.h"

namespace graft::test_gguf {
namespace {

using testing::expect_message;
using testing::raw;
using testing::text;

const Path kGolden = Path(GRAFT_SOURCE_DIR) / "tests/golden/gguf";

std::string key(const std::string& name, uint32_t kind, const std::string& value) {
  return text(name) + raw(kind) + value;
}
std::string list(uint32_t kind, uint64_t count, const std::string& values) {
  return raw(kind) + raw(count) + values;
}

constexpr uint32_t kU8 = 0, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kText = 8, kList = 9,
                   kU64 = 10, kI64 = 11, kF64 = 12;

std::string tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                   uint64_t offset) {
  std::string out = text(name) + raw(static_cast<uint32_t>(dims.size()));
  for (const uint64_t size : dims) out += raw(size);
  return out + raw(type) + raw(offset);
}

struct Pieces {
  std::vector<std::string> keys = {};
  std::vector<std::string> tensors = {};
  std::string data = {};
  uint32_t version = 3;
  uint64_t alignment = 32;
};

std::string head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(keys);
}

std::string file_bytes(const Pieces& pieces) {
  std::string out = head(pieces.tensors.size(), pieces.keys.size(), pieces.version);
  for (const std::string& each : pieces.keys) out += each;
  for (const std::string& each : pieces.tensors) out += each;
  out.append((pieces.alignment - out.size() % pieces.alignment) % pieces.alignment, '\0');
  return out + pieces.data;
}

GgufFile parsed(const std::string& bytes) {
  const auto owner = std::make_shared<const std::string>(bytes);
  return GgufFile(std::as_bytes(std::span(*owner)), owner, "x.gguf");
}

void expect_refused(const std::string& bytes, const std::string& message) {
  expect_message<InputError>([&] { parsed(bytes); }, "x.gguf: " + message);
}

TEST(Gguf, DequantizesEveryTypeToTheBit) {
  const GgufFile file(kGolden / "blocks.gguf");
  const NamedTensors expected = load_safetensors(kGolden / "blocks.safetensors").tensors;
  ASSERT_EQ(file.tensors().size(), expected.size());
  const std::string types = dequantizable_formats();  // "F32, F16, ... and Q6_K"
  EXPECT_EQ(std::count(types.begin(), types.end(), ',') + 2, std::ssize(expected))
      << "a type without a golden";
  for (const GgufTensor& tensor : file.tensors()) {
    SCOPED_TRACE(tensor.name);
    const at::Tensor& truth = expected.at(tensor.name);
    const at::Tensor found = file.read(tensor, at::kFloat);
    ASSERT_EQ(found.sizes(), truth.sizes());
    EXPECT_TRUE(
        at::equal(found.view(at::kInt), truth.view(at::kInt)));  // bits: a negative zero counts
    EXPECT_TRUE(at::equal(file.read(tensor, at::kBFloat16), truth.to(at::kBFloat16)));
  }
}

TEST(Gguf, RefusesTypesThatItCannotRead) {
  const GgufFile file =
      parsed(file_bytes({.tensors = {tensor("w", {256, 1}, 10, 0)}, .data = std::string(84, 'x')}));
  expect_message<InputError>([&] { file.read(file.tensors()[0], at::kFloat); },
                             "x.gguf: tensor \"w\": weights of type Q2_K cannot be read; types "
                             "that can: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
                             "Q4_K, Q5_K and Q6_K");
}

TEST(Gguf, ReadsTensorsOfVersionsTwoAndThree) {
  for (const uint32_t version : {2U, 3U}) {
    const std::string data = raw(1.5F) + raw(-2.0F) + raw(0.25F) + raw(4.0F) + raw(5.0F) +
                             raw(6.0F) + std::string(8, '\0') + raw(7.0F);
    const GgufFile file =
        parsed(file_bytes({.tensors = {tensor("b", {1}, 0, 32), tensor("a", {3, 2}, 0, 0)},
                           .data = data,
                           .version = version}));
    EXPECT_EQ(file.find("nothing"), nullptr);
    EXPECT_TRUE(at::equal(file.read(*file.find("a"), at::kFloat),
                          at::tensor({1.5F, -2.0F, 0.25F, 4.0F, 5.0F, 6.0F}).reshape({2, 3})));
    EXPECT_EQ(file.read(*file.find("b"), at::kFloat).item<float>(), 7.0F);
  }
}

TEST(Gguf, ViewsKeepTheBytesAlive) {
  at::Tensor kept;
  {
    const GgufFile file =
        parsed(file_bytes({.tensors = {tensor("a", {2}, 0, 0)}, .data = raw(1.5F) + raw(2.5F)}));
    kept = file.read(file.tensors()[0], at::kFloat);
  }
  EXPECT_EQ(kept[1].item<float>(), 2.5F);
}

TEST(Gguf, HonoursTheAlignmentOfTheFile) {
  const std::string wide = key("general.alignment", kU32, raw(uint32_t{128}));
  const std::string data = raw(1.0F) + std::string(124, '\0') + raw(2.0F);
  const GgufFile file =
      parsed(file_bytes({.keys = {wide},
                         .tensors = {tensor("a", {1}, 0, 0), tensor("b", {1}, 0, 128)},
                         .data = data,
                         .alignment = 128}));
  EXPECT_EQ(file.read(*file.find("b"), at::kFloat).item<float>(), 2.0F);
  expect_refused(file_bytes({.keys = {wide},
                             .tensors = {tensor("a", {1}, 0, 0), tensor("b", {1}, 0, 32)},
                             .data = data,
                             .alignment = 128}),
                 "tensor \"b\": expected an offset that is a multiple of 128, found 32");
  expect_refused(file_bytes({.keys = {key("general.alignment", kU32, raw(uint32_t{48}))}}),
                 "\"general.alignment\": expected a power of two, found 48");
  expect_refused(file_bytes({.keys = {key("general.alignment", kU32, raw(uint32_t{0}))}}),
                 "\"general.alignment\": expected an integer in 8..65536, found 0");
}

TEST(Gguf, ReadsTypedMetadata) {
  const GgufFile file = parsed(file_bytes(
      {.keys = {key("u8", kU8, raw(uint8_t{200})), key("i32", kI32, raw(int32_t{-7})),
                key("u64", kU64, raw(uint64_t{1} << 40)), key("i64", kI64, raw(int64_t{-1})),
                key("f32", kF32, raw(0.5F)), key("f64", kF64, raw(1e-5)),
                key("yes", kBool, raw(uint8_t{1})), key("text", kText, text("\xc3\xbc")),
                key("texts", kList, list(kText, 2, text("a") + text(""))),
                key("ints", kList, list(kI32, 2, raw(int32_t{3}) + raw(int32_t{-1}))),
                key("floats", kList, list(kF32, 1, raw(2.5F)))}}));
  const GgufMetadata& m = file.metadata();
  EXPECT_EQ(m.integer("u8", std::nullopt, 0, 255), 200);
  EXPECT_EQ(m.integer("i32", std::nullopt, -10, 0), -7);
  EXPECT_EQ(m.integer("u64", std::nullopt, 0, int64_t{1} << 50), int64_t{1} << 40);
  EXPECT_EQ(m.integer("i64", std::nullopt, -1, 0), -1);
  EXPECT_EQ(m.number("f32", std::nullopt, 0, 1), 0.5);
  EXPECT_EQ(m.number("f64", std::nullopt, 0, 1), 1e-5);
  EXPECT_TRUE(m.boolean("yes", std::nullopt));
  EXPECT_EQ(m.text("text", std::nullopt), "\xc3\xbc");
  EXPECT_EQ(m.texts("texts", 2), (std::vector<std::string_view>{"a", ""}));
  EXPECT_EQ(m.integers("ints", 2), (std::vector<int64_t>{3, -1}));
  EXPECT_EQ(m.numbers("floats", 1), std::vector<double>{2.5});
  EXPECT_EQ(m.integer("absent", 9, 0, 1), 9);
  EXPECT_EQ(m.text("absent", "x"), "x");
}

TEST(Gguf, MetadataIsStrictAboutTypes) {
  const GgufFile file = parsed(
      file_bytes({.keys = {key("int", kU32, raw(uint32_t{300})),
                           key("huge", kU64, raw(~uint64_t{0})), key("float", kF32, raw(2.0F)),
                           key("nan", kF32, raw(std::numeric_limits<float>::quiet_NaN())),
                           key("text", kText, text("a\xff")),
                           key("texts", kList, list(kText, 2, text("a") + text("\xff")))}}));
  const GgufMetadata& m = file.metadata();
  const auto refuses = [](const std::function<void()>& f, const std::string& message) {
    expect_message<InputError>(f, "x.gguf: " + message);
  };
  refuses([&] { m.integer("absent", std::nullopt, 0, 1); }, "the metadata lacks \"absent\"");
  refuses([&] { m.integer("int", std::nullopt, 0, 255); },
          "\"int\": expected an integer in 0..255, found 300");
  refuses([&] { m.integer("huge", std::nullopt, 0, 255); },
          "\"huge\": expected an integer in 0..255, found 18446744073709551615");
  refuses([&] { m.integer("float", std::nullopt, 0, 255); },
          "\"float\": expected an integer in 0..255, found 2 (float32)");
  refuses([&] { m.number("int", std::nullopt, 0, 1); },
          "\"int\": expected a number in 0..1, found 300");
  refuses([&] { m.number("nan", std::nullopt, 0, 1); },
          "\"nan\": expected a number in 0..1, found nan (float32)");
  refuses([&] { m.boolean("int", std::nullopt); }, "\"int\": expected true or false, found 300");
  refuses([&] { m.text("int", std::nullopt); }, "\"int\": expected a text, found 300");
  refuses([&] { m.text("text", std::nullopt); }, "\"text\": the text is not UTF-8 at its byte 1");
  refuses([&] { m.text("texts", std::nullopt); },
          "\"texts\": expected a text, found a list of 2 string values");
  refuses([&] { m.texts("texts", 2); }, "\"texts\": item 1 is not UTF-8");
  refuses([&] { m.texts("texts", 1); },
          "\"texts\": expected a list of at most 1 texts, found a list of 2 string values");
  refuses([&] { m.integers("texts", 2); }, "\"texts\": expected a list of integers");
  refuses([&] { m.numbers("int", 2); }, "\"int\": expected a list of numbers, found 300");
}

TEST(Gguf, RefusesAForeignHead) {
  expect_refused("",
                 "the first bytes: expected 4 bytes at byte 0, found the end of the file after 0");
  expect_refused("GGML" + std::string(40, '\0'),
                 "expected a GGUF file, which begins with \"GGUF\", found \"GGML\"");
  expect_refused("GGUF" + raw(uint32_t{1}) + std::string(40, '\0'),
                 "expected GGUF version 2 or 3, found 1; convert the model again");
  expect_refused("GGUF" + raw(uint32_t{4}) + std::string(40, '\0'),
                 "expected GGUF version 2 or 3, found 4");
  expect_refused("GGUF" + raw(uint32_t{3} << 24) + std::string(40, '\0'),
                 "a big-endian GGUF file cannot be read");
  expect_refused("GGUF" + raw(uint32_t{3}) + "abc",
                 "the number of tensors: expected 8 bytes at byte 8");
}

TEST(Gguf, RefusesCountsThatTheFileHasNoRoomFor) {
  expect_refused(head(~uint64_t{0}, 0),
                 "the number of tensors: expected at most 262144, found 18446744073709551615");
  expect_refused(head(1000, 0),
                 "the number of tensors: the file has no room for 1000 of them (8 bytes left)");
  expect_refused(head(0, uint64_t{1} << 40), "the number of metadata keys: expected at most 65536");
  expect_refused(head(0, 5),
                 "the number of metadata keys: the file has no room for 5 of them (0 bytes left)");
  expect_refused(file_bytes({.keys = {key("k", kList, list(kU64, uint64_t{1} << 61, ""))}}),
                 "\"k\": the file has no room for 2305843009213693952 of them");
  expect_refused(file_bytes({.keys = {key("k", kList, list(kText, uint64_t{1} << 62, ""))}}),
                 "\"k\": the file has no room");
  expect_refused(file_bytes({.keys = {key("k", kText, raw(~uint64_t{0}))}}),
                 "\"k\": expected 18446744073709551615 bytes at byte 45");
  expect_refused(head(0, 1) + raw(uint64_t{70000}) + std::string(70000, 'k'),
                 "the name of key 0: expected at most 65535 bytes, found 70000");
}

TEST(Gguf, RefusesFaultyMetadata) {
  const std::string good = key("k", kU8, raw(uint8_t{1}));
  expect_refused(file_bytes({.keys = {good, good}}), "\"k\" appears twice in the metadata");
  expect_refused(file_bytes({.keys = {key("", kU8, raw(uint8_t{1}))}}), "key 0 has an empty name");
  expect_refused(file_bytes({.keys = {key("\xff", kU8, raw(uint8_t{1}))}}),
                 "the name of key 0: expected UTF-8, found \"\\xff\"");
  expect_refused(file_bytes({.keys = {key("k", 13, raw(uint8_t{1}))}}),
                 "\"k\": expected a value type in 0..12, found 13");
  expect_refused(file_bytes({.keys = {key("k", kBool, raw(uint8_t{2}))}}),
                 "\"k\": expected a bool of 0 or 1, found 2");
  expect_refused(
      file_bytes({.keys = {key("k", kList, list(kBool, 2, raw(uint8_t{1}) + raw(uint8_t{9})))}}),
      "\"k\": expected a bool of 0 or 1, found 9");
  expect_refused(file_bytes({.keys = {key("k", kList, list(kList, 1, list(kU8, 1, "x")))}}),
                 "\"k\": lists of lists are not supported");
  expect_refused(head(0, 1) + key("k", kF64, "1234567"),
                 "\"k\": expected 8 bytes at byte 37, found the end of the file after 7; is the "
                 "file cut short?");
}

TEST(Gguf, RefusesFaultyTensors) {
  const auto refused = [](std::vector<std::string> tensors, size_t data_bytes,
                          const std::string& message) {
    expect_refused(
        file_bytes({.tensors = std::move(tensors), .data = std::string(data_bytes, '\0')}),
        message);
  };
  refused({tensor("", {1}, 0, 0)}, 4, "tensor 0 has an empty name");
  refused({tensor(std::string(65, 'n'), {1}, 0, 0)}, 4,
          "the name of tensor 0: expected at most 64 bytes, found 65");
  refused({tensor("a", {1}, 0, 0), tensor("a", {1}, 0, 32)}, 36, "tensor \"a\" appears twice");
  refused({tensor("a", {1}, 5, 0)}, 4, "tensor \"a\": no type of weights has the number 5");
  refused({tensor("a", {}, 0, 0)}, 32, "tensor \"a\": expected 1 to 4 dimensions, found 0");
  refused({tensor("a", {1, 1, 1, 1, 1}, 0, 0)}, 4,
          "tensor \"a\": expected 1 to 4 dimensions, found 5");
  refused({tensor("a", {4, 0}, 0, 0)}, 4, "tensor \"a\": expected sizes from 1, found 0");
  refused({tensor("a", {uint64_t{1} << 63}, 0, 0)}, 4,
          "tensor \"a\": expected sizes from 1, found 9223372036854775808");
  refused({tensor("a", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0)}, 4,
          "tensor \"a\": shape [1099511627776, 1099511627776] overflows");
  refused({tensor("a", {uint64_t{1} << 61}, 0, 0)}, 4,
          "tensor \"a\": shape [2305843009213693952] overflows");
  refused({tensor("a", {uint64_t{1} << 61}, 24, 0)}, 4,
          "tensor \"a\": shape [2305843009213693952] overflows");
  refused({tensor("a", {48, 2}, 2, 0)}, 54,
          "tensor \"a\": rows of type Q4_0 are made of blocks of 32 numbers, found rows of 48");
  refused({tensor("a", {1}, 0, 8)}, 36,
          "tensor \"a\": expected an offset that is a multiple of 32, found 8");
  refused({tensor("a", {9}, 0, 0)}, 32,
          "tensor \"a\": 36 bytes from 0 lie beyond the end of the data (32 bytes); is the file "
          "cut short?");
  refused({tensor("a", {9}, 0, ~uint64_t{31})}, 64,
          "tensor \"a\": 36 bytes from 18446744073709551584 lie beyond the end of the data");
  refused({tensor("a", {9}, 0, 0), tensor("b", {1}, 0, 32)}, 36,
          "tensors \"a\" and \"b\" overlap: bytes [0, 36) and [32, 36)");
  refused({tensor("a", {1}, 0, 0), tensor("b", {1}, 0, 0)}, 4,
          "tensors \"a\" and \"b\" overlap: bytes [0, 4) and [0, 4)");
  refused({tensor("a", {1}, 0, 32)}, 36, "bytes [0, 32) before tensor \"a\" belong to no tensor");
  refused({tensor("a", {1}, 0, 0), tensor("b", {1}, 0, 64)}, 68,
          "bytes [32, 64) before tensor \"b\" belong to no tensor");
  refused({tensor("a", {1}, 0, 0)}, 40, "8 bytes follow the last tensor and belong to none");
  refused({}, 40, "40 bytes follow the last tensor and belong to none");
}

TEST(Gguf, RefusesEveryCutOfAGoodFile) {
  const std::string whole =
      file_bytes({.keys = {key("k", kList, list(kText, 2, text("a") + text("bc")))},
                  .tensors = {tensor("a", {32, 2}, 8, 0)},
                  .data = std::string(68, '\1')});
  EXPECT_NO_THROW(parsed(whole));
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(parsed(whole.substr(0, size)), InputError) << size;
}

}  // namespace
}  // namespace graft::test_gguf
