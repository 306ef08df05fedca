#include "data/reader.h"

#include <gtest/gtest.h>

#include "base/files.h"
#include "base/random.h"

namespace graft::test_reader {
namespace {

using Cells = std::vector<std::string>;

Table parse(std::string_view text, TableFormat format, std::vector<std::string> columns = {}) {
  return parse_table(text, format, "file", {.format = {}, .columns = std::move(columns)});
}

TEST(Tsv, QuotesAreLettersAndNothingIsTrimmed) {
  const Table table = parse("a\tb\n\"x\t y \" \n\t\n", TableFormat::kTsv);
  EXPECT_EQ(table.columns, (Cells{"a", "b"}));
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].cells, (Cells{"\"x", " y \" "}));
  EXPECT_EQ(table.rows[1].cells, (Cells{"", ""}));
  EXPECT_EQ(table.rows[1].line, 3);
  EXPECT_TRUE(table.has_header);
}

TEST(Tsv, WithoutHeaderTheTaskNamesTheColumns) {
  const Table table =
      parse("gj04\t1\t\tHello", TableFormat::kTsv, {"source", "label", "mark", "sentence"});
  ASSERT_EQ(table.rows.size(), 1u);
  EXPECT_EQ(table.rows[0].cells, (Cells{"gj04", "1", "", "Hello"}));
  EXPECT_EQ(table.rows[0].line, 1);
  EXPECT_FALSE(table.has_header);
}

TEST(Tsv, ByteOrderMarkCrlfAndLastLineWithoutEnd) {
  const Table table = parse("\xEF\xBB\xBFQuality\tb\r\n1\tx\ry\r\n0\tz", TableFormat::kTsv);
  EXPECT_EQ(table.columns[0], "Quality");
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].cells, (Cells{"1", "x\ry"}));  // a bare carriage return is text
  EXPECT_EQ(table.rows[1].cells, (Cells{"0", "z"}));
}

TEST(Tsv, BlankLinesAtTheEndAreNoRowsButInOneColumnTheyAre) {
  EXPECT_EQ(parse("a\tb\n1\t2\n\n\r\n", TableFormat::kTsv).rows.size(), 1u);
  EXPECT_EQ(parse("a\nx\n\ny\n\n", TableFormat::kTsv).rows.size(), 4u);
}

TEST(Csv, QuotedFieldsHoldCommasQuotesAndLineBreaks) {
  const Table table =
      parse("id,text\n1,\"a,\"\"b\"\"\r\nc\"\n2,\"\"\n\"3\",plain 'x'\n", TableFormat::kCsv);
  ASSERT_EQ(table.rows.size(), 3u);
  EXPECT_EQ(table.rows[0].cells, (Cells{"1", "a,\"b\"\r\nc"}));
  EXPECT_EQ(table.rows[1].cells, (Cells{"2", ""}));
  EXPECT_EQ(table.rows[1].line, 4);  // the row before took two lines
  EXPECT_EQ(table.rows[2].cells, (Cells{"3", "plain 'x'"}));
}

TEST(Csv, AnEmptyColumnNameIsAName) {  // pandas writes its index so
  EXPECT_EQ(parse(",text\n0,x\n", TableFormat::kCsv).columns, (Cells{"", "text"}));
}

// Excel writes a comma for every column that was ever touched.
TEST(Csv, FurtherColumnsWithoutANameAreLeftOutWhereTheyAreEmpty) {
  const Table table = parse("text,label,,\nx,1,,\n\"y\",2,,\n", TableFormat::kCsv);
  EXPECT_EQ(table.columns, (Cells{"text", "label", ""}));
  EXPECT_EQ(table.rows[1].cells, (Cells{"y", "2", ""}));
  EXPECT_EQ(table.fields.size(), 4u);
  EXPECT_EQ(parse(",text,\n0,x,\n", TableFormat::kCsv).rows[0].cells, (Cells{"0", "x"}))
      << "the index that pandas writes stays";
}

TEST(Csv, ExcelsLineOfTheSeparatorIsNoRow) {
  for (const char* mark : {"", "\xEF\xBB\xBF"}) {
    const Table table =
        parse(mark + std::string("sep=;\r\ntext;label\r\na, b;1\r\n"), TableFormat::kCsv);
    EXPECT_EQ(table.columns, (Cells{"text", "label"}));
    ASSERT_EQ(table.rows.size(), 1u);
    EXPECT_EQ(table.rows[0].cells, (Cells{"a, b", "1"}));
    EXPECT_EQ(table.rows[0].line, 3);
    EXPECT_EQ(table.delimiter, ';');
  }
  const Table named = parse("sep=|\na|b\n", TableFormat::kCsv, {"x", "y"});
  ASSERT_EQ(named.rows.size(), 1u);
  EXPECT_EQ(named.rows[0].cells, (Cells{"a", "b"}));
  EXPECT_EQ(named.rows[0].line, 2);
  const Table told =
      parse_table("sep=;\na,b\n1,2\n", TableFormat::kCsv, "file", {.delimiter = ','});
  EXPECT_EQ(told.columns, (Cells{"a", "b"})) << "the task says it outright";
  EXPECT_EQ(parse("sep=\n1\n", TableFormat::kCsv).columns, (Cells{"sep="}));
  const Table odd = parse("sep=;\n1\n", TableFormat::kTsv);
  EXPECT_EQ(odd.columns, (Cells{"sep=;"}));
  const Table back = parse(write_table(odd, TableFormat::kCsv), TableFormat::kCsv);
  EXPECT_EQ(back.columns, odd.columns);
  EXPECT_EQ(back.rows[0].cells, odd.rows[0].cells);
}

