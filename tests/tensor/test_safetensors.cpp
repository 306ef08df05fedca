// Safetensors: round trips, files that the Python package wrote, and every lie that a file can
// tell.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "tensor/safetensors.h"
#include "tests/support/testing.h"

namespace graft::test_safetensors {
namespace {

using testing::expect_message;
using testing::TempFolder;

const Path kGolden = Path(GRAFT_SOURCE_DIR) / "tests/golden/tensor";

const std::vector<std::pair<std::string, at::ScalarType>> kAllDtypes{
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"BOOL", at::kBool}};

// The formula of tools/golden/safetensors_files.py.
at::Tensor made(at::ScalarType dtype, at::IntArrayRef shape) {
  const at::Tensor values = at::arange(c10::multiply_integers(shape), at::kLong).reshape(shape);
  if (dtype == at::kBool) return values.remainder(2).eq(1);
  return (dtype == at::kByte ? values : values - 3).to(dtype);
}

void expect_equal(const at::Tensor& found, const at::Tensor& expected) {
  ASSERT_EQ(found.scalar_type(), expected.scalar_type());
  ASSERT_EQ(found.sizes(), expected.sizes());
  EXPECT_TRUE(found.is_contiguous());
  EXPECT_TRUE(at::equal(found, expected));
}

void write_text(const Path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string file_bytes(const std::string& header, const std::string& data, uint64_t header_bytes) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &header_bytes, 8);
  return out + header + data;
}
std::string file_bytes(const std::string& header, const std::string& data = "") {
  return file_bytes(header, data, header.size());
}

SafetensorsFile parsed(const std::string& bytes) {
  const auto owner = std::make_shared<const std::string>(bytes);
  return parse_safetensors(std::as_bytes(std::span(*owner)), owner, "x.safetensors");
}

// One entry: "name": {...}
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

TEST(Safetensors, RoundTripsEveryDtype) {
  const TempFolder folder;
  NamedTensors tensors;
  for (const auto& [name, dtype] : kAllDtypes) tensors[name] = made(dtype, {2, 5});
  save_safetensors(folder / "all.safetensors", tensors,
                   {{"format", "pt"}, {"note", "a \"quoted\" \xc3\xbc"}});
  const SafetensorsFile file = load_safetensors(folder / "all.safetensors");
  ASSERT_EQ(file.tensors.size(), kAllDtypes.size());
  for (const auto& [name, tensor] : tensors) expect_equal(file.tensors.at(name), tensor);
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"},
                                                               {"note", "a \"quoted\" \xc3\xbc"}}));
}

TEST(Safetensors, RoundTripsEmptyAndZeroDimensionalTensors) {
  const TempFolder folder;
  const NamedTensors tensors{{"scalar", made(at::kFloat, {})},
                             {"empty", at::empty({0, 4})},
                             {"bytes", made(at::kByte, {3})},
                             {"none", at::empty({0}, at::kBool)}};
  save_safetensors(folder / "x.safetensors", tensors);
  const SafetensorsFile file = load_safetensors(folder / "x.safetensors");
  ASSERT_EQ(file.tensors.size(), 4U);
  for (const auto& [name, tensor] : tensors) expect_equal(file.tensors.at(name), tensor);
  save_safetensors(folder / "x.safetensors", {});
  EXPECT_TRUE(load_safetensors(folder / "x.safetensors").tensors.empty());
}

TEST(Safetensors, WritesTheSameBytesEveryTimeAndAlignsAllTensors) {
  const TempFolder folder;
  const NamedTensors tensors{{"a", made(at::kChar, {3})},
                             {"b", made(at::kDouble, {1})},
                             {"c", made(at::kHalf, {3})},
                             {"d", made(at::kFloat, {3})}};
  save_safetensors(folder / "1.safetensors", tensors, {{"k", "v"}});
  save_safetensors(folder / "2.safetensors", tensors, {{"k", "v"}});
  const std::string bytes = read_file(folder / "1.safetensors");
  EXPECT_EQ(bytes, read_file(folder / "2.safetensors"));
  const std::string header =
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"d":{"dtype":"F32","shape":[3],"data_offsets":[8,20]},)"
      R"("c":{"dtype":"F16","shape":[3],"data_offsets":[20,26]},"a":{"dtype":"I8","shape":[3],"data_offsets":[26,29]}})";
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  EXPECT_EQ(header_bytes % 8, 0U);
  EXPECT_EQ(bytes.substr(8, header.size()), header);
  EXPECT_EQ(bytes.find_first_not_of(' ', 8 + header.size()), 8 + header_bytes);
  EXPECT_EQ(bytes.size(), 8 + header_bytes + 29);
}

