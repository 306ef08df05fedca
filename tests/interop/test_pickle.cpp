// Files of torch.save: what is read, and that nothing in a file is run or believed.
#include <caffe2/serialize/inline_container.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "interop/pickle.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_pickle {
namespace {

using namespace std::string_literals;

struct Record {
  std::string name, bytes;
};

// A zip archive as torch.save lays it out, with a pickle of the test's own.
std::string archive(const std::string& program, const std::vector<Record>& records = {}) {
  std::string out;
  caffe2::serialize::PyTorchStreamWriter writer([&](const void* data, size_t size) {
    out.append(static_cast<const char*>(data), size);
    return size;
  });
  if (!program.empty()) writer.writeRecord("data.pkl", program.data(), program.size());
  for (const Record& record : records)
    writer.writeRecord(record.name, record.bytes.data(), record.bytes.size());
  writer.writeEndOfFile();
  return out;
}

NamedTensors parsed(const std::string& bytes) {
  return parse_torch_file(std::as_bytes(std::span(bytes)), "file.bin");
}

std::string text(const std::string& value) {
  return "X"s + static_cast<char>(value.size()) + "\0\0\0"s + value;
}
std::string number(int32_t value) {
  std::string out = "J";
  for (int i = 0; i < 4; ++i)
    out += static_cast<char>(static_cast<uint32_t>(value) >> (8 * i) & 0xff);
  return out;
}
std::string tuple(const std::vector<int32_t>& values) {
  std::string out = "(";
  for (const int32_t value : values) out += number(value);
  return out + "t";
}
// The address of a storage of floats.
std::string storage(const std::string& key, int32_t numel,
                    const std::string& kind = "FloatStorage") {
  return "(" + text("storage") + "ctorch\n" + kind + "\n" + text(key) + text("cpu") +
         number(numel) + "tQ";
}
std::string tensor(const std::string& where, int32_t offset, const std::vector<int32_t>& sizes,
                   const std::vector<int32_t>& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + where + number(offset) + tuple(sizes) +
         tuple(strides) + "\x89" + "Nt" + "R";
}
std::string entry(const std::string& value) { return "\x80\x02}"s + text("w") + value + "s."; }
const Record kFour{"data/0", std::string(16, '\0')};  // four floats

TEST(TorchFiles, GiveTheTensorsThatPythonSaved) {
  for (const char* name : {"dtypes", "views", "state_dict", "parameters"}) {
    const Path stem = golden_dir("torch_files") / name;
    NamedTensors found;
    for (const auto& [key, value] : load_torch_file(stem.string() + ".bin"))
      found[key] = value.contiguous();
    expect_all_bits(found, load_safetensors(stem.string() + ".safetensors").tensors, name);
  }
}

TEST(TorchFiles, ShareAStorageWhereTheFileDoes) {
  const NamedTensors found = load_torch_file(golden_dir("torch_files") / "views.bin");
  EXPECT_EQ(found.at("whole").storage().data(), found.at("transposed").storage().data());
  EXPECT_EQ(found.at("transposed").strides(), (std::vector<int64_t>{1, 4}));
}

TEST(TorchFiles, OfOtherContentAreRefused) {
  const Path dir = golden_dir("torch_files");
  const struct {
    const char* name;
    const char* message;
  } rows[] = {
      {"old_layout.bin",
       "not a file of torch 1.6 or newer; load it in Python and save it again with safetensors or "
       "a newer torch"},
      {"module.bin",
       "the file asks for \"torch.nn.modules.linear.Linear\"; only tensors in plain dictionaries"},
      {"number.bin", "\"step\": expected a tensor, found an integer"},
      {"list.bin", "expected a dictionary of tensors, found a list"},
      {"dtypes.safetensors", "not a file of torch 1.6 or newer"},
  };
  for (const auto& row : rows) {
    expect_message<InputError>([&] { load_torch_file(dir / row.name); }, row.message);
    expect_message<InputError>([&] { load_torch_file(dir / row.name); },
                               (dir / row.name).string() + ": ");
  }
  expect_message<InputError>([&] { load_torch_file(dir / "none.bin"); }, "no such file");
}

TEST(TorchFiles,
     HandWrittenOnesAreRead) {  // so that each row below differs from a good file in one thing
  const NamedTensors found = parsed(archive(entry(tensor(storage("0", 4), 1, {3}, {1})), {kFour}));
  EXPECT_EQ(found.at("w").sizes(), (std::vector<int64_t>{3}));
}

TEST(TorchFiles, NothingIsEverRun) {
  const std::string call =
      "\x80\x02"s + "cos\nsystem\n(" + text("touch /tmp/graft-was-run") + "tR.";
  expect_message<InputError>([&] { parsed(archive(call)); },
                             "the file asks for \"os.system\"; only tensors in plain dictionaries, "
                             "lists and tuples are read, and nothing is ever run");
  expect_message<InputError>([&] { parsed(archive("\x80\x02"s + "c__builtin__\neval\n.")); },
                             "\"__builtin__.eval\"");
  expect_message<InputError>([&] { parsed(archive("\x80\x02"s + "ctorch\nload\n.")); },
                             "\"torch.load\"");
  EXPECT_FALSE(std::filesystem::exists("/tmp/graft-was-run"));
}

TEST(TorchFiles, DamagedPicklesAreRefused) {
  const struct {
    std::string program;
    const char* message;
  } rows[] = {
      {"\x80\x04}.", "expected pickle protocol 2"},
      {"", "without data.pkl"},
      {"\x80\x02"s, "ends in the middle of an instruction"},
      {"\x80\x02}"s, "ends in the middle of an instruction"},
      {"\x80\x02X\xff\xff\xff\xff"s, "ends in the middle of an instruction"},
      {"\x80\x02"s + "ctorch", "ends in the middle of a name"},
      {"\x80\x02.", "finds nothing on the stack"},
      {"\x80\x02q\x01", "finds nothing on the stack"},
      {"\x80\x02(}0", "is none that a plain dictionary of tensors needs"},
      {"\x80\x02t.", "finds no mark on the stack"},
      {"\x80\x02h\x07.", "nothing was remembered as 7"},
      {"\x80\x02}(Nu.", "a key without a value"},
      {"\x80\x02]NNs.", "expected a dictionary as what is written into, found a list"},
      {"\x80\x02}Na.", "expected a list as what is appended to, found a dictionary"},
      {"\x80\x02}NNs.", "expected names of tensors, found None"},
      {"\x80\x02}Nb.", "expected a dictionary of attributes, found None"},
      {"\x80\x02N)R.", "expected a name as what is called, found None"},
      {"\x80\x02"s + "ccollections\nOrderedDict\n(NtR.", "an OrderedDict made with arguments"},
      {"\x80\x02"s + "ctorch\nFloatStorage\n)R.", "is not made by calling it"},
      {"\x80\x02"s + "ctorch._utils\n_rebuild_parameter\n)R.", "a parameter without a tensor"},
      {"\x80\x02"s + "ctorch._utils\n_rebuild_tensor_v2\n)R.",
       "expected six arguments of a tensor, found 0"},
      {"\x80\x02\x8a\x09"s, "an integer of more than 64 bits"},
      {"\x80\x02NQ.", "expected a tuple as the address of a storage, found None"},
      {"\x80\x02("s + text("module") + "NNNNtQ.",
       "expected the address of a storage, of five parts"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { parsed(archive(row.program, {kFour})); }, row.message);
}

TEST(TorchFiles, TensorsLieWithinTheirStorages) {
  const std::string good = storage("0", 4);
  const struct {
    std::string program;
    const char* message;
  } rows[] = {
      {entry(tensor(good, 0, {5}, {1})), "does not lie in its storage of 4 elements"},
      {entry(tensor(good, 2, {3}, {1})), "does not lie in its storage"},
      {entry(tensor(good, -1, {1}, {1})), "does not lie in its storage"},
      {entry(tensor(good, 0, {-1}, {1})), "does not lie in its storage"},
      {entry(tensor(good, 3, {2}, {-1})), "does not lie in its storage"},
      {entry(tensor(good, 0, {2}, {1 << 30})), "does not lie in its storage"},
      {entry(tensor(good, 0, {1 << 30, 1 << 30, 1 << 30}, {1 << 30, 1 << 30, 1 << 30})),
       "does not lie in its storage"},
      {entry(tensor(good, 0, {1 << 20}, {0})),
       "does not lie in its storage"},  // more elements than the storage has
      {entry(tensor(good, 5, {0}, {1})), "does not lie in its storage"},
      {entry(tensor(good, 0, {0, 1 << 30, 1 << 30, 1 << 30}, {1, 1, 1, 1})),
       "a tensor of sizes [0, 1073741824, 1073741824, 1073741824]"},
      {entry(tensor(good, 0, {2, 2}, {1})), "a tensor has 2 sizes and 1 strides"},
      {entry(tensor(good, 0, std::vector<int32_t>(17, 1), std::vector<int32_t>(17, 1))),
       "more than 16 dimensions"},
      {entry(tensor(storage("0", 5), 0, {1}, {1})),
       "storage \"data/0\": expected 5 elements of 4 bytes, found 16 bytes"},
      {entry(tensor(storage("0", 2147483647), 0, {1}, {1})),
       "expected 2147483647 elements of 4 bytes, found 16 bytes"},
      {entry(tensor(storage("0", -1), 0, {1}, {1})), "a storage of -1 elements"},
      {entry(tensor(storage("1", 4), 0, {1}, {1})), "storage \"data/1\" is missing"},
      {entry(tensor(storage("0", 4, "QInt8Storage"), 0, {1}, {1})),
       "the file asks for \"torch.QInt8Storage\""},
      {entry(good + "0" + tensor(storage("0", 2, "DoubleStorage"), 0, {1}, {1})),
       "is none that a plain dictionary"},
      {"\x80\x02}("s + text("a") + tensor(good, 0, {1}, {1}) + text("b") +
           tensor(storage("0", 2, "DoubleStorage"), 0, {1}, {1}) + "u.",
       "storage \"0\" is described in two ways"},
      {"\x80\x02}("s + text("a") + tensor(good, 0, {1}, {1}) + text("a") +
           tensor(good, 0, {1}, {1}) + "u.",
       "tensor \"a\" is stored twice"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { parsed(archive(row.program, {kFour})); }, row.message);
  expect_message<InputError>(
      [&] {
        parsed(archive(entry(tensor(storage("0", 4, "BoolStorage"), 0, {4}, {1})),
                       {{"data/0", "\0\1\2\0"s}}));
      },
      "expected truth values 0 and 1, found 2");
}

TEST(TorchFiles, DeepAndCircularContainersAreHarmless) {
  std::string deep = "\x80\x02";
  for (int i = 0; i < 1'000'000; ++i) deep += "]";
  for (int i = 1; i < 1'000'000; ++i) deep += "a";
  expect_message<InputError>([&] { parsed(archive(deep + ".")); },
                             "expected a dictionary of tensors, found a list");
  expect_message<InputError>([&] { parsed(archive("\x80\x02]q\x01h\x01"s + "a.")); },
                             "found a list");
}

TEST(TorchFiles, DamagedArchivesAreRefused) {
  const std::string good = archive(entry(tensor(storage("0", 4), 0, {4}, {1})), {kFour});
  for (size_t size = 0; size < good.size(); size += 37) {
    expect_message<InputError>([&] { parsed(good.substr(0, size)); }, "file.bin: ");
  }
  expect_message<InputError>(
      [&] {
        parsed(archive(entry("N"), {{"byteorder", "big"}}));
      },
      "expected little-endian bytes");
}

// One number of the directory changed at a time: offsets of its fields as in the zip format's
// description (APPNOTE 4.3.12).
TEST(TorchFiles, DirectoriesAreNotBelieved) {
  const std::string good = archive(entry(tensor(storage("0", 4), 0, {4}, {1})), {kFour});
  const size_t directory = good.find("PK\1\2"), wide = good.find("PK\6\6"),
               end = good.find("PK\5\6");
  ASSERT_NE(directory, std::string::npos);
  ASSERT_NE(wide, std::string::npos);
  const struct {
    size_t at;
    std::string bytes;
    const char* message;
  } rows[] = {
      {directory, "XK", "an entry of the directory is none"},
      {directory + 8, "\1", "is compressed or encrypted, which torch.save never does"},
      {directory + 10, "\x08", "is compressed or encrypted"},
      {directory + 20, "\xfe\xff\xff\x7f", "is compressed or encrypted"},
      {directory + 20, "\xfe\xff\xff\x7f\xfe\xff\xff\x7f", "a record lies outside the file"},
      {directory + 42, "\xff\xff\xff\x7f", "a header lies outside the file"},
      {directory + 42, "\7", "has no header"},
      {wide, "XK", "no wide directory where one is announced"},
      {wide + 32, "\xff\xff\xff\xff", "more than 262144 records"},
      {wide + 48, "\xff\xff\xff\xff", "a header lies outside the file"},
      {end + 20, "\1", "no directory"},
  };
  for (const auto& row : rows) {
    std::string bad = good;
    bad.replace(row.at, row.bytes.size(), row.bytes);
    expect_message<InputError>([&] { parsed(bad); }, row.message);
  }
  std::string two =
      archive(entry("N"), {{"data/0", std::string(900, 'x')}, {"data/1", std::string(900, 'x')}});
  const size_t first = two.find("PK\1\2"), name = two.find("data/1", first);
  std::string bad = two;
  expect_message<InputError>([&] { parsed(bad.replace(name, 6, "data/0")); },
                             "record \"archive/data/0\" is there twice");
  bad = two;
  expect_message<InputError>([&] { parsed(bad.replace(first + 46 + 7, 1, "_")); },
                             "record \"archive_data.pkl\" lies in no folder");
  bad = two;
  bad[first + 21] = bad[first + 25] =
      '\x08';  // the pickle becomes 2 kB and more: each lies in the file, all together do not fit
  expect_message<InputError>([&] { parsed(bad); }, "its records are larger than the file");
}

}  // namespace
}  // namespace graft::testing::test_pickle