TEST(JsonLines, CellsKeepTheirKindAndNumbersAreCanonical) {
  const Table table = parse(
      "{\"id\": 7, \"text\": \"a\\n\\u00e9\", \"x\": 1.50}\n"
      "{\"text\": null, \"x\": true, \"id\": 12345678901234567890123, \"y\": {\"k\": [1, null, "
      "\"q\\\"\", false, {}]}}\r\n\n",
      TableFormat::kJsonl);
  EXPECT_EQ(table.columns, (Cells{"id", "text", "x", "y"}));
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].cells, (Cells{"7", "a\n\xC3\xA9", "1.5", ""}));
  EXPECT_EQ(table.rows[0].kinds, (std::vector<CellKind>{CellKind::kNumber, CellKind::kText,
                                                        CellKind::kNumber, CellKind::kMissing}));
  EXPECT_EQ(table.rows[1].cells,
            (Cells{"12345678901234567890123", "", "true", "{\"k\":[1,null,\"q\\\"\",false,{}]}"}));
  EXPECT_EQ(table.rows[1].kinds, (std::vector<CellKind>{CellKind::kNumber, CellKind::kNull,
                                                        CellKind::kBoolean, CellKind::kTree}));
  EXPECT_EQ(table.rows[1].line, 2);
}

TEST(JsonLines, EqualNumbersGiveEqualTexts) {
  for (const char* one : {"1", "1.0", "1e0", "10E-1"}) {
    EXPECT_EQ(parse("{\"a\": " + std::string(one) + "}", TableFormat::kJsonl).rows[0].cells[0], "1")
        << one;
  }
  EXPECT_EQ(parse("{\"a\": -0.0}", TableFormat::kJsonl).rows[0].cells[0], "0");
  EXPECT_EQ(parse("{\"a\": 0.1}", TableFormat::kJsonl).rows[0].cells[0], "0.1");
}

TEST(JsonList, RowsKnowTheirLines) {
  const Table table = parse(
      "[\n  {\"text\": \"a\"},\n  {\n    \"text\": \"b\",\n    \"more\": []\n  }, {\"text\": "
      "\"c\"}\n]\n",
      TableFormat::kJson);
  ASSERT_EQ(table.rows.size(), 3u);
  EXPECT_EQ(table.rows[0].line, 2);
  EXPECT_EQ(table.rows[1].line, 3);
  EXPECT_EQ(table.rows[2].line, 6);
  EXPECT_EQ(table.rows[1].cells, (Cells{"b", "[]"}));
  EXPECT_EQ(table.rows[2].kind(1), CellKind::kMissing);
}

// pandas writes the whole list on one line.
TEST(JsonList, RowsKnowTheirNumber) {
  const Table table = parse(R"([{"text": "a"}, {"text": "b"}])", TableFormat::kJson);
  EXPECT_EQ(table.at(1), "file:1: entry 2: ");
  EXPECT_EQ(parse("{\"text\": \"a\"}\n{\"text\": \"b\"}\n", TableFormat::kJsonl).at(1), "file:2: ");
}

TEST(ReadTable, FormatByExtensionOrByTheCaller) {
  EXPECT_EQ(table_format("a/B.TSV"), TableFormat::kTsv);
  EXPECT_EQ(table_format("x.csv"), TableFormat::kCsv);
  EXPECT_EQ(table_format("x.jsonl"), TableFormat::kJsonl);
  EXPECT_EQ(table_format("x.json"), TableFormat::kJson);
  const Path path = Path(::testing::TempDir()) / "graft_read_table.txt";
  write_file_atomically(path, "a\tb\n1\t2\n");
  EXPECT_EQ(read_table(path, {.format = TableFormat::kTsv, .columns = {}}).rows.size(), 1u);
  std::filesystem::remove(path);
}

std::string random_text(Random& random) {
  static const std::vector<std::string> kPieces = {"a",
                                                   "b c",
                                                   ",",
                                                   "\"",
                                                   "\n",
                                                   "\r\n",
                                                   "\r",
                                                   "\t",
                                                   "\xC3\xA9",
                                                   "\xF0\x9F\x98\x80",
                                                   "\xEF\xBB\xBF",
                                                   "\\",
                                                   " ",
                                                   ""};
  std::string out;
  for (uint64_t i = random.below(5); i > 0; --i) out += kPieces[random.below(kPieces.size())];
  return out;
}

// What write_table writes reads back equal, whatever the cells hold.
TEST(WriteTable, ReadsBackEqual) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(RandomKey{}.with(seed));
    Table table;
    for (uint64_t c = 0; c <= random.below(3); ++c)
      table.columns.push_back(std::to_string(c) + random_text(random));
    for (uint64_t r = 0; r <= random.below(4); ++r) {
      table.rows.emplace_back();
      for (size_t c = 0; c < table.columns.size(); ++c)
        table.rows.back().cells.push_back(random_text(random));
    }
    const auto check = [](const Table& expected, TableFormat format) {
      const Table back = parse(write_table(expected, format), format);
      EXPECT_EQ(back.columns, expected.columns);
      ASSERT_EQ(back.rows.size(), expected.rows.size());
      for (size_t r = 0; r < back.rows.size(); ++r)
        EXPECT_EQ(back.rows[r].cells, expected.rows[r].cells);
    };
    check(table, TableFormat::kCsv);
    check(table, TableFormat::kJsonl);
    const auto flatten = [](std::string& cell) {
      for (char& c : cell) {
        if (c == '\t' || c == '\n' || c == '\r') c = ' ';
      }
    };
    for (std::string& column : table.columns) flatten(column);
    for (Row& row : table.rows) {
      for (std::string& cell : row.cells) flatten(cell);
    }
    check(table, TableFormat::kTsv);
  }
}

}  // namespace
}  // namespace graft::test_reader