TEST(Safetensors, TensorsKeepTheMappingAlive) {
  const TempFolder folder;
  save_safetensors(folder / "x.safetensors",
                   {{"a", made(at::kFloat, {4})}, {"b", made(at::kFloat, {2})}});
  at::Tensor a = load_safetensors(folder / "x.safetensors").tensors.at("a");
  std::filesystem::remove(folder / "x.safetensors");
  expect_equal(a, made(at::kFloat, {4}));
  const at::Tensor part = a.slice(0, 1, 3);
  a.reset();
  expect_equal(part, made(at::kFloat, {4}).slice(0, 1, 3));
}

TEST(Safetensors, ViewsTheFileAndCopiesOnlyWhatIsMisaligned) {
  const std::string header =
      "{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("b", "F32", "[1]", "[1,5]") + "}";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  const auto owner =
      std::make_shared<const std::string>(file_bytes(padded, std::string("\x07\0\0\x80\x3f", 5)));
  const SafetensorsFile file = parse_safetensors(std::as_bytes(std::span(*owner)), owner, "x");
  const auto* const data = owner->data() + 8 + padded.size();
  EXPECT_EQ(file.tensors.at("a").const_data_ptr(), data);
  EXPECT_NE(file.tensors.at("b").const_data_ptr(), data + 1);
  EXPECT_EQ(file.tensors.at("a").item<int>(), 7);
  EXPECT_EQ(file.tensors.at("b").item<float>(), 1.0F);
  EXPECT_EQ(owner.use_count(), 2);  // ours and the view's
}

TEST(Safetensors, ReadsWhatPythonWrote) {
  const SafetensorsFile dtypes = load_safetensors(kGolden / "dtypes.safetensors");
  ASSERT_EQ(dtypes.tensors.size(), kAllDtypes.size());
  for (const auto& [name, dtype] : kAllDtypes)
    expect_equal(dtypes.tensors.at(name), made(dtype, {2, 5}));
  EXPECT_EQ(dtypes.metadata,
            (std::map<std::string, std::string>{{"note", "a \"quoted\" \xc3\xbc"}}));
  const SafetensorsFile shapes = load_safetensors(kGolden / "shapes.safetensors");
  ASSERT_EQ(shapes.tensors.size(), 4U);
  expect_equal(shapes.tensors.at("scalar"), made(at::kFloat, {}));
  expect_equal(shapes.tensors.at("empty"), at::empty({0, 4}));
  expect_equal(shapes.tensors.at("odd"), made(at::kChar, {3}));
  expect_equal(shapes.tensors.at("after.odd"), made(at::kFloat, {3}));
  EXPECT_TRUE(load_safetensors(kGolden / "nothing.safetensors").tensors.empty());
}

