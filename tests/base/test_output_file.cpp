// Files written piece by piece: a regular file appears whole or not at all, what is none takes each
// piece at once.
#include "base/output_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/support/testing.h"

namespace graft::test_output_file {
namespace {

using testing::expect_message;
using testing::TempFolder;

int64_t num_entries(const Path& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

std::string fd_path(int descriptor) { return "/dev/fd/" + std::to_string(descriptor); }

TEST(OutputFile, ARegularFileAppearsAtTheEnd) {
  const TempFolder folder;
  write_file_atomically(folder / "x", "old");
  {
    OutputFile file(folder / "x");
    EXPECT_FALSE(file.is_stream());
    file.write("new ");
    EXPECT_EQ(read_file(folder / "x"), "old");
    file.write("text");
    file.finish();
  }
  EXPECT_EQ(read_file(folder / "x"), "new text");
  EXPECT_EQ(num_entries(folder.path()), 1);
}

TEST(OutputFile, WithoutFinishTheOldFileStays) {
  const TempFolder folder;
  write_file_atomically(folder / "x", "old");
  {
    OutputFile file(folder / "x");
    file.write("half");
  }
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_EQ(num_entries(folder.path()), 1);
  expect_message<IoError>([&] { OutputFile file(folder / "none/x"); },
                          "cannot create a file beside");
}

mode_t mode_of(const Path& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0);
  return info.st_mode & 0777;
}

TEST(OutputFile, WhoMayReadAFileStays) {
  const TempFolder folder;
  for (const mode_t mode : {0600, 0664, 0444}) {
    write_file_atomically(folder / "x", "old");
    ASSERT_EQ(::chmod((folder / "x").c_str(), mode), 0);
    std::filesystem::create_symlink("x", folder / "link");
    write_file_atomically(folder / "link", "new");
    EXPECT_EQ(read_file(folder / "x"), "new");
    EXPECT_EQ(mode_of(folder / "x"), mode);
    std::filesystem::remove(folder / "link");
    std::filesystem::remove(folder / "x");
  }
}

TEST(OutputFile, TheUmaskSaysWhoMayReadANewFile) {
  const TempFolder folder;
  const mode_t before = ::umask(0);
  for (const mode_t mask : {0077, 0022, 0002}) {
    const std::string name = std::to_string(mask);
    ::umask(mask);
    write_file_atomically(folder / name, "new");
    EXPECT_EQ(mode_of(folder / name), 0666 & ~mask);
  }
  ::umask(before);
}

TEST(OutputFile, APipeTakesEachPieceAtOnce) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  OutputFile file(fd_path(ends[1]));
  EXPECT_TRUE(file.is_stream());
  file.write("one");
  char buffer[8];
  EXPECT_EQ(::read(ends[0], buffer, sizeof buffer), 3);
  file.finish();
  EXPECT_EQ(::fcntl(ends[1], F_GETFD) >= 0, true) << "the caller's descriptor stays open";
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(OutputFile, AnOpenRegularFileIsWrittenToWhereItStands) {
  const TempFolder folder;
  write_file_atomically(folder / "log", "head\n");
  const int descriptor = ::open((folder / "log").c_str(), O_WRONLY | O_APPEND);
  ASSERT_GE(descriptor, 0);
  std::filesystem::create_symlink(fd_path(descriptor), folder / "link");
  for (const std::string& path :
       {fd_path(descriptor), "/proc/self/fd/" + std::to_string(descriptor),
        (folder / "link").string()})
    write_file_atomically(path, "more\n");
  EXPECT_EQ(read_file(folder / "log"), "head\nmore\nmore\nmore\n");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(num_entries(folder.path()), 2);
  ::close(descriptor);
}

TEST(NamedDescriptor, OnlyOfThisProcess) {
  const TempFolder folder;
  EXPECT_EQ(named_descriptor("/dev/stdin"), 0);
  EXPECT_EQ(named_descriptor("/dev/stdout"), 1);
  EXPECT_EQ(named_descriptor("/dev/fd/17"), 17);
  EXPECT_EQ(named_descriptor("/proc/self/fd/2"), 2);
  EXPECT_EQ(named_descriptor("/proc/" + std::to_string(::getpid()) + "/fd/2"), 2);
  for (const std::string path : {"", "1", "/dev/null", "/dev/fd", "/dev/fd/", "/dev/fd/x",
                                 "/dev/fd/-1", "/dev/fd/99999999999", "/proc/1/fd/1"})
    EXPECT_EQ(named_descriptor(path), std::nullopt) << path;
  write_file_atomically(folder / "1", "");
  EXPECT_EQ(named_descriptor(folder / "1"), std::nullopt);
}

TEST(NamedDescriptor, IsReadFromWhereItStands) {
  const TempFolder folder;
  write_file_atomically(folder / "x", "first second");
  const int descriptor = ::open((folder / "x").c_str(), O_RDONLY);
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(::lseek(descriptor, 6, SEEK_SET), 6);
  EXPECT_EQ(read_file(fd_path(descriptor)), "second");
  ::close(descriptor);
  expect_message<IoError>([&] { read_file(fd_path(descriptor)); },
                          "cannot open '" + fd_path(descriptor) + "': Bad file descriptor");
  expect_message<IoError>([&] { write_file_atomically(fd_path(descriptor), "x"); },
                          "Bad file descriptor");
}

}  // namespace
}  // namespace graft::test_output_file
