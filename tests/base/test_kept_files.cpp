// Files of a job that was cut: it goes on behind its last commit, or says why it cannot.
#include "base/kept_files.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/testing.h"

namespace graft::test_kept_files {
namespace {

using testing::expect_message;
using testing::TempFolder;
using Start = KeptFiles::Start;

const Node kAbout = Node::map({{"--precision", Node::text("fp32")},
                               {"--columns", Node::text("")},
                               {"the data", Node::text(std::string(64, 'a'))}});

Node state(int64_t rows) { return Node::map({{"rows", Node::integer(rows)}}); }

std::vector<std::string> names_in(const Path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// A job of two files that is cut behind its second commit, within a piece.
void begin(const TempFolder& folder) {
  KeptFiles files({folder / "x", folder / "y"}, kAbout, Start::kAnew);
  EXPECT_FALSE(files.state());
  files.file(0).write("one ");
  files.file(1).write("1");
  files.commit(state(1));
  files.file(0).write("two ");
  files.commit(state(2));
  files.file(0).write("half of thr");
}

TEST(KeptFiles, GoOnBehindTheLastCommit) {
  const TempFolder folder;
  begin(folder);
  EXPECT_EQ(names_in(folder.path()),
            (std::vector<std::string>{".x.partial", ".x.progress", ".y.partial"}));
  EXPECT_TRUE(has_kept_part(folder / "x"));
  KeptFiles files({folder / "x", folder / "y"}, kAbout, Start::kGoOn);
  ASSERT_TRUE(files.state());
  EXPECT_EQ(*files.state(), state(2));
  files.file(0).write("three");
  files.file(1).write("3");
  files.finish(state(3));
  EXPECT_EQ(read_file(folder / "x"), "one two three");
  EXPECT_EQ(read_file(folder / "y"), "13");
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"x", "y"}));
}

TEST(KeptFiles, OfAnUnfinishedPieceNothingIsKept) {
  const TempFolder folder;
  {
    KeptFiles files({folder / "x"}, kAbout, Start::kAnew);
    files.file(0).write("half");
  }
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{});
}

TEST(KeptFiles, BeginAnew) {
  const TempFolder folder;
  begin(folder);
  KeptFiles files({folder / "x", folder / "y"}, kAbout, Start::kAnew);
  EXPECT_FALSE(files.state());
  files.file(0).write("new");
  files.finish(state(1));
  EXPECT_EQ(read_file(folder / "x"), "new");
  EXPECT_EQ(read_file(folder / "y"), "");
}

TEST(KeptFiles, WithNothingThereTheyBegin) {
  const TempFolder folder;
  KeptFiles files({folder / "x"}, kAbout, Start::kGoOn);
  EXPECT_FALSE(files.state());
  EXPECT_FALSE(files.is_finished());
}

// The process ended between the last commit and the removal of the progress file, at each moment of
// it.
TEST(KeptFiles, FilesOfAFinishedJobFindTheirPlaces) {
  for (const bool y_is_in_place : {false, true}) {
    for (const bool x_is_in_place : {false, true}) {
      if (x_is_in_place && !y_is_in_place) continue;  // the first comes last
      const TempFolder folder;
      begin(folder);
      const std::string progress = read_file(folder / ".x.progress");
      const size_t last = progress.rfind("false");
      write_file_atomically(folder / ".x.progress",
                            progress.substr(0, last) + "true" + progress.substr(last + 5));
      std::filesystem::resize_file(folder / ".x.partial", 8);
      if (y_is_in_place) std::filesystem::rename(folder / ".y.partial", folder / "y");
      if (x_is_in_place) std::filesystem::rename(folder / ".x.partial", folder / "x");
      const KeptFiles files({folder / "x", folder / "y"}, kAbout, Start::kGoOn);
      EXPECT_TRUE(files.is_finished());
      EXPECT_EQ(*files.state(), state(2));
      EXPECT_EQ(read_file(folder / "x"), "one two ");
      EXPECT_EQ(read_file(folder / "y"), "1");
      EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"x", "y"}));
    }
  }
}

