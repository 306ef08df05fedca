// The task that is proposed for a file reads that file, and says what it found.
#include "data/propose.h"

#include <gtest/gtest.h>

#include <tuple>

#include "base/files.h"
#include "tests/data/expect_error.h"

namespace graft::test_propose {
namespace {

Proposal proposed(const std::string& text, TableFormat format = TableFormat::kCsv) {
  return propose_task(parse_table(text, format, "rows"), "rows");
}

// The rows of the same text by the proposed task, which is what a user does next.
std::vector<Example> read_by(const Task& task, const std::string& text,
                             TableFormat format = TableFormat::kCsv) {
  return to_examples(parse_table(text, format, "rows", {.format = {}, .columns = task.columns}),
                     task, LabelUse::kRequired);
}

const Path kTasks = Path(GRAFT_SOURCE_DIR) / "tasks";

bool has_part(const Proposal& found, const std::string& part) {
  return found.yaml.find(part) != std::string::npos;
}

const std::string kTickets =
    "id,subject,category\n"
    "1,my card was charged twice,billing\n"
    "2,the app crashes at start,Bug\n"
    "3,wrong amount on the invoice,Billing \n"
    "4,it crashes again,bug\n"
    "5,refund please,billing\n"
    "6,a crash,bug\n";

TEST(Propose, JoinsSpellingsAndCountsThem) {
  const Proposal found = proposed(kTickets);
  EXPECT_EQ(found.task.labelled()->text.text, "subject");
  EXPECT_EQ(found.task.labelled()->label_column, "category");
  EXPECT_EQ(found.task.id_column, "id");
  EXPECT_EQ(found.task.labels(), (std::vector<std::string>{"billing", "bug"}));
  EXPECT_EQ(found.task.at<Classification>().spellings,
            (std::map<std::string, std::string>{{"Billing ", "billing"}, {"Bug", "bug"}}));
  for (const char* part : {"- \"billing\"                           # 3 rows\n",
                           "\"Billing \": \"billing\"", "# 1 row\n", "# \"rows\": 6 rows\n"})
    EXPECT_NE(found.yaml.find(part), std::string::npos) << part << " is not in:\n" << found.yaml;
  const std::vector<Example> rows = read_by(found.task, kTickets);
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(*rows[2].label, 0);
  EXPECT_EQ(*rows[1].label, 1);
  EXPECT_EQ(parse_task(parse_yaml(found.yaml, "t"), "t"), found.task);
}

TEST(Propose, TellsAFileWithoutAHeaderLine) {
  const std::string text =
      "0,how far is it\n1,who was galileo\n0,how deep is it\n1,who wrote it\n0,how old is it\n";
  const Proposal found = proposed(text);
  EXPECT_EQ(found.task.columns, (std::vector<std::string>{"label", "text"}));
  EXPECT_EQ(found.task.labels(), (std::vector<std::string>{"0", "1"}));
  EXPECT_EQ(read_by(found.task, text).size(), 5u);
  EXPECT_NE(found.yaml.find("the file has no header line"), std::string::npos);
}

// Its first row may have the words of other columns' names.
TEST(Propose, AFirstRowThatNamesAnIdIsNoHeader) {
  const std::string text =
      "0,I want my money back,order id\n1,where is it,order id\n2,it is broken,refund\n"
      "3,pay me back,refund\n4,when does it come,order id\n";
  EXPECT_EQ(proposed(text).task.labels(), (std::vector<std::string>{"order id", "refund"}));
}

TEST(Propose, NumbersInOrderOfTheirSize) {
  std::string text = "text\tstars\n";
  for (int i = 0; i < 40; ++i) text += "a review of some length\t" + std::to_string(i % 11) + "\n";
  EXPECT_EQ(proposed(text, TableFormat::kTsv).task.labels().back(), "10");
}

// Below the normal numbers of a double there are some, too.
TEST(Propose, LabelsMayBeNumbersOfAnySize) {
  EXPECT_EQ(proposed("text,label\na,2\nb,1e-320\nc,no\nd,2\ne,1e-320\nf,no\n").task.labels(),
            (std::vector<std::string>{"1e-320", "2", "no"}));
}

// What pandas makes of whole numbers beside an empty cell.
TEST(Propose, WholeNumbersWithAPointAreLabels) {
  const std::string text = "text,label\na,1.0\nb,0.0\nc,1\nd,0.0\n";
  const Proposal found = proposed(text);
  EXPECT_EQ(found.task.labels(), (std::vector<std::string>{"0", "1"}));
  EXPECT_TRUE(found.task.at<Classification>().spellings.empty());
  EXPECT_NE(found.yaml.find("# 1.0 in a row is the label 1\n"), std::string::npos) << found.yaml;
  EXPECT_EQ(read_by(found.task, text)[0].label, 1.0);
}

TEST(Propose, SaysWhyNumbersAreLabelsOrAmounts) {
  const auto told = [](const std::string& value) {
    std::string text = "review,stars\n";
    for (int i = 0; i < 12; ++i)
      text += "a review of some length," + std::to_string(1 + i % 3) + value + "\n";
    return proposed(text).yaml;
  };
  EXPECT_NE(told(".0").find("kind: classification                    # 3 whole numbers; or "
                            "regression, without the keys from labels on\n"),
            std::string::npos);
  EXPECT_NE(
      told(".5").find("kind: regression                        # the label holds fractions; or "
                      "classification, with labels: [...] and without metrics\n"),
      std::string::npos);
  EXPECT_NE(proposed(kTickets).yaml.find("kind: classification\n"), std::string::npos);
}

// A task's YAML, without --task, of a file of rows.
std::string told_of(const std::string& name, const std::string& text) {
  const Path path = Path(::testing::TempDir()) / name;
  write_file_atomically(path, text);
  const std::string yaml = propose_task(path).yaml;
  std::filesystem::remove(path);
  return yaml;
}

TEST(Propose, TellsOfQuotesThatTsvTakesForLetters) {
  const std::string rows =
      "text\tlabel\n\"he said \"\"hi\"\"\"\t1\nplain\t0\n\"a\" and \"b\"\t1\nmore\t0\n";
  EXPECT_NE(told_of("graft_quotes.tsv", rows)
                .find("# 1 of 4 rows have cells in quotes, which in TSV are letters; where they "
                      "enclose cells,\n# it is CSV with tabs: graft inspect data FILE data_format "
                      "csv\n"),
            std::string::npos);
  EXPECT_EQ(told_of("graft_quotes.csv", "text\tlabel\n\"x\"\t1\ny\t0\n\"z\"\t1\nw\t0\n")
                .find("in quotes"),
            std::string::npos);
}

TEST(Propose, AmountsMakeARegression) {
  std::string text = "sentence1,sentence2,score\n";
  for (int i = 0; i < 8; ++i) text += "one text,another text," + std::to_string(i) + ".5\n";
  const Task task = proposed(text).task;
  EXPECT_EQ(task.kind(), TaskKind::kRegression);
  EXPECT_EQ(task.labelled()->second.value().text, "sentence2");
  EXPECT_EQ(task.labelled()->label_column, "score");
}

// The first of a pair's columns may be what comes again.
TEST(Propose, ALabelIsNoTextOfAPair) {
  const std::string text =
      "sentence1,sentence2\ngood,a fine day\nbad,a grey day\ngood,a blue sky\nbad,a long rain\n";
  const Proposal found = proposed(text);
  EXPECT_EQ(found.task.labelled()->label_column, "sentence1");
  EXPECT_EQ(found.task.labelled()->text.text, "sentence2");
  EXPECT_FALSE(found.task.labelled()->second);
  EXPECT_EQ(read_by(found.task, text).size(), 4u);
}

// Without an ending the rows tell, also behind a byte order mark.
TEST(Propose, TellsTheFormatByTheFirstCharacter) {
  const std::string rows =
      "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n"
      "{\"text\": \"c\", \"label\": \"x\"}\n{\"text\": \"d\", \"label\": \"y\"}\n";
  for (const char* mark : {"", "\xEF\xBB\xBF"}) {
    const std::string yaml = told_of("graft_rows_without_ending", mark + rows);
    EXPECT_NE(yaml.find("format: jsonl\n"), std::string::npos) << yaml;
    EXPECT_NE(yaml.find("label: \"label\"\n"), std::string::npos) << yaml;
  }
}

TEST(Propose, PromptsAndChatsMakeAGeneration) {
  const std::string pairs =
      "{\"instruction\": \"add 1 and 2\", \"output\": \"3\"}\n{\"instruction\": \"name a colour\", "
      "\"output\": \"red\"}\n";
  const Task task = proposed(pairs, TableFormat::kJsonl).task;
  EXPECT_EQ(task.kind(), TaskKind::kGeneration);
  EXPECT_EQ(read_by(task, pairs, TableFormat::kJsonl)[1].at<GenerationRow>().references,
            std::vector<std::string>{"red"});
  const std::string chat =
      "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
      "\"content\": \"b\"}]}\n";
  EXPECT_EQ(proposed(chat, TableFormat::kJsonl).task.at<Generation>().messages_column, "messages");
}

// What stands beside a chat is no label, whatever comes again there.
TEST(Propose, ListsOfTurnsMakeAGeneration) {
  std::string text;
  for (int i = 0; i < 4; ++i)
    text += R"({"title": "talk )" + std::to_string(i) + R"(", "source": ")" +
            (i % 2 == 0 ? "web" : "mail") + R"(", "system": "be brief", "conversations": )" +
            R"([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})" + "\n";
  const Proposal found = proposed(text, TableFormat::kJsonl);
  Task ready = load_task("sharegpt", kTasks);
  ready.name = found.task.name;
  EXPECT_EQ(found.task, ready) << found.yaml;
  EXPECT_TRUE(has_part(found, "# the ready task sharegpt fits, too: task sharegpt\n"));
  EXPECT_TRUE(has_part(found, "# not used: column \"source\", 2 values\n"));
  EXPECT_EQ(read_by(found.task, text, TableFormat::kJsonl)[3].at<GenerationRow>().turns,
            (std::vector<Turn>{{"system", "be brief"}, {"user", "a"}, {"assistant", "b"}}));

