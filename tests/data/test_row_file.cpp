// Rows of a regular file in windows: together they are the file, however it is read; rows with
// faults where these are kept.
#include "data/row_file.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/task.h"
#include "tests/support/testing.h"

namespace graft::test_row_file {
namespace {

using testing::expect_message;
using testing::TempFolder;

// More than a piece of reading; some rows alone have the last columns.
std::string many_lines(int64_t rows) {
  std::string text;
  for (int64_t r = 0; r < rows; ++r) {
    text += "{\"text\": \"row " + std::to_string(r) + " " +
            std::string(static_cast<size_t>(r % 50), 'x') + "\"";
    if (r > rows / 2 && r % 7 == 0) text += ", \"late\": " + std::to_string(r);
    text += "}\n";
  }
  return text;
}

std::string many_cells(int64_t rows) {
  std::string text = "id,text\r\n";
  for (int64_t r = 0; r < rows; ++r)
    text += std::to_string(r) + ",\"line one\nline " +
            std::string(static_cast<size_t>(r % 40), 'y') + "\"\r\n";
  return text;
}

TEST(RowFile, WindowsMakeTheWhole) {
  const TempFolder folder;
  const std::pair<std::string, std::string> files[] = {
      {"a.jsonl", many_lines(5000)},
      {"b.csv", many_cells(4000)},
      {"c.jsonl", many_lines(10)},
      {"d.json", "[{\"a\": 1},\n{\"b\": 2},\n{\"a\": 3}]"},
      {"e.tsv", "a\nx\n\n\ny\n\n"}};
  for (const auto& each : files) {
    const std::string& name = each.first;
    write_file_atomically(folder / name, each.second);
    const Table whole = read_table(folder / name);
    const RowFile file(folder / name, {});
    EXPECT_EQ(file.num_rows(), std::ssize(whole.rows)) << name;
    for (const int64_t window : {2, 1000, 100000}) {
      for (const int64_t first : {int64_t{0}, window}) {
        int64_t next = first;
        file.for_each_window(window, first, [&](const Table& table) {
          EXPECT_EQ(table.first_row, next) << name;
          EXPECT_EQ(table.columns, whole.columns) << name;
          EXPECT_EQ(table.has_header, whole.has_header) << name;
          EXPECT_LE(std::ssize(table.rows), window);
          for (const Row& row : table.rows) {
            const Row& same = whole.rows[static_cast<size_t>(next++)];
            ASSERT_EQ(row.cells, same.cells) << name;
            ASSERT_EQ(row.kinds, same.kinds) << name;
            ASSERT_EQ(row.line, same.line) << name;
          }
        });
        EXPECT_EQ(next, std::max(first, file.num_rows())) << name;
      }
    }
  }
}

TEST(RowFile, FaultsAreThoseOfTheWholeFile) {
  const TempFolder folder;
  write_file_atomically(folder / "a.jsonl", many_lines(4000) + "{\n");
  expect_message<InputError>([&] { RowFile(folder / "a.jsonl", {}); },
                             "a.jsonl:4001:2: not valid JSON");
  write_file_atomically(folder / "b.jsonl.gz", "{}");
  expect_message<InputError>([&] { RowFile(folder / "b.jsonl.gz", {}); }, "gzip");
  expect_message<InputError>([&] { RowFile(folder / "none.txt", {}); }, "no such file");
  expect_message<InputError>([&] { RowFile(folder.path(), {}); },
                             "expected a file, found a directory");
  write_file_atomically(folder / "c.tsv", "");
  expect_message<InputError>([&] { RowFile(folder / "c.tsv", {}); },
                             "expected rows, found an empty file");
}

// The same line of a fault, and the same rows around it, whether a row stands in the first piece or
// in a later one.
TEST(RowFile, FaultyRowsAreKept) {
  const TempFolder folder;
  const std::string good = many_lines(3000);
  write_file_atomically(folder / "a.jsonl", "{\"text\": 1\n" + good + "\xff\n\n" + many_lines(2));
  int64_t rows = 0;
  std::vector<std::string> faults;
  RowFile(folder / "a.jsonl", {.keeps_faulty_rows = true})
      .for_each_window(100, 0, [&](const Table& table) {
        for (const Row& row : table.rows) {
          ++rows;
          if (!row.fault.empty()) faults.push_back(row.fault.substr(row.fault.find("a.jsonl")));
        }
      });
  EXPECT_EQ(rows, 3005);
  ASSERT_EQ(faults.size(), 3U);
  EXPECT_TRUE(faults[0].starts_with("a.jsonl:1:")) << faults[0];
  EXPECT_TRUE(faults[1].starts_with("a.jsonl:3002:1: expected UTF-8")) << faults[1];
  EXPECT_TRUE(
      faults[2].starts_with("a.jsonl:3003:1: expected one object a line, found a blank line"))
      << faults[2];
}

TEST(RowFile, AFaultyRowIsRefusedAsAnExample) {
  const TableOptions keeps{.columns = {"text", "label"}, .keeps_faulty_rows = true};
  const Table table = parse_table("fine\tgood\nsad\n", TableFormat::kTsv, "f.tsv", keeps);
  ASSERT_EQ(table.rows.size(), 2U);
  const Task task = load_task("text:bad,good", "");
  expect_message<InputError>([&] { to_examples(table, task, LabelUse::kOptional); },
                             "f.tsv:2: expected 2 fields (text and label), found 1");
  EXPECT_EQ(named_example(table, 1, task).id_text, "1");
}

}  // namespace
}  // namespace graft::test_row_file
