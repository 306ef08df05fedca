// Rows that come piece by piece: the same as those of the whole file, each as soon as it is whole.
#include "data/row_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/error.h"
#include "tests/support/testing.h"

namespace graft::test_row_stream {
namespace {

// A pipe whose reading end has a path.
class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_, O_CLOEXEC) != 0) throw IoError("pipe2 failed");
  }
  ~Pipe() {
    close();
    ::close(ends_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void write(std::string_view text) { write_all(ends_[1], text, "the pipe"); }
  void close() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }
  std::string path() const { return "/dev/fd/" + std::to_string(ends_[0]); }

 private:
  int ends_[2] = {-1, -1};
};

TEST(RowStream, ColumnsWithoutANameAreLeftOutOfEveryPiece) {
  Pipe pipe;
  RowStream stream(pipe.path(), {.format = TableFormat::kCsv, .columns = {}});
  pipe.write("a,b,,\n1,2,,\n");
  EXPECT_EQ(stream.next()->columns, (std::vector<std::string>{"a", "b", ""}));
  pipe.write("3,4,,\n");
  EXPECT_EQ(stream.next()->rows[0].cells, (std::vector<std::string>{"3", "4", ""}));
  pipe.close();
  EXPECT_FALSE(stream.next());
}

TEST(RowStream, ToldNoFormatItSaysWhatItReadsRowsAs) {
  const std::string way_out =
      "; rows without a file name, as of the standard input, are read as JSON lines: data_format "
      "csv, or format: csv in the task, says otherwise";
  const auto message = [](const std::string& text, TableOptions options) -> std::string {
    Pipe pipe;
    RowStream stream(pipe.path(), std::move(options));
    pipe.write(text);
    pipe.close();
    try {
      while (stream.next()) {
      }
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_TRUE(message("text,label\nx,1\n", {}).ends_with(way_out));
  EXPECT_TRUE(message("[{\"text\": \"x\"}]\n", {}).ends_with(way_out));
  EXPECT_FALSE(message("{\"text\": \"x\"}\nx,1\n", {}).ends_with(way_out))
      << "they were JSON lines";
  EXPECT_FALSE(message("text\n", {.format = TableFormat::kJsonl}).ends_with(way_out));
}

TEST(RowStream, GivesARowWhenItIsWhole) {
  Pipe pipe;
  RowStream stream(pipe.path(), {.format = TableFormat::kCsv, .columns = {}});
  pipe.write("a;b\n1;\"x\ny\"\n2;\"half");
  const auto first = stream.next();
  ASSERT_TRUE(first);
  ASSERT_EQ(first->rows.size(), 1U);
  EXPECT_EQ(first->rows[0].cells, (std::vector<std::string>{"1", "x\ny"}));
  pipe.write(" done\"\n3,5;c\n");
  const auto second = stream.next();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->columns, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(second->first_row, 1);
  ASSERT_EQ(second->rows.size(), 2U);
  EXPECT_EQ(second->rows[0].line, 4);
  EXPECT_EQ(second->rows[1].cells, (std::vector<std::string>{"3,5", "c"}))
      << "the delimiter is that of the first line";
  pipe.close();
  EXPECT_FALSE(stream.next());
}

// Neither is it taken for a header, whose rows are still to come.
TEST(RowStream, ExcelsLineOfTheSeparatorIsNoRow) {
  Pipe pipe;
  RowStream stream(pipe.path(), {.format = TableFormat::kCsv, .columns = {}});
  pipe.write("sep=;\na;b\n");
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    pipe.write("1;x, y\n2;half");
  });
  std::optional<Table> first;
  EXPECT_NO_THROW(first = stream.next());
  writer.join();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->columns, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(first->rows.size(), 1U);
  EXPECT_EQ(first->rows[0].cells, (std::vector<std::string>{"1", "x, y"}));
  EXPECT_EQ(first->rows[0].line, 3);
  pipe.write(" done\n");
  const auto second = stream.next();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->rows[0].cells, (std::vector<std::string>{"2", "half done"}));
  EXPECT_EQ(second->rows[0].line, 4);
}

TEST(RowStream, FaultsNameTheLineOfTheFile) {
  Pipe pipe;
  RowStream stream(pipe.path(), {.format = TableFormat::kJsonl, .columns = {}});
  pipe.write("{\"a\": 1}\n{\"a\": 2}\n");
  EXPECT_EQ(stream.next()->rows.size(), 2U);
  pipe.write("\n{\"a\": 3}\n");
  testing::expect_message<InputError>(
      [&] { stream.next(); }, pipe.path() + ":3:1: expected one object a line, found a blank line");
}