  const Proposal other = proposed(
      R"({"dialog": []})"
      "\n"
      R"({"dialog": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
      TableFormat::kJsonl);
  EXPECT_EQ(other.task.at<Generation>().messages_column, "dialog");
  EXPECT_FALSE(other.task.at<Generation>().system_column);
  EXPECT_FALSE(has_part(other, "the ready task")) << other.yaml;
}

TEST(Propose, ListsThatHoldNoTurnsAreNoChat) {
  std::string text;
  for (const char* label : {"x", "y", "x", "y"})
    text += R"({"text": "some words", "spans": [{"begin": 1, "end": 2}], "label": ")" +
            std::string(label) + "\"}\n";
  EXPECT_EQ(proposed(text, TableFormat::kJsonl).task.kind(), TaskKind::kClassification);
}

TEST(Propose, PromptAndCompletionMayBeLists) {
  const std::string text =
      R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]})";
  const Proposal found = proposed(text, TableFormat::kJsonl);
  EXPECT_EQ(found.task.at<Generation>().prompt->text.text, "prompt");
  EXPECT_EQ(found.task.at<Generation>().target->text, "completion");
  EXPECT_EQ(found.task.at<Generation>().chat, "model");
  EXPECT_TRUE(has_part(found, "# the ready task prompt-completion fits, too: "));
  EXPECT_EQ(read_by(found.task, text, TableFormat::kJsonl)[0].at<GenerationRow>().turns,
            (std::vector<Turn>{{"user", "a"}, {"assistant", "b"}}));
  const Task answered =
      proposed(R"({"question": [{"role": "user", "content": "a"}], "answer": "b"})",
               TableFormat::kJsonl)
          .task;
  EXPECT_EQ(answered.at<Generation>().target->text, "answer");
}