TEST(Safetensors, RefusesEveryLie) {
  const std::string four(4, '\0'), eight(8, '\0');
  const std::string a = entry("a", "F32", "[1]", "[0,4]");
  const std::vector<std::pair<std::string, std::string>> lies{
      {"", "expected a safetensors file of at least 8 bytes, found 0"},
      {"1234567", "expected a safetensors file of at least 8 bytes, found 7"},
      {file_bytes("{}", "", 3),
       "the header's 3 bytes reach beyond the end of the file (10 bytes); is the file cut short?"},
      {file_bytes("{}", "", 100'000'001),
       "expected a header of at most 100000000 bytes, found 100000001"},
      {file_bytes("{}", "", UINT64_MAX),
       "expected a header of at most 100000000 bytes, found 18446744073709551615"},
      {file_bytes(""), "expected the header to be a JSON object, found \"\""},
      {file_bytes("[1]"), "expected the header to be a JSON object, found \"[1]\""},
      {file_bytes(" {}"), "expected the header to be a JSON object, found \" {}\""},
      {file_bytes("{\"a\""), "the header is not valid JSON at its byte 5"},
      {file_bytes("{}x"), "the header is not valid JSON at its byte 3"},
      {file_bytes("{\"\xff\":1}"), "the header is not valid JSON at its byte 3"},
      {file_bytes("{\"a\":1}"), "tensor \"a\": expected an object, found 1"},
      {file_bytes("{\"a\":[]}"), "tensor \"a\": expected an object, found a list"},
      {file_bytes("{\"a\":null}"), "tensor \"a\": expected an object, found null"},
      {file_bytes("{\"a\":{}}"), "tensor \"a\": without dtype, shape and data_offsets"},
      {file_bytes(R"({"a":{"dtype":"F32","shape":[1]}})", four),
       "tensor \"a\": without data_offsets"},
      {file_bytes(R"({"a":{"dtype":"F32","shape":[1],"offsets":[0,4]}})", four),
       "unknown field \"offsets\"; expected dtype, shape and data_offsets"},
      {file_bytes(R"({"a":{"dtype":"F32","dtype":"F32"}})"),
       "tensor \"a\": field \"dtype\" appears twice"},
      {file_bytes(R"({"a":{"shape":[1],"shape":[1]}})"),
       "tensor \"a\": field \"shape\" appears twice"},
      {file_bytes(R"({"a":{"data_offsets":[0,0],"data_offsets":[0,0]}})"),
       "tensor \"a\": field \"data_offsets\" appears twice"},
      {file_bytes(R"({"a":{"dtype":7}})"), "tensor \"a\": dtype: expected a text, found 7"},
      {file_bytes(R"({"a":{"dtype":["F32"]}})"),
       "tensor \"a\": dtype: expected a text, found a list"},
      {file_bytes(R"({"a":{"shape":"F32"}})"),
       "tensor \"a\": shape: expected a list of integers, found \"F32\""},
      {file_bytes(R"({"a":{"shape":{}}})"),
       "tensor \"a\": shape: expected a list of integers, found an object"},
      {file_bytes(R"({"a":{"shape":true}})"),
       "tensor \"a\": shape: expected a list of integers, found true"},
      {file_bytes(R"({"a":{"shape":[[1]]}})"),
       "tensor \"a\": shape: expected integers from 0, found a list"},
      {file_bytes("{" + entry("a", "F32", "[-1]", "[0,4]") + "}", four),
       "tensor \"a\": shape: expected integers from 0, found -1"},
      {file_bytes("{" + entry("a", "F32", "[1.5]", "[0,4]") + "}", four),
       "tensor \"a\": shape: expected integers from 0, found 1.5"},
      {file_bytes("{" + entry("a", "F32", "[9223372036854775808]", "[0,4]") + "}", four),
       "tensor \"a\": shape overflows at 9223372036854775808"},
      {file_bytes("{" + entry("a", "F32", "[99999999999999999999]", "[0,4]") + "}", four),
       "tensor \"a\": shape: expected integers from 0, found 99999999999999999999"},
      {file_bytes("{" + entry("a", "F32", "[4294967296,4294967296]", "[0,0]") + "}"),
       "tensor \"a\": shape [4294967296, 4294967296] overflows"},
      {file_bytes("{" + entry("a", "F32", "[0,4294967296,4294967296]", "[0,0]") + "}"),
       "shape [0, 4294967296, 4294967296] overflows"},
      {file_bytes("{" + entry("a", "F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]") + "}",
                  four),
       "tensor \"a\": expected at most 16 dimensions, found more"},
      {file_bytes("{" + entry("a", "F32", "[2]", "[0,4]") + "}", four),
       "tensor \"a\": F32 [2] takes 8 bytes, found data_offsets of 4 bytes"},
      {file_bytes("{" + entry("a", "F32", "[1]", "[4,0]") + "}", four),
       "tensor \"a\": data_offsets: begin 4 lies after end 0"},
      {file_bytes("{" + entry("a", "F32", "[1]", "[0,4,8]") + "}", four),
       "tensor \"a\": data_offsets: expected [begin, end], found more than 2 numbers"},
      {file_bytes("{" + entry("a", "F32", "[1]", "[4]") + "}", four),
       "tensor \"a\": data_offsets: expected [begin, end], found 1 numbers"},
      {file_bytes("{" + entry("a", "F32", "[1]", "[-4,0]") + "}", four),
       "tensor \"a\": data_offsets: expected integers from 0, found -4"},
      {file_bytes("{" + entry("a", "F32", "[2]", "[0,8]") + "}", four),
       "tensor \"a\": bytes [0, 8) lie beyond the end of the data (4 bytes); is the file cut "
       "short?"},
      {file_bytes("{" + entry("a", "F32", "[1]", "[0,18446744073709551615]") + "}", four),
       "lie beyond the end of the data (4 bytes)"},
      {file_bytes(
           "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[1]", "[4,8]") + "}",
           eight),
       "tensors \"a\" and \"b\" overlap: bytes [0, 8) and [4, 8)"},
      {file_bytes("{" + entry("a", "F32", "[1]", "[4,8]") + "}", eight),
       "bytes [0, 4) before tensor \"a\" belong to no tensor"},
      {file_bytes("{" + a + "}", four + "x"), "1 bytes follow the last tensor and belong to none"},
      {file_bytes("{}", four), "4 bytes follow the last tensor and belong to none"},
      {file_bytes("{" + a + "," + a + "}", four), "tensor \"a\" appears twice"},
      {file_bytes("{" + entry("", "F32", "[1]", "[0,4]") + "}", four),
       "a tensor has an empty name"},
      {file_bytes("{" + entry(std::string(1025, 'n'), "F32", "[1]", "[0,4]") + "}", four),
       "expected a name of at most 1024 bytes, found 1025"},
      {file_bytes("{" + entry("a", "F8_E4M3", "[4]", "[0,4]") + "}", four),
       "tensor \"a\": dtype \"F8_E4M3\" is not supported; expected F64, F32, F16, BF16, I64, I32, "
       "I16, I8, U8 or BOOL"},
      {file_bytes("{" + entry("a", "BOOL", "[2]", "[0,2]") + "}", "\x01\x02"),
       "tensor \"a\": BOOL data: expected 0 or 1, found 2 at byte 1"},
      {file_bytes(R"({"__metadata__":"pt"})"), "__metadata__: expected an object, found \"pt\""},
      {file_bytes(R"({"__metadata__":{"step":1}})"),
       "__metadata__: \"step\": expected a text, found 1"},
      {file_bytes(R"({"__metadata__":{"a":{}}})"),
       "__metadata__: \"a\": expected a text, found an object"},
      {file_bytes(R"({"__metadata__":{"a":"1","a":"2"}})"),
       "__metadata__: key \"a\" appears twice"},
      {file_bytes(R"({"__metadata__":{},"__metadata__":{}})"),
       "tensor \"__metadata__\" appears twice"},
  };
  for (const auto& [bytes, message] : lies) {
    SCOPED_TRACE(message);
    const std::string& content = bytes;
    expect_message<InputError>([&] { parsed(content); }, message);
    expect_message<InputError>([&] { parsed(content); }, "x.safetensors: ");
  }
}