TEST(KeptFiles, NameWhatDiffers) {
  const TempFolder folder;
  begin(folder);
  Node other = kAbout;
  other["--precision"] = Node::text("bf16");
  other["--columns"] = Node::text("id");
  other["the data"] = Node::text(std::string(64, 'b'));
  expect_message<InputError>(
      [&] {
        KeptFiles({folder / "x", folder / "y"}, other, Start::kGoOn);
      },
      "resume: '" + (folder / "x").string() +
          "' was begun otherwise: --precision was fp32, now bf16, --columns was not given, now id "
          "and the "
          "data has changed; give what it was begun with, or leave resume out to begin anew");
  EXPECT_EQ(names_in(folder.path()).size(), 3U) << "a later process may still go on";
}

// A flag that was given and is now left out has no entry any more.
TEST(KeptFiles, NameWhatIsGivenNoMore) {
  const TempFolder folder;
  Node gated = kAbout;
  gated["--gate"] = Node::text("0.5");
  {
    KeptFiles files({folder / "x"}, gated, Start::kAnew);
    files.file(0).write("one ");
    files.commit(state(1));
  }
  expect_message<InputError>([&] { KeptFiles({folder / "x"}, kAbout, Start::kGoOn); },
                             "was begun otherwise: --gate was 0.5, now not given; give what");
  const KeptFiles files({folder / "x"}, gated, Start::kGoOn);
  EXPECT_TRUE(files.state());
}

TEST(KeptFiles, ProgressThatIsCut) {
  const TempFolder folder;
  begin(folder);
  const std::string progress = read_file(folder / ".x.progress");
  write_file_atomically(
      folder / ".x.progress",
      progress.substr(0, progress.size() - 1));  // without the end of its last line
  KeptFiles files({folder / "x", folder / "y"}, kAbout, Start::kGoOn);
  EXPECT_EQ(*files.state(), state(1));
  files.file(0).write("more");
  files.finish(state(2));
  EXPECT_EQ(read_file(folder / "x"), "one more");
}

TEST(KeptFiles, APartThatLostBytes) {
  const TempFolder folder;
  begin(folder);
  std::filesystem::resize_file(folder / ".x.partial", 5);
  expect_message<InputError>(
      [&] {
        KeptFiles({folder / "x", folder / "y"}, kAbout, Start::kGoOn);
      },
      ".x.partial': expected at least 8 bytes, found 5; begin anew");
}

TEST(KeptFiles, OneProcessAtATime) {
  const TempFolder folder;
  KeptFiles first({folder / "x"}, kAbout, Start::kAnew);
  first.file(0).write("a");
  first.commit(state(1));
  for (const Start start : {Start::kAnew, Start::kGoOn})
    expect_message<IoError>([&] { KeptFiles({folder / "x"}, kAbout, start); },
                            "x': another process is writing it; wait for it, or stop it first");
  first.file(0).write("b");
  first.finish(state(2));
  EXPECT_EQ(read_file(folder / "x"), "ab");
}

TEST(KeptFiles, ADiskThatIsFull) {
  const TempFolder folder;
  {
    KeptFiles files({folder / "x"}, kAbout, Start::kAnew);
    files.file(0).write("one ");
    files.commit(state(1));
    fail_writes_after(2);
    expect_message<IoError>([&] { files.file(0).write("two "); }, "No space left");
    fail_writes_after(-1);
  }
  KeptFiles files({folder / "x"}, kAbout, Start::kGoOn);
  files.file(0).write("two");
  files.finish(state(2));
  EXPECT_EQ(read_file(folder / "x"), "one two");
  fail_writes_after(2);
  expect_message<IoError>([&] { KeptFiles({folder / "z"}, kAbout, Start::kAnew); },
                          "No space left");
  fail_writes_after(-1);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"x"});
}

TEST(KeptFiles, LieBesideWhatALinkNames) {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "d");
  write_file_atomically(folder / "d/target", "old");
  std::filesystem::create_symlink("d/target", folder / "link");
  KeptFiles files({folder / "link"}, kAbout, Start::kAnew);
  files.file(0).write("new");
  files.commit(state(1));
  EXPECT_TRUE(std::filesystem::exists(folder / "d/.target.partial"));
  EXPECT_EQ(read_file(folder / "link"), "old");
  files.finish(state(1));
  EXPECT_EQ(read_file(folder / "d/target"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
}

}  // namespace
}  // namespace graft::test_kept_files
