// Files: whole reads, mappings, and replacement that leaves the old file or the new one, never a
// part.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/testing.h"

namespace graft::test_files {
namespace {

using testing::expect_message;
using testing::TempFolder;

int64_t num_entries(const Path& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

TEST(Files, AreNotThePointersThatGitLfsKeepsInTheirPlace) {
  const TempFolder folder;
  const Path path = folder / "model.safetensors";
  std::ofstream(path) << "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 90\n";
  const std::string told =
      "found the pointer that Git LFS keeps in its place; fetch it with git "
      "lfs pull";
  expect_message<InputError>([&] { read_file(path); }, told);
  expect_message<InputError>([&] { MappedFile file(path); }, told);
  std::ofstream(path) << "version 2";
  EXPECT_EQ(read_file(path), "version 2");
  EXPECT_EQ(MappedFile(path).bytes().size(), 9U);
}

TEST(Files, WriteAndReadBack) {
  const TempFolder folder;
  const std::string bytes = std::string("a\0b\n", 4) + std::string(200'000, 'x');
  write_file_atomically(folder / "x", bytes);
  EXPECT_EQ(read_file(folder / "x"), bytes);
  write_file_atomically(folder / "x", "");
  EXPECT_EQ(read_file(folder / "x"), "");
  struct stat info {};
  ASSERT_EQ(::stat((folder / "x").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644U);
}

TEST(Files, WriteIntoTheCurrentFolder) {
  const TempFolder folder;
  const Path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_file_atomically("x", "here");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_file(folder / "x"), "here");
}

TEST(Files, AFailingWriteLeavesTheOldFileAndNoTempFile) {
  const TempFolder folder;
  const Path path = folder / "x";
  write_file_atomically(path, "old");
  for (const int64_t budget : {0, 1, 9}) {
    fail_writes_after(budget);
    const std::string message =
        testing::message_of<IoError>([&] { write_file_atomically(path, "0123456789"); });
    fail_writes_after(-1);
    EXPECT_EQ(message, "cannot write '" + path.string() + "': No space left on device");
    EXPECT_EQ(read_file(path), "old");
    EXPECT_EQ(num_entries(folder.path()), 1);
  }
  fail_writes_after(10);
  write_file_atomically(path, "0123456789");  // exactly what fits
  fail_writes_after(-1);
  EXPECT_EQ(read_file(path), "0123456789");
}

TEST(Files, AnExceptionWhileFillingLeavesTheOldFile) {
  const TempFolder folder;
  write_file_atomically(folder / "x", "old");
  expect_message<InputError>(
      [&] { replace_file(folder / "x", [](int) { throw InputError("stop"); }); }, "stop");
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_EQ(num_entries(folder.path()), 1);
}

TEST(Files, ALinkStaysAndItsTargetIsReplaced) {
  const TempFolder folder;
  make_directories(folder / "below");
  write_file_atomically(folder / "below/x", "old");
  std::filesystem::create_symlink("below/x", folder / "link");
  std::filesystem::create_symlink(folder / "link", folder / "chain");
  std::filesystem::create_symlink("below/new", folder / "dangling");
  write_file_atomically(folder / "chain", "bytes");
  write_file_atomically(folder / "dangling", "more");
  for (const char* name : {"link", "chain", "dangling"})
    EXPECT_TRUE(std::filesystem::is_symlink(folder / name)) << name;
  EXPECT_EQ(read_file(folder / "below/x"), "bytes");
  EXPECT_EQ(read_file(folder / "below/new"), "more");
  EXPECT_EQ(num_entries(folder.path()), 4);
  EXPECT_EQ(num_entries(folder / "below"), 2);
  std::filesystem::create_symlink("loop", folder / "loop");
  expect_message<IoError>(
      [&] { write_file_atomically(folder / "loop", "1"); },
      "'" + (folder / "loop").string() + "': Too many levels of symbolic links");
}

TEST(Files, ADeviceTakesTheBytesAndStays) {
  const TempFolder folder;
  std::filesystem::create_symlink("/dev/null", folder / "device");
  write_file_atomically(folder / "device", "gone");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "device"));
  EXPECT_TRUE(std::filesystem::is_character_file(folder / "device"));
  EXPECT_EQ(num_entries(folder.path()), 1);
}

TEST(Files, NameWhatIsWrong) {
  const TempFolder folder;
  const Path missing = folder / "none";
  expect_message<InputError>([&] { read_file(missing); },
                             "'" + missing.string() + "': no such file");
  expect_message<InputError>([&] { read_file(missing / "below"); }, "no such file");
  expect_message<InputError>([&] { read_file(folder.path()); },
                             "expected a file, found a directory");
  expect_message<InputError>([&] { MappedFile file(missing); }, "no such file");
  expect_message<InputError>([&] { MappedFile file(folder.path()); },
                             "expected a file, found a directory");
  expect_message<IoError>([&] { write_file_atomically(missing / "x", "1"); },
                          "cannot create a file beside '" + (missing / "x").string() + "'");
  std::filesystem::create_directory(folder / "taken");
  write_file_atomically(folder / "taken/inner", "1");
  expect_message<IoError>([&] { write_file_atomically(folder / "taken", "1"); }, "cannot replace");
  EXPECT_EQ(num_entries(folder.path()), 1);
  expect_message<IoError>([&] { make_directories(folder / "taken/inner/x"); },
                          "cannot create folder");
  expect_message<IoError>([&] { sync_directory(missing); }, "cannot sync folder");
}

// Endless devices would be read until the memory is full.
TEST(Files, OnlyFilesAndPipesAreRead) {
  const TempFolder folder;
  for (const char* device : {"/dev/zero", "/dev/urandom", "/dev/null"}) {
    const std::string message = std::string("'") + device +
                                "': expected a file or a pipe, found a device, which has no end";
    expect_message<InputError>([&] { read_file(device); }, message);
    expect_message<InputError>([&] { MappedFile file(device); }, "expected a file, found a device");
  }
  std::filesystem::create_symlink("/dev/zero", folder / "link.tsv");
  expect_message<InputError>([&] { read_file(folder / "link.tsv"); },
                             "expected a file or a pipe, found a device");
  const int server = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (folder / "socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(server);
  expect_message<InputError>([&] { read_file(folder / "socket"); },
                             "expected a file, found a socket");
}

TEST(Files, APipeIsReadToItsEnd) {
  const TempFolder folder;
  const Path fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const std::string bytes(300'000, 'x');
  {
    const std::jthread writer([&] { std::ofstream(fifo) << bytes; });
    EXPECT_EQ(read_file(fifo), bytes);
  }
  {
    const std::jthread writer([&] { std::ofstream file(fifo); });  // comes and writes nothing
    EXPECT_EQ(read_file(fifo), "");
  }
  expect_message<InputError>([&] { MappedFile file(fifo); }, "expected a file, found a pipe");
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "abc", 3), 3);
  ::close(ends[1]);
  const Path shell = "/dev/fd/" + std::to_string(ends[0]);  // as a shell gives <(command)
  EXPECT_EQ(read_file(shell), "abc");
  EXPECT_EQ(read_file(shell), "") << "an empty pipe whose writer is gone is not waited for";
  ::close(ends[0]);
}

TEST(Files, MakeDirectoriesIsRepeatable) {
  const TempFolder folder;
  make_directories(folder / "a/b/c");
  make_directories(folder / "a/b/c");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "a/b/c"));
}

TEST(MappedFile, ShowsTheBytes) {
  const TempFolder folder;
  write_file_atomically(folder / "x", "abc");
  const MappedFile file(folder / "x");
  ASSERT_EQ(file.bytes().size(), 3U);
  EXPECT_EQ(std::to_integer<char>(file.bytes()[2]), 'c');
  write_file_atomically(folder / "x", "new");
  EXPECT_EQ(std::to_integer<char>(file.bytes()[2]), 'c')
      << "a replaced file must not change under a mapping";
  write_file_atomically(folder / "empty", "");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
}

}  // namespace
}  // namespace graft::test_files
