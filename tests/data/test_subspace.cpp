// The column that names rows of an edit's subspace for each row of the data.
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/task.h"
#include "tests/support/testing.h"

namespace graft::testing::test_subspace {
namespace {

const char* const kTask = "{name: t, text: text, label: label, labels: [a, b], subspace: rows}";

using Rows = std::vector<int64_t>;

std::vector<Example> examples(const std::string& name, const std::string& content,
                              LabelUse use = LabelUse::kRequired) {
  const TempFolder folder;
  write_file_atomically(folder / name, content);
  return read_examples(folder / name, parse_task(parse_yaml(kTask, "task"), "task"), use);
}

// The subspace of one row of JSON whose cell is `cell`.
Rows subspace(const std::string& cell) {
  return examples("a.jsonl", R"({"text": "x", "label": "a", "rows": )" + cell + "}\n")
      .front()
      .subspace;
}

TEST(Subspace, IsAKeyOfATask) {
  const Task task = parse_task(parse_yaml(kTask, "task"), "task");
  EXPECT_EQ(task.subspace_column, "rows");
  EXPECT_EQ(parse_task(task_to_node(task), "again"), task);
  expect_message<InputError>(
      [] {
        parse_task(parse_yaml("{name: t, text: x, label: y, labels: [a, b], subspace: rows, "
                              "columns: [x, y, row]}",
                              "task"),
                   "task");
      },
      "\"rows\" is not in columns (did you mean 'row'?); there are x, y and row");
}

TEST(Subspace, IsAListOrItsText) {
  for (const char* text : {"2 0 5", "0,2,5", " 5 ,2,  0 "})
    EXPECT_EQ(
        examples("a.tsv", std::string("text\tlabel\trows\nx\ta\t") + text + "\n").front().subspace,
        (Rows{0, 2, 5}))
        << text;
  EXPECT_EQ(examples("a.csv", "text,label,rows\nx,a,\"0,1\"\n").front().subspace, (Rows{0, 1}));
  EXPECT_EQ(subspace("[5, 0, 2]"), (Rows{0, 2, 5}));
  EXPECT_EQ(subspace("\"0 5\""), (Rows{0, 5}));
  EXPECT_EQ(subspace("3"), Rows{3});
}

TEST(Subspace, ARowThatNamesNoneHasAll) {
  EXPECT_EQ(examples("a.tsv", "text\tlabel\trows\nx\ta\t\n").front().subspace, Rows{});
  EXPECT_EQ(subspace("null"), Rows{});
  EXPECT_EQ(subspace("\"\""), Rows{});
  EXPECT_EQ(examples("a.jsonl",
                     "{\"text\": \"x\", \"label\": \"a\", \"rows\": [1]}\n"
                     "{\"text\": \"x\", \"label\": \"a\"}\n")
                .back()
                .subspace,
            Rows{});
  EXPECT_EQ(examples("a.tsv", "text\nx\n", LabelUse::kOptional).front().subspace, Rows{});
}

TEST(Subspace, RefusesWhatIsNone) {
  const std::string at = "a.jsonl:1: column \"rows\": ",
                    such = at +
                           "expected rows of a subspace, counted from 0, such as 0 1 2 or "
                           "0,1,2, found ";
  const struct {
    std::string cell, message;
  } rows[] = {
      {"[]", at + "expected rows of a subspace, found an empty list; null says that all act"},
      {"[1, 1]", at + "expected distinct rows, found 1 twice"},
      {"[0, -1]", such + "\"0,-1\""},
      {"[1.5]", such + "\"1.5\""},
      {"[[1]]", such + "\"[1]\""},
      {"[\"1\"]", such + "\"\\\"1\\\"\""},
      {"[true]", such + "\"true\""},
      {"{\"a\": 1}", at + "expected a list of integers, found an object"},
      {"true", at + "expected a list of integers, found a truth value"},
      {"\"0;1\"", such + "\"0;1\""},
      {"\"0,,1\"", such + "\"0,,1\""},
      {"\"0,\"", such + "\"0,\""},
      {"\"0-1\"", such + "\"0-1\""},
      {"\" \"", such + "\" \""},
      {"99999999999999999999", such + "\"99999999999999999999\""},
  };
  for (const auto& row : rows) expect_message<InputError>([&] { subspace(row.cell); }, row.message);
  expect_message<InputError>([&] { examples("a.tsv", "text\tlabel\trow\nx\ta\t0\n"); },
                             "no column \"rows\" for the subspace of task 't'");
}

// Rows with one prompt are one text to write only where the same rows act on it.
TEST(Subspace, KeepsRowsOfOnePromptApart) {
  const Task task = parse_task(
      parse_yaml("{name: t, kind: generation, prompt: q, target: a, group_references: true, "
                 "metrics: [bleu], subspace: rows}",
                 "task"),
      "task");
  const TempFolder folder;
  write_file_atomically(folder / "a.tsv",
                        "q\ta\trows\nx\t1\t0\nx\t2\t1\nx\t3\t0\nx\t4\t\nx\t5\t0 1\n");
  const std::vector<Example> joined =
      join_references(read_examples(folder / "a.tsv", task, LabelUse::kRequired), task);
  ASSERT_EQ(joined.size(), 4U);
  EXPECT_EQ(joined[0].at<GenerationRow>().references, (std::vector<std::string>{"1", "3"}));
  EXPECT_EQ(joined[1].at<GenerationRow>().references, (std::vector<std::string>{"2"}));
}

}  // namespace
}  // namespace graft::testing::test_subspace