// An input that comes again is no label either.
TEST(Propose, InstructionsKeepTheirInput) {
  const std::string text =
      "{\"instruction\": \"add\", \"input\": \"1 and 2\", \"output\": \"3\"}\n"
      "{\"instruction\": \"name a colour\", \"input\": \"\", \"output\": \"red\"}\n"
      "{\"instruction\": \"subtract\", \"input\": \"1 and 2\", \"output\": \"-1\"}\n"
      "{\"instruction\": \"count\", \"input\": \"a b\", \"output\": \"two\"}\n"
      "{\"instruction\": \"join\", \"input\": \"a b\", \"output\": \"ab\"}\n";
  const Proposal found = proposed(text, TableFormat::kJsonl);
  ASSERT_EQ(found.task.kind(), TaskKind::kGeneration) << found.yaml;
  EXPECT_TRUE(has_part(found, "# the ready task alpaca fits, too: task alpaca\n"));
  EXPECT_FALSE(has_part(found, "not used")) << found.yaml;
  const std::vector<Example> rows = read_by(found.task, text, TableFormat::kJsonl);
  EXPECT_EQ(rows[0].text, "add\n\n1 and 2");
  EXPECT_EQ(rows[1].text, "name a colour");
  EXPECT_EQ(rows[0].at<GenerationRow>().target, "3");

  std::string alike;
  for (const char* word : {"a", "b", "c", "d"})
    alike += R"({"instruction": "spell", "input": ")" + std::string(word) + R"(1", "output": ")" +
             word + "2\"}\n" + R"({"instruction": "count", "input": ")" + word +
             R"(3", "output": ")" + word + "4\"}\n";
  EXPECT_EQ(proposed(alike, TableFormat::kJsonl).task.kind(), TaskKind::kGeneration);
}

