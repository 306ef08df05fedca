// One row for each throw site of the readers.
#include <gtest/gtest.h>

#include "data/reader.h"
#include "tests/data/expect_error.h"

namespace graft::test_reader_messages {
namespace {

struct BadFile {
  const char* what;
  TableFormat format;
  std::string text;
  std::vector<std::string> columns;
  std::string message;
};

const TableFormat kTsv = TableFormat::kTsv, kCsv = TableFormat::kCsv, kJsonl = TableFormat::kJsonl,
                  kJson = TableFormat::kJson;

std::string nested(size_t depth) {
  return "{\"a\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
}

std::string distinct_keys(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += "{\"" + std::to_string(i) + "\":1}\n";
  return out;
}

const std::vector<BadFile>& bad_files() {
  static const std::vector<BadFile> kFiles = {
      {"empty", kTsv, "", {}, "f: expected rows, found an empty file"},
      {"only a mark", kJson, "\xEF\xBB\xBF", {}, "f: expected rows, found an empty file"},
      {"NUL",
       kTsv,
       std::string("a\tb\n1\t\0\n", 8),
       {},
       "f:2:3: expected text, found a NUL byte; is this a binary or UTF-16 file?"},
      {"UTF-16",
       kCsv,
       "\xFF\xFE"
       "a",
       {},
       "f: expected UTF-8, found UTF-16; save the file as UTF-8 (\"CSV UTF-8\" in Excel), or "
       "convert "
       "it with iconv -f UTF-16 -t UTF-8"},
      {"UTF-16, the other order",
       kTsv,
       "\xFE\xFF",
       {},
       "f: expected UTF-8, found UTF-16; save the file as UTF-8 (\"CSV UTF-8\" in Excel), or "
       "convert "
       "it with iconv -f UTF-16 -t UTF-8"},
      {"workbook",
       kCsv,
       "PK\x03\x04 and more",
       {},
       "f: expected text, found an Excel workbook or another ZIP archive; save the sheet of rows "
       "as "
       "CSV, or unpack the archive"},
      {"Latin-1",
       kCsv,
       "a\ncaf\xE9\n",
       {},
       "f:2:4: expected UTF-8, found \"\\xe9\\x0a\"; convert the file first, for instance with "
       "iconv -f WINDOWS-1252 -t UTF-8"},
      {"overlong",
       kTsv,
       "a\n\xC0\xAF\n",
       {},
       "f:2:1: expected UTF-8, found \"\\xc0\\xaf\\x0a\"; convert the file first, for instance "
       "with iconv -f WINDOWS-1252 -t "
       "UTF-8"},
      {"surrogate",
       kTsv,
       "a\n\xED\xA0\x80",
       {},
       "f:2:1: expected UTF-8, found \"\\xed\\xa0\\x80\"; convert the file first, for instance "
       "with iconv -f WINDOWS-1252 -t "
       "UTF-8"},
      {"above U+10FFFF",
       kTsv,
       "a\n\xF4\x90\x80\x80",
       {},
       "f:2:1: expected UTF-8, found \"\\xf4\\x90\\x80\\x80\"; convert the file first, for "
       "instance with iconv -f WINDOWS-1252 "
       "-t UTF-8"},
      {"cut sequence",
       kTsv,
       "a\n\xE2\x82",
       {},
       "f:2:1: expected UTF-8, found \"\\xe2\\x82\"; convert the file first, for instance with "
       "iconv -f WINDOWS-1252 -t UTF-8"},
      {"TSV fields",
       kTsv,
       "a\tb\n1\t2\n1\t2\t3\n",
       {},
       "f:3: expected 2 fields (a and b), found 3; a TSV field holds no tab and no line break: use "
       "CSV with quotes or JSONL"},
      {"TSV fields whose names steer a terminal",
       kTsv,
       "a\t\x1b[31mb\n1\n",
       {},
       "f:2: expected 2 fields (a and \\x1b[31mb), found 1; a TSV field holds no tab and no line "
       "break: use CSV with quotes or JSONL"},
      {"TSV written as CSV with tabs",
       kTsv,
       "a\tb\n\"x\ny\"\t1\n",
       {},
       "f:2: expected 2 fields (a and b), found 1; a TSV field holds no tab and no line break, and "
       "its "
       "quotes are letters; where they enclose fields the file is CSV: data_format csv, or format: "
       "csv in the task"},
      {"TSV with a line break in the last cell",
       kTsv,
       "a\tb\n1\t\"x\nand\ny\"\n",
       {},
       "f:3: expected 2 fields (a and b), found 1; a TSV field holds no tab and no line break, and "
       "its "
       "quotes are letters; where they enclose fields the file is CSV: data_format csv, or format: "
       "csv in the task"},
      {"CSV fields",
       kCsv,
       "1,2\n",
       {"a"},
       "f:1: expected 1 field (a), found 2; a field with a comma or a line break is written in "
       "quotes"},
      {"CSV fields that something else may separate",
       kCsv,
       "text|label\na, b|c\n",
       {},
       "f:2: expected 1 field (text|label), found 2; a field with a comma or a line break is "
       "written in quotes, and delimiter: in the task says what separates fields"},
      {"blank line",
       kTsv,
       "a\tb\n1\t2\n\n1\t2\n",
       {},
       "f:3: expected 2 fields (a and b), found a blank line; remove it"},
      {"duplicate column",
       kCsv,
       "a,b,a\n1,2,3\n",
       {},
       "f:1: column \"a\" appears twice; if the first line is a row and not the columns' names, "
       "list the columns in the task"},
      {"duplicate column behind Excel's line",
       kCsv,
       "sep=;\na;a\n1;2\n",
       {},
       "f:2: column \"a\" appears twice; if the first line is a row and not the columns' names, "
       "list the columns in the task"},
      {"a field without a name",
       kCsv,
       "a,b,,\n1,2,,\n3,4,,x\n",
       {},
       "f:3: field 4 holds \"x\", and the first line has no name for it; name it there, or empty "
       "it; "
       "if the first line is a row, list the columns in the task"},
      {"header only", kTsv, "a\tb\n", {}, "f: expected rows below the columns' names, found none"},
      {"old Mac",
       kTsv,
       "a\tb\r1\t2\r",
       {},
       "f: expected rows below the columns' names, found none; lines end in a bare carriage "
       "return: convert them to line feeds"},
      {"only blank lines",
       kTsv,
       "\n\n",
       {"a", "b"},
       "f: expected rows below the columns' names, found none"},
      {"unclosed quote",
       kCsv,
       "a,b\n1,\"x\ny\n",
       {},
       "f:2:3: this quote is never closed; a quote inside a field in quotes is doubled"},
      {"quote inside",
       kCsv,
       "a,b\n1,x\"y\n",
       {},
       "f:2:4: a quote inside a field without quotes; put the field in quotes and double it, or "
       "use TSV, where a quote is a "
       "letter"},
      {"bare return",
       kCsv,
       "a,b\n1,x\ry\n",
       {},
       "f:2:4: a carriage return without a line feed; put the field in quotes"},
      {"after a quote",
       kCsv,
       "a,b\n\"1\"2,x\n",
       {},
       "f:2:4: expected a comma or the end of the line after a closing quote, found \"2\"; a quote "
       "inside a field in quotes is "
       "doubled"},
      {"JSONL syntax",
       kJsonl,
       "{\"a\": 1}\n{\"a\": }\n",
       {},
       "f:2:7: not valid JSON near \"\\\"a\\\": }\": syntax error"},
      {"JSONL cut",
       kJsonl,
       "{\"a\": 1}\n{\"a\": \"x\n",
       {},
       "f:2:9: not valid JSON near \"\\\"x\": syntax error"},
      {"JSONL two values",
       kJsonl,
       "{\"a\": 1} {\"a\": 2}\n",
       {},
       "f:1:10: not valid JSON near \"1} {\": syntax error"},
      {"JSON number too large",
       kJsonl,
       "{\"a\": 1e999}\n",
       {},
       "f:1:11: not valid JSON near \"1e999\": number overflow"},
      {"JSONL blank line",
       kJsonl,
       "{\"a\": 1}\n \n{\"a\": 1}\n",
       {},
       "f:2:1: expected one object a line, found a blank line; remove it"},
      {"JSONL list",
       kJsonl,
       "[{\"a\": 1}]\n",
       {},
       "f:1:1: expected one object a line, found a list; a file that is one JSON list is named "
       ".json"},
      {"JSONL text",
       kJsonl,
       "{\"a\": 1}\n\"x\"\n",
       {},
       "f:2:3: expected one object a line, found a text"},
      {"JSON object",
       kJson,
       "\n{\"a\": 1}",
       {},
       "f:2:1: expected a list of objects, found an object; a file with one object a line is named "
       ".jsonl"},
      {"JSON number", kJson, "7 ", {}, "f:1:2: expected a list of objects, found a number"},
      {"JSON list of lists",
       kJson,
       "[{\"a\": 1},\n [1]]",
       {},
       "f:2:2: expected an object, found a list"},
      {"JSON list of null", kJson, "[null]", {}, "f:1:5: expected an object, found null"},
      {"JSON list of booleans",
       kJson,
       "[true]",
       {},
       "f:1:5: expected an object, found a truth value"},
      {"duplicate key",
       kJson,
       "[{\"a\": 1, \"a\": 2}]",
       {},
       "f:1:13: key \"a\" appears twice in one object"},
      {"escaped NUL",
       kJsonl,
       "{\"a\": \"x\\u0000\"}",
       {},
       "f:1:15: a text holds the character \\u0000"},
      {"escaped NUL in a key",
       kJsonl,
       "{\"x\\u0000\": 1}",
       {},
       "f:1:10: a key holds the character \\u0000"},
      {"deep", kJsonl, nested(100), {}, "f:1:70: nested deeper than 64 levels"},
      {"many keys", kJsonl, distinct_keys(2000), {}, "too many different keys: "},
      {"empty list", kJson, "[]", {}, "f: expected rows, found none"},
      {"only blanks", kJsonl, " \n", {}, "f: expected rows, found none"},
      {"empty objects",
       kJsonl,
       "{}\n{}\n",
       {},
       "f: expected objects with keys, found empty ones only"},
  };
  return kFiles;
}

TEST(ReaderMessages, EveryBadFile) {
  for (const BadFile& file : bad_files()) {
    SCOPED_TRACE(file.what);
    const std::string message = input_error(
        [&] { parse_table(file.text, file.format, "f", {.format = {}, .columns = file.columns}); });
    const bool is_prefix = file.message.ends_with("syntax error") ||
                           file.message.ends_with("overflow");  // the library's reason follows
    if (file.message.starts_with("too many"))
      EXPECT_NE(message.find(file.message), std::string::npos) << message;
    else
      EXPECT_EQ(is_prefix ? message.substr(0, file.message.size()) : message, file.message)
          << message;
  }
}

TEST(ReaderMessages, FileNames) {
  EXPECT_EQ(input_error([] { table_format("mail.txt"); }),
            "mail.txt: expected a file name ending in .tsv, .csv, .jsonl or .json, or in one of "
            "these and .gz, found \".txt\"; rename "
            "the file, or name its format in the task: format: tsv");
  EXPECT_EQ(input_error([] { table_format("mail.csv.zip"); }),
            "mail.csv.zip: expected a file name ending in .tsv, .csv, .jsonl or .json, or in one "
            "of these and .gz, found \".zip\"; "
            "unpack the file first, or pack it with gzip");
  EXPECT_EQ(input_error([] { table_format("Book.XLSX"); }),
            "Book.XLSX: expected a file name ending in .tsv, .csv, .jsonl or .json, or in one of "
            "these and .gz, found \".xlsx\"; save the sheet of rows as CSV");
  EXPECT_EQ(input_error([] { table_format("rows.parquet"); }),
            "rows.parquet: expected a file name ending in .tsv, .csv, .jsonl or .json, or in one "
            "of these and .gz, found \".parquet\"; write its rows as JSON lines, with pandas: "
            "read_parquet(FILE).to_json(\"rows.jsonl\", orient=\"records\", lines=True)");
  EXPECT_EQ(input_error([] { read_table("nowhere.tsv"); }), "'nowhere.tsv': no such file");
  EXPECT_EQ(input_error([] { read_table("nowhere"); }), "'nowhere': no such file");
  EXPECT_EQ(input_error([] { read_table(::testing::TempDir()); }),
            "'" + ::testing::TempDir() + "': expected a file, found a directory");
}

TEST(ReaderMessages, MissingColumn) {
  const Table table = parse_table("sentense,label\nx,1\n", kCsv, "f", {});
  EXPECT_EQ(input_error([&] { table.column("sentence", "the text of task 'sst2'"); }),
            "f:1: no column \"sentence\" for the text of task 'sst2' (did you mean 'sentense'?); "
            "columns here: \"sentense\" and "
            "\"label\"");
  EXPECT_TRUE(input_error([] {
                parse_table("sep=;\na;b\n1;2\n", kCsv, "f", {}).column("c", "the text");
              }).starts_with("f:2: no column \"c\""));
  const Table json = parse_table("{\"a\": 1}", kJsonl, "f", {});
  EXPECT_EQ(input_error([&] { json.column("text", "the text"); }),
            "f: no column \"text\" for the text; columns here: \"a\"");
}

TEST(ReaderMessages, WritingTsv) {
  Table table;
  table.source = "t";
  table.columns = {"a"};
  table.rows = {{{"x\ty"}, {}, 5}};
  EXPECT_EQ(input_error([&] { write_table(table, kTsv); }),
            "t:5: TSV cannot hold a tab or a line break, found \"x\\x09y\"; write CSV or JSONL");
}

}  // namespace
}  // namespace graft::test_reader_messages