TEST(Safetensors, RefusesTooManyTensors) {
  std::string header = "{";
  for (size_t i = 0; i <= kMaxSafetensorsTensors; ++i)
    header += (i == 0 ? "" : ",") + entry(std::to_string(i), "U8", "[0]", "[0,0]");
  expect_message<InputError>([&] { parsed(file_bytes(header + "}")); },
                             "expected at most 262144 tensors, found more");
}

TEST(Safetensors, NamesAMissingFile) {
  expect_message<InputError>([] { load_safetensors("/nonexistent/x.safetensors"); },
                             "'/nonexistent/x.safetensors': no such file");
}

TEST(Safetensors, RefusesToWriteWhatItCouldNotReadBack) {
  const TempFolder folder;
  const Path path = folder / "x.safetensors";
  const at::Tensor one = at::ones({2, 3});
  const std::vector<std::pair<NamedTensors, std::string>> wrong{
      {{{"", one}}, "not a name for a tensor"},
      {{{"__metadata__", one}}, "not a name for a tensor"},
      {{{std::string(1025, 'n'), one}}, "not a name for a tensor"},
      {{{"\xff", one}}, "could not be written"},
      {{{"a", at::Tensor()}}, "tensor \"a\": expected a contiguous CPU tensor"},
      {{{"a", one.t()}}, "tensor \"a\": expected a contiguous CPU tensor"},
      {{{"a", one.to(at::kComplexFloat)}}, "dtype ComplexFloat has no name in safetensors"},
  };
  for (const auto& [tensors, message] : wrong) {
    const NamedTensors& content = tensors;
    expect_message<InternalError>([&] { save_safetensors(path, content); }, message);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, AFailingWriteLeavesTheOldFile) {
  const TempFolder folder;
  const Path path = folder / "x.safetensors";
  save_safetensors(path, {{"a", made(at::kFloat, {4})}});
  const std::string before = read_file(path);
  for (const int64_t budget : {0, 4, 20, 80}) {
    fail_writes_after(budget);
    const std::string message = testing::message_of<IoError>([&] {
      save_safetensors(path, {{"a", made(at::kFloat, {40})}});
    });
    fail_writes_after(-1);
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    EXPECT_EQ(read_file(path), before);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
        << "a temp file stayed";
  }
}

TEST(Sharded, ReadsAllShardsOrTheSingleFile) {
  const SafetensorsFile file = load_sharded(kGolden / "sharded");
  ASSERT_EQ(file.tensors.size(), 3U);
  expect_equal(file.tensors.at("a.weight"), made(at::kFloat, {2, 3}));
  expect_equal(file.tensors.at("b.weight"), made(at::kBFloat16, {3, 2}));
  EXPECT_TRUE(file.metadata.empty()) << "the shards do not agree on 'part'";
  const TempFolder folder;
  save_safetensors(folder / "model.safetensors", {{"a", at::ones({1})}}, {{"k", "v"}});
  EXPECT_EQ(load_sharded(folder.path()).metadata.at("k"), "v");
}

TEST(Sharded, RefusesEveryLie) {
  const TempFolder folder;
  const Path index = folder / "model.safetensors.index.json";
  expect_message<InputError>(
      [&] { load_sharded(folder.path()); },
      "expected model.safetensors or model.safetensors.index.json, found neither");
  write_text(folder / "pytorch_model.bin", "x");
  expect_message<InputError>([&] { load_sharded(folder.path()); },
                             "pytorch_model.bin is a pickle, which is never run");
  save_safetensors(folder / "1.safetensors", {{"a", at::ones({1})}},
                   {{"format", "pt"}, {"part", "1"}});
  save_safetensors(folder / "2.safetensors", {{"b", at::ones({1})}},
                   {{"format", "pt"}, {"part", "2"}});
  const std::vector<std::pair<std::string, std::string>> lies{
      {"[]", "expected a section of keys and values, found a list"},
      {"{}", "/weight_map: missing; expected a section of tensor names and files"},
      {R"({"weight_map": {}})", "/weight_map: expected a section of tensor names and files"},
      {R"({"weight_map": 1})", "/weight_map: expected a section of tensor names and files"},
      {R"({"weight_mop": {"a": "1.safetensors"}})", "unknown key (did you mean 'weight_map'?)"},
      {R"({"weight_map": {"a": 1}})", "\"a\": expected a file name such as"},
      {R"({"weight_map": {"a": "../1.safetensors"}})", "found \"../1.safetensors\""},
      {R"({"weight_map": {"a": "1.bin"}})", "found \"1.bin\""},
      {R"({"weight_map": {"a": "3.safetensors"}})",
       "shard '3.safetensors' is missing from the folder"},
      {R"({"weight_map": {"c": "1.safetensors"}})",
       "shard '1.safetensors' holds tensor \"a\", which the index does not list"},
      {R"({"weight_map": {"c": "1.safetensors", "a": "2.safetensors"}})",
       "shard '1.safetensors' holds tensor \"a\", which the index gives to '2.safetensors'"},
  };
  for (const auto& [text, message] : lies) {
    SCOPED_TRACE(message);
    write_text(index, text);
    expect_message<InputError>([&] { load_sharded(folder.path()); }, message);
    expect_message<InputError>([&] { load_sharded(folder.path()); }, index.string());
  }
  write_text(
      index,
      R"({"metadata": {"total_size": 8}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})");
  EXPECT_EQ(load_sharded(folder.path()).tensors.size(), 2U);
  EXPECT_EQ(load_sharded(folder.path()).metadata,
            (std::map<std::string, std::string>{{"format", "pt"}}))
      << "what the shards agree on";
  EXPECT_TRUE(load_sharded(folder.path()).absent.empty());
  write_text(
      index,
      R"({"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}})");
  EXPECT_EQ(load_sharded(folder.path()).tensors.size(), 2U);
  EXPECT_EQ(load_sharded(folder.path()).absent,
            (std::map<std::string, std::string>{{"c", "1.safetensors"}}))
      << "who needs it refuses the model";
  save_safetensors(folder / "model.safetensors", {{"a", at::ones({1})}});
  expect_message<InputError>([&] { load_sharded(folder.path()); },
                             "holds model.safetensors and an index that does not use it");
  write_text(index, R"({"weight_map": {"a": "model.safetensors"}})");
  EXPECT_EQ(load_sharded(folder.path()).tensors.size(), 1U);
}

TEST(NamedTensors, NamesAMissingTensorAndTheNearest) {
  const NamedTensors tensors{{"enc.0.attn.q", at::ones({1})}};
  EXPECT_TRUE(tensor_at(tensors, "enc.0.attn.q", "x").defined());
  expect_message<InputError>(
      [&] { tensor_at(tensors, "enc.0.attn.qq", "model.safetensors"); },
      "model.safetensors: tensor \"enc.0.attn.qq\" is missing (did you mean 'enc.0.attn.q'?)");
  EXPECT_EQ(shape_text({8, 768}), "[8, 768]");
  EXPECT_EQ(shape_text({}), "[]");
}

}  // namespace
}  // namespace graft::test_safetensors