TEST(Propose, FilesOfOtherSoftwareAreNamed) {
  const auto refusal = [](const std::string& name, const std::string& bytes) {
    const Path path = Path(::testing::TempDir()) / name;
    write_file_atomically(path, bytes);
    const std::string message = input_error([&] { propose_task(path); });
    std::filesystem::remove(path);
    return message;
  };
  const std::string unpack = "; unpack the file first, or pack it with gzip",
                    as_lines = "; write its rows as JSON lines, with pandas: ";
  for (const auto& [name, bytes, part] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"graft_rows.csv.zst", "\x28\xB5\x2F\xFD rest", "a file packed by zstd" + unpack},
           {"graft_rows.xz",
            std::string("\xFD"
                        "7zXZ\0rest",
                        10),
            "a file packed by xz" + unpack},
           {"graft_rows", "BZh91AY&SY rest", "a file packed by bzip2" + unpack},
           {"graft_rows.bz2", "x", "found \".bz2\"" + unpack},
           {"graft_rows.parquet", "PAR1 stub",
            "found \".parquet\"" + as_lines + "read_parquet(FILE).to_json("},
           {"graft_rows.csv", "PAR1\x15\x04 rest", "found a Parquet file" + as_lines},
           {"graft_rows.feather", "x", "found \".feather\"" + as_lines + "read_feather(FILE)"},
           {"graft_rows", std::string("ARROW1\0\0", 8), "found an Arrow file" + as_lines},
           {"graft_rows.arrow", "\xFF\xFF\xFF\xFF", "found an Arrow stream; write its rows"},
           {"graft_rows.xlsx", "x", "save the sheet of rows as CSV"}}) {
    const std::string message = refusal(name, bytes);
    EXPECT_NE(message.find(part), std::string::npos) << name << ": " << message;
  }
}

TEST(Propose, SaysWhatIsEmptyAndWhatIsLeft) {
  const std::string text =
      "body,priority,label\nsome text,1,yes\nmore text,2,\nother text,1,no\nlast text,2,yes\nand "
      "one,1,no\n";
  const Proposal found = proposed(text);
  EXPECT_EQ(found.task.labelled()->label_column, "label");
  for (const char* part : {"# column \"label\" is empty in 1 row, first in line 3\n",
                           "# not used: column \"priority\", 2 values\n"})
    EXPECT_NE(found.yaml.find(part), std::string::npos) << part << " is not in:\n" << found.yaml;
}

TEST(Propose, OfAListItNamesTheEntry) {
  const Proposal found = proposed(
      R"([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}, {"text": "c", "label": null},)"
      R"({"text": "d", "label": "x"}, {"text": "e", "label": "y"}])",
      TableFormat::kJson);
  EXPECT_NE(found.yaml.find("is empty in 1 row, first in entry 3\n"), std::string::npos);
}

TEST(Propose, AMajorityOfFourFifthsIsJudgedByF1) {
  std::string text = "text,label\n";
  for (int i = 0; i < 10; ++i) text += "some text," + std::string(i < 2 ? "spam" : "ham") + "\n";
  EXPECT_EQ(proposed(text).task.primary_metric, "f1_macro");
  EXPECT_EQ(proposed(kTickets).task.primary_metric, "accuracy");
}

TEST(Propose, RefusesWhereNothingLooksLikeALabel) {
  const std::string message = input_error([] { proposed("title,body\na,one\nb,two\nc,three\n"); });
  for (const char* part : {"rows: no column can be told to be a label",
                           "\"title\": 3 values in 3 rows, such as \"a\"", "doc/data.md"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_NE(input_error([] {
              proposed("text;score\na;3,51\nb;2,87\n");
            }).find("\"score\": 2 values in 2 rows, such as \"3,51\"; write 3.51\n"),
            std::string::npos);
}

}  // namespace
}  // namespace graft::test_propose