// With any line ends, in every format, given before the end of the file is known or after: the
// tables together are the whole.
TEST(RowStream, PiecesMakeTheWhole) {
  const struct {
    TableFormat format;
    std::string text;
  } files[] = {{TableFormat::kTsv, "a\tb\r\n1\t\"\r\n2\t\r\n\r\n\r\n"},
               {TableFormat::kCsv, "a,b\n\"1,\n\n\"\"\",x\n2,\"\"\n3,y"},
               {TableFormat::kJsonl, "{\"a\": \"\\n\", \"b\": [1]}\n{\"b\": null}\n\n \n"},
               {TableFormat::kJson, "[{\"a\": 1},\n{\"a\": 2}]\n"},
               {TableFormat::kTsv, "a\nx\n\n\ny\n\n"}};
  for (const auto& file : files) {
    const Table whole = parse_table(file.text, file.format, "f");
    for (const bool closes_first : {true, false}) {
      Pipe pipe;
      RowStream stream(pipe.path(), {.format = file.format, .columns = {}});
      pipe.write(file.text);
      if (closes_first || file.format == TableFormat::kJson) pipe.close();
      std::vector<Row> rows;
      for (auto table = stream.next(); table; table = stream.next()) {
        EXPECT_EQ(table->first_row, static_cast<int64_t>(rows.size()));
        rows.insert(rows.end(), table->rows.begin(), table->rows.end());
        pipe.close();
      }
      ASSERT_EQ(rows.size(), whole.rows.size()) << file.text;
      for (size_t r = 0; r < rows.size(); ++r) {
        EXPECT_EQ(rows[r].line, whole.rows[r].line);
        for (size_t c = 0; c < rows[r].cells.size(); ++c)
          EXPECT_EQ(rows[r].cells[c], whole.rows[r].cells[c]);
      }
    }
  }
}

TEST(RowStream, ANamedPipeIsOpenedBeforeItsWriterComes) {
  const testing::TempFolder folder;
  const Path path = folder / "x.jsonl";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  RowStream stream(path, {});
  std::thread writer([&] { write_file_atomically(path, "{\"a\": 1}\n{\"a\": 2}"); });
  int64_t rows = 0;
  while (const auto table = stream.next()) rows += std::ssize(table->rows);
  writer.join();
  EXPECT_EQ(rows, 2);
}

// A run of blank lines is looked at once, not from each of its lines on: that would take minutes.
TEST(RowStream, TakesMillionsOfBlankLines) {
  const testing::TempFolder folder;
  const std::string blank(size_t{1} << 21, '\n');
  write_file_atomically(folder / "x.tsv", "a\tb\n1\t2\n" + blank);
  RowStream stream(folder / "x.tsv", {});
  int64_t rows = 0;
  while (const auto table = stream.next()) rows += std::ssize(table->rows);
  EXPECT_EQ(rows, 1);

  const size_t some = size_t{1} << 17;
  const Table table =
      parse_table("a\tb\n" + blank.substr(0, some) + "1\t2\n" + blank.substr(0, some),
                  TableFormat::kTsv, "f", {.format = {}, .keeps_faulty_rows = true});
  EXPECT_EQ(table.rows.size(), some + 1) << "at the end of a file they are no rows";
  EXPECT_EQ(table.rows.front().fault,
            "f:2: expected 2 fields (a and b), found a blank line; remove it");
  EXPECT_EQ(table.rows.back().cells, (std::vector<std::string>{"1", "2"}));
}

// Endless devices would be read until the memory is full.
TEST(RowStream, ADeviceIsRefused) {
  const testing::TempFolder folder;
  std::filesystem::create_symlink("/dev/zero", folder / "x.json");
  testing::expect_message<InputError>(
      [&] { RowStream stream(folder / "x.json", {}); },
      "x.json': expected a file or a pipe, found a device, which has no end");
}

TEST(RowStream, KnowsWhatComesInPieces) {
  const testing::TempFolder folder;
  write_file_atomically(folder / "x", "a");
  const Pipe pipe;
  EXPECT_TRUE(comes_in_pieces(pipe.path()));
  EXPECT_TRUE(comes_in_pieces("/dev/null"));
  EXPECT_FALSE(comes_in_pieces(folder / "x"));
  EXPECT_FALSE(comes_in_pieces(folder.path()));
  EXPECT_FALSE(comes_in_pieces(folder / "none"));
}

}  // namespace
}  // namespace graft::test_row_stream
