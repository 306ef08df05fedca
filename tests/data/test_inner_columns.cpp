// Columns inside lists and objects of JSON, by paths with dots.
#include "data/inner_columns.h"

#include <gtest/gtest.h>

#include "data/task.h"
#include "tests/data/expect_error.h"

namespace graft::test_inner_columns {
namespace {

Table lines(const std::string& text) { return parse_table(text, TableFormat::kJsonl, "f.jsonl"); }

Task task_of(const std::string& yaml) { return parse_task(parse_yaml(yaml, "t.yaml"), "t.yaml"); }

std::vector<Example> read(const std::string& text, const std::string& yaml,
                          LabelUse use = LabelUse::kRequired) {
  return to_examples(lines(text), task_of(yaml), use);
}

const std::string kTranslation =
    "name: g\nkind: generation\nprompt: translation.en\ntarget: translation.fr\n";
const std::string kClasses = "name: c\ntext: text\nlabel: meta.label\nlabels: [no, yes]\n";

// Each kind of cell is as it would be in a column of its own.
TEST(InnerColumns, ACellIsWhatStandsThere) {
  const std::string row =
      R"({"a": {"t": "x.y", "n": 1.50, "b": true, "0": null, "l": ["p", ["q", 7]], "o": {"t": ""}}})";
  const Table table =
      *with_inner_columns(lines(row), {"a.t", "a.n", "a.b", "a.0", "a.l", "a.l.0", "a.l.1.1", "a.o",
                                       "a.o.t", "a.l.2", "a.t.u", "a.l.-1", "a.l.x", "a."});
  struct Expected {
    const char* name;
    CellKind kind;
    const char* cell;
  };
  const Expected all[] = {{"a.t", CellKind::kText, "x.y"},
                          {"a.n", CellKind::kNumber, "1.5"},
                          {"a.b", CellKind::kBoolean, "true"},
                          {"a.0", CellKind::kNull, ""},
                          {"a.l", CellKind::kTree, R"(["p",["q",7]])"},
                          {"a.l.0", CellKind::kText, "p"},
                          {"a.l.1.1", CellKind::kNumber, "7"},
                          {"a.o", CellKind::kTree, R"({"t":""})"},
                          {"a.o.t", CellKind::kText, ""},
                          {"a.l.2", CellKind::kMissing, ""},
                          {"a.t.u", CellKind::kMissing, ""},
                          {"a.l.-1", CellKind::kMissing, ""},
                          {"a.l.x", CellKind::kMissing, ""},
                          {"a.", CellKind::kMissing, ""}};
  for (const Expected& each : all) {
    SCOPED_TRACE(each.name);
    const std::optional<size_t> column = table.find_column(each.name);
    ASSERT_TRUE(column.has_value());
    EXPECT_EQ(table.rows[0].kind(*column), each.kind);
    std::string cell = table.rows[0].cells[*column];
    std::erase(cell, ' ');
    EXPECT_EQ(cell, each.cell);
  }
  EXPECT_EQ(table.columns.front(), "a");
}

TEST(InnerColumns, ANameThatIsNoPathAddsNothing) {
  const Table json = lines(R"({"a": {"b": "inner"}, "a.b": "whole"})");
  EXPECT_FALSE(with_inner_columns(json, {"a.b", "a", "c.d", ".a", "b"}).has_value());
  const Table csv = parse_table("a,x.y\n1,2\n", TableFormat::kCsv, "f.csv");
  EXPECT_FALSE(with_inner_columns(csv, {"a.b", "x.y"}).has_value());
  const Table flat = lines(R"({"a": "text", "b": 1})");
  EXPECT_FALSE(with_inner_columns(flat, {"a.b", "b.0"}).has_value());
}

TEST(InnerColumns, TheLongestNameThatIsThereCounts) {
  const auto cell = [](const char* row, const char* name) {
    const Table table = *with_inner_columns(lines(row), {name});
    return table.rows[0].cells.back();
  };
  EXPECT_EQ(cell(R"({"a": {"b.c": 1}, "a.b": {"c": 2}})", "a.b.c"), "2");
  EXPECT_EQ(cell(R"({"a": {"b.c": 1, "b": {"c": 2}}})", "a.b.c"), "1");
  EXPECT_EQ(cell(R"({"a": {"b.c": {"x": 1}, "b": {"c": {"d": 2}}}})", "a.b.c.d"), "2");
  EXPECT_EQ(cell(R"({"scores": {"gpt-3.5": "good"}})", "scores.gpt-3.5"), "good");
}

// Another row may be read all the same.
TEST(InnerColumns, ACellThatCannotBeReadIsAFaultOfItsRow) {
  const Table table =
      *with_inner_columns(lines("{\"a\": {\"b\": 1}}\n{\"a\": {\"b\": 1, \"b\": 2}}\n"), {"a.b"});
  EXPECT_EQ(table.rows[0].cells.back(), "1");
  EXPECT_EQ(table.rows[0].fault, "");
  EXPECT_EQ(table.rows[1].fault, "f.jsonl:2: column \"a\":1:8: key \"b\" appears twice");
}

TEST(InnerColumns, RowsOfPublishedForms) {
  const std::vector<Example> pairs = read(
      "{\"id\": \"7\", \"translation\": {\"en\": \"a\", \"fr\": \"b\"}}\n"
      "{\"translation\": {\"fr\": \"d\", \"en\": \"c\"}, \"id\": \"8\"}\n",
      kTranslation + "id: id\n");
  EXPECT_EQ(pairs[0].text, "a");
  EXPECT_EQ(pairs[0].at<GenerationRow>().target, "b");
  EXPECT_EQ(pairs[1].text, "c");
  EXPECT_EQ(pairs[1].id_text, "8");

  const std::vector<Example> answers =
      read(R"({"question": "q", "answers": {"text": ["a", "b"], "answer_start": [1, 2]}})",
           "name: s\nkind: generation\nprompt: \"Question: {question}\"\ntarget: answers.text.0\n"
           "references: answers.text\nmetrics: [exact_match]\n");
  EXPECT_EQ(answers[0].at<GenerationRow>().target, "a");
  EXPECT_EQ(answers[0].at<GenerationRow>().references, (std::vector<std::string>{"a", "b"}));

  const std::vector<Example> choices = read(
      R"({"question": {"stem": "q", "choices": [{"text": "a", "label": "A"}, {"label": "B", "text": "b"}]}, "answerKey": "B"})",
      "name: k\nkind: choice\nprompt: question.stem\noptions: question.choices\n"
      "target: answerKey\n");
  EXPECT_EQ(choices[0].text, "q");
  EXPECT_EQ(choices[0].at<ChoiceRow>().options, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(choices[0].label, 1);

  const std::vector<Example> classes = read(
      "{\"text\": \"{a}\", \"meta\": {\"label\": \"yes\", \"key\": 5}}\n"
      "{\"text\": \"b\", \"meta\": {\"label\": \"no\", \"key\": 6}}\n",
      kClasses + "id: meta.key\n");
  EXPECT_EQ(classes[0].label, 1);
  EXPECT_EQ(classes[1].label, 0);
  EXPECT_EQ(classes[1].id_text, "6");
}

TEST(InnerColumns, WhatARowLacksIsAsWithAnyColumn) {
  const std::string rows =
      "{\"text\": \"a\", \"meta\": {\"label\": \"yes\"}}\n{\"text\": \"b\", \"meta\": {}}\n"
      "{\"text\": \"c\"}\n";
  const std::vector<Example> examples = read(rows, kClasses, LabelUse::kOptional);
  EXPECT_EQ(examples[0].label, 1);
  EXPECT_FALSE(examples[1].label.has_value());
  EXPECT_FALSE(examples[2].label.has_value());
  EXPECT_EQ(input_error([&] { read(rows, kClasses); }),
            "f.jsonl:2: column \"meta.label\": expected a label, found no such key (2 rows); label "
            "every row, or take out those without (on_error skip, where the command has it)");
}

// Rows of another kind have other labels.
TEST(InnerColumns, LabelsThatAreIgnoredAreNotRead) {
  const std::string rows = "{\"text\": \"a\", \"meta\": {\"label\": \"zebra\"}}\n";
  EXPECT_NE(input_error([&] { read(rows, kClasses, LabelUse::kOptional); }).find("zebra"),
            std::string::npos);
  const std::vector<Example> examples = read(rows, kClasses, LabelUse::kIgnored);
  EXPECT_FALSE(examples[0].label.has_value());
}

TEST(InnerColumns, ARowThatIsLeftOutIsCalledByItsId) {
  const Task task = task_of(kClasses + "id: meta.key\n");
  const Table table = lines("{\"text\": 7, \"meta\": {\"label\": \"no\", \"key\": \"k\"}}\n");
  EXPECT_EQ(named_example(table, 0, task).id_text, "k");
  const Table nameless = lines("{\"text\": 7, \"meta\": {\"label\": \"no\"}}\n");
  EXPECT_EQ(named_example(nameless, 0, task).id_text, "0");
}

TEST(InnerColumns, MessagesNameWhatIsInside) {
  const std::string row = R"({"translation": {"en": "a", "fr": "b"}, "notes": ["n"]})";
  const auto fault = [&](const std::string& prompt) {
    return input_error([&] {
      read(row, "name: g\nkind: generation\nprompt: " + prompt + "\ntarget: translation.fr\n");
    });
  };
  const std::string inside =
      "; what is inside is named with dots: translation.en and translation.fr";
  EXPECT_EQ(
      fault("translation"),
      "f.jsonl:1: column \"translation\": expected a text, found a list or an object" + inside);
  EXPECT_EQ(fault("translation.em"),
            "f.jsonl:1: column \"translation.em\": expected a text, found no such key (did you "
            "mean 'translation.en'?)" +
                inside);
  EXPECT_EQ(fault("notes"),
            "f.jsonl:1: column \"notes\": expected a text, found a list or an object; what is "
            "inside is named with dots: notes.0");
  EXPECT_EQ(fault("notes.1"),
            "f.jsonl:1: column \"notes.1\": expected a text, found no such key (did you mean "
            "'notes.0'?); what is inside is named with dots: notes.0");
  EXPECT_EQ(fault("texts.en"),
            "f.jsonl: no column \"texts.en\" for the prompt of task 'g'; columns here: "
            "\"translation\", \"notes\" and \"translation.fr\"");
  EXPECT_EQ(input_error([&] {
              read(R"({"translation": {"en": "a", "en": "b"}})", kTranslation);
            }).substr(0, 49),
            "f.jsonl:1: column \"translation\":1:11: key \"en\" ap");
}

}  // namespace
}  // namespace graft::test_inner_columns
