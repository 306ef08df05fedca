// One row for each throw site of tasks and examples.
#include <gtest/gtest.h>

#include "data/task.h"
#include "tests/data/expect_error.h"

namespace graft::test_task_messages {
namespace {

const Path kTasks = Path(GRAFT_SOURCE_DIR) / "tasks";
const std::string kNoLabel =
    "; label every row, or take out those without (on_error skip, where the command has it)";

TEST(TaskMessages, Names) {
  const std::string ready =
      "; ready tasks: " + joined(task_names(kTasks)) + "; or name a YAML file, or text:LABEL,LABEL";
  EXPECT_EQ(input_error([] { load_task("sst3", kTasks); }),
            "unknown task \"sst3\" (did you mean 'sst2'?)" + ready);
  EXPECT_EQ(input_error([] { load_task("wikipedia", kTasks); }),
            "unknown task \"wikipedia\"" + ready);
  EXPECT_EQ(input_error([] { load_task("nowhere.yaml", kTasks); }), "'nowhere.yaml': no such file");
  EXPECT_EQ(input_error([] { load_task("./folder/task", kTasks); }),
            "'./folder/task': no such file");
  try {
    load_task("sst2", "nowhere");
    FAIL();
  } catch (const IoError& e) {
    EXPECT_EQ(std::string(e.what()),
              "cannot list the folder of tasks 'nowhere': No such file or directory");
  }
}

TEST(TaskMessages, ShortForm) {
  const std::string way_out = "; the short form is text:LABEL,LABEL, for instance text:ham,spam";
  EXPECT_EQ(input_error([] { load_task("text:ham", kTasks); }),
            "task \"text:ham\": expected at least two labels, found 1" + way_out);
  EXPECT_EQ(input_error([] { load_task("text:ham,", kTasks); }),
            "task \"text:ham,\": a label is empty" + way_out);
  EXPECT_EQ(input_error([] { load_task("text:ham,ham", kTasks); }),
            "task \"text:ham,ham\": label \"ham\" appears twice" + way_out);
  EXPECT_EQ(input_error([] { load_task("text:ham, spam", kTasks); }),
            "task \"text:ham, spam\": label \" spam\" has blanks around it" + way_out);
  std::string many = "text:0";
  for (int i = 1; i <= 10000; ++i) many += "," + std::to_string(i);
  EXPECT_NE(input_error([&] {
              load_task(many, kTasks);
            }).find(": expected at most 10000 labels, found 10001"),
            std::string::npos);
}

TEST(TaskMessages, EveryFaultOfAFile) {
  struct Bad {
    std::string yaml, message;
  };
  const std::string start = "name: t\ntext: a\nlabel: y\n", labels = "labels: [no, yes]\n";
  const std::vector<Bad> cases = {
      {"text: a\nlabel: y\n" + labels, "t.yaml: /name: missing; expected a text"},
      {start, "t.yaml: /labels: missing; expected a text or a list of texts"},
      {start + "labels: [no]\n", "t.yaml:4:9: /labels: expected at least two labels, found 1"},
      {start + labels + "kind: classifcation\n",
       "t.yaml:5:7: /kind: expected classification, regression, generation or choice, found "
       "\"classifcation\" (did you mean "
       "'classification'?)"},
      {start + labels + "second: a\n",
       "t.yaml:5:9: /second: the second text is the same column as the first"},
      {"name: t\ntext: a\nlabel: a\n" + labels,
       "t.yaml:3:8: /label: the label is the same column as the text"},
      {start + labels + "spellings: [0, 1]\n",
       "t.yaml:5:12: /spellings: expected a section such as {\"0\": no}"},
      {start + labels + "spellings: {0: nope}\n",
       "t.yaml:5:12: /spellings: \"0\" stands for \"nope\", which is not one of the labels (did "
       "you mean 'no'?)"},
      {start + labels + "spellings: {yes: no}\n",
       "t.yaml:5:12: /spellings: \"yes\" is itself a label and cannot stand for \"no\""},
      {start + labels + "positive: yess\n",
       "t.yaml:5:11: /positive: expected one of the labels, found \"yess\" (did you mean 'yes'?)"},
      {start + labels + "metrics: []\n",
       "t.yaml:5:10: /metrics: expected at least one of accuracy, f1, f1_macro or matthews"},
      {start + labels + "metrics: acuracy\nprimary: acuracy\n",
       "t.yaml:5:10: /metrics: expected accuracy, f1, f1_macro or matthews, found \"acuracy\" (did "
       "you mean 'accuracy'?)"},
      {start + labels + "metrics: [f1, f1]\n",
       "t.yaml:5:10: /metrics: metric \"f1\" appears twice"},
      {start + "labels: [a, b, c]\nmetrics: [f1]\n",
       "t.yaml:5:10: /metrics: f1 needs two labels; with 3 use f1_macro"},
      {start + labels + "metrics: [f1, accuracy]\nprimary: matthews\n",
       "t.yaml:6:10: /primary: expected one of the task's metrics (f1 and accuracy), found "
       "\"matthews\""},
      {start + labels + "columns: []\n",
       "t.yaml:5:10: /columns: expected the names of the file's columns, in order"},
      {start + labels + "columns: [a, y, a]\n",
       "t.yaml:5:10: /columns: column \"a\" appears twice"},
      {start + labels + "columns: [A1, y]\n",
       "t.yaml:2:7: /text: \"a\" is not in columns; there are A1 and y"},
      {start + labels + "headerless: [a, x]\n",
       "t.yaml:3:8: /label: \"y\" is not in headerless; there are a and x"},
      {start + labels + "columns: [a, y]\nheaderless: [a, y]\n",
       "t.yaml:6:13: /headerless: columns says already that no file has a header line; remove one"},
      {start + labels + "headerless: []\n",
       "t.yaml:5:13: /headerless: expected the names of the file's columns, in order"},
      {start + labels + "least: 0\n", "t.yaml:5:8: /least: unknown key"},
      {start + labels + "format: xls\n",
       "t.yaml:5:9: /format: expected tsv, csv, jsonl, json, e2e, webnlg or dart, found \"xls\""},
      {start + "kind: regression\n" + labels,
       "t.yaml:5:9: /labels: a regression has values, not labels; remove it, or set kind: "
       "classification"},
      {start + "kind: regression\nmetrics: accuracy\n",
       "t.yaml:5:10: /metrics: expected pearson or spearman, found \"accuracy\""},
      {start + labels + "lable: x\n",
       "t.yaml:5:8: /lable: unknown key (did you mean 'label'?); known here: "},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.yaml);
    const std::string message =
        input_error([&] { parse_task(parse_yaml(bad.yaml, "t.yaml"), "t.yaml"); });
    EXPECT_EQ(message.substr(0, bad.message.size()), bad.message) << message;
  }
  // All faults at once.
  const std::string all = input_error(
      [] { parse_task(parse_yaml("name: t\nmetrics: x\nlabels: [a, a]\n", "t.yaml"), "t.yaml"); });
  for (const char* part : {"/text: missing", "/label: missing",
                           "/labels: label \"a\" appears twice", "/metrics: expected"}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
}

TEST(ExampleMessages, EveryBadRow) {
  struct Bad {
    std::string task, text;
    TableFormat format;
    LabelUse use;
    std::string message;
  };
  const TableFormat tsv = TableFormat::kTsv, jsonl = TableFormat::kJsonl;
  const LabelUse required = LabelUse::kRequired, optional = LabelUse::kOptional;
  const std::vector<Bad> cases = {
      {"sst2", "sentence\tlabel\na\tpositiv\n", tsv, required,
       "f:2: column \"label\": unknown label \"positiv\" (did you mean 'positive'?); task 'sst2' "
       "has negative and positive, "
       "written \"0\" for negative, "
       "\"1\" for positive"},
      {"text:ham,spam", "{\"text\": \"a\", \"label\": 7}", jsonl, optional,
       "f:1: column \"label\": unknown label \"7\"; task 'text' has ham and spam"},
      {"cr", "label\ttext\n0\ta\n", tsv, required,
       "f:1: column \"label\": unknown label \"label\"; task 'cr' has negative and positive, "
       "written \"0\" for negative, \"1\" "
       "for positive; the file "
       "seems to begin with a header line: remove it, or write a task without columns"},
      {"sst2", "sentence\tlabel\na\t\n", tsv, required,
       "f:2: column \"label\": expected a label, found an empty field" + kNoLabel},
      {"sst2", "{\"sentence\": \"a\", \"label\": 1}\n{\"sentence\": \"a\"}", jsonl, required,
       "f:2: column \"label\": expected a label, found no such key" + kNoLabel},
      {"sst2", "{\"sentence\": \"a\", \"label\": null}", jsonl, required,
       "f:1: column \"label\": expected a label, found null" + kNoLabel},
      {"sst2", "{\"sentence\": \"a\", \"label\": [1]}", jsonl, optional,
       "f:1: column \"label\": expected a label, found a list or an object"},
      {"sst2", "index\tsentence\n0\ta\n", tsv, required,
       "f:1: no column \"label\" for the label of task 'sst2'; columns here: \"index\" and "
       "\"sentence\""},
      {"sst2", "{\"sentence\": null}", jsonl, optional,
       "f:1: column \"sentence\": expected a text, found null"},
      {"sst2", "{\"sentence\": 12}", jsonl, optional,
       "f:1: column \"sentence\": expected a text, found a number 12; put it in quotes"},
      {"sst2", "{\"sentence\": true}", jsonl, optional,
       "f:1: column \"sentence\": expected a text, found a truth value true; put it in quotes"},
      {"sst2", "{\"sentence\": \"a\"}\n{\"x\": 1}", jsonl, optional,
       "f:2: column \"sentence\": expected a text, found no such key"},
      {"sst2", "{\"sentence\": {}}", jsonl, optional,
       "f:1: column \"sentence\": expected a text, found a list or an object"},
      {"rte", "sentence1\tsentence\na\tb\n", tsv, optional,
       "f:1: no column \"sentence2\" for the second text of task 'rte' (did you mean "
       "'sentence1'?); columns here: \"sentence1\" "
       "and \"sentence\""},
      {"sst2", "index\tsentence\n\ta\n", tsv, optional,
       "f:2: column \"index\": expected an id, found an empty field"},
      {"sst2", "{\"index\": [], \"sentence\": \"a\"}", jsonl, optional,
       "f:1: column \"index\": expected an id (a text or a number), found a list or an object"},
      {"stsb", "sentence1\tsentence2\tscore\na\tb\thigh\n", tsv, required,
       "f:2: column \"score\": expected a finite number, found \"high\""},
      {"stsb", "sentence1\tsentence2\tscore\na\tb\tnan\n", tsv, required,
       "f:2: column \"score\": expected a finite number, found \"nan\""},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.message);
    const Task task = load_task(bad.task, kTasks);
    EXPECT_EQ(input_error([&] {
                to_examples(
                    parse_table(bad.text, bad.format, "f", {.format = {}, .columns = task.columns}),
                    task, bad.use);
              }),
              bad.message);
  }
}

TEST(ExampleMessages, AllUnknownLabelsAtOnce) {
  const Task task = load_task("text:ham,spam", kTasks);
  const auto message = [&](const std::string& rows, LabelUse use) {
    return input_error([&] {
      to_examples(parse_table("text,label\n" + rows, TableFormat::kCsv, "f"), task, use);
    });
  };
  const std::string rows = "a,ham\nb,Spam\nc,\nd,Spam\ne,eggs\nf,\n";
  const std::string
      spam = "f:3: column \"label\": unknown label \"Spam\" (did you mean 'spam'?) (2 rows)\n",
      none = "f:4: column \"label\": expected a label, found an empty field (2 rows)" + kNoLabel +
             "\n",
      eggs = "f:6: column \"label\": unknown label \"eggs\"\n",
      end =
          "task 'text' has ham and spam; graft inspect data FILE proposes a task with all labels "
          "of a file";
  EXPECT_EQ(message(rows, LabelUse::kRequired), spam + none + eggs + end);
  EXPECT_EQ(message(rows, LabelUse::kOptional), spam + eggs + end);
  EXPECT_EQ(message("a,\nb,\nc,ham\n", LabelUse::kRequired),
            "f:2: column \"label\": expected a label, found an empty field (2 rows)" + kNoLabel);
  std::string many;
  for (int i = 0; i < 60; ++i) many += "a,l" + std::to_string(i) + "\n";
  EXPECT_NE(message(many, LabelUse::kRequired).find("\n10 more unknown labels\n"),
            std::string::npos);
}

TEST(ExampleMessages, ValuesThatAreNoneAreCounted) {
  const Task task = load_task("stsb", kTasks);
  const auto message = [&](const std::string& rows) {
    return input_error([&] {
      to_examples(parse_table("sentence1,sentence2,score\n" + rows, TableFormat::kCsv, "f"), task,
                  LabelUse::kRequired);
    });
  };
  EXPECT_EQ(message("a,b,1\na,b,\na,b,2\na,b,\n"),
            "f:3: column \"score\": expected a label, found an empty field (2 rows)" + kNoLabel);
  EXPECT_EQ(message("a,b,\"3,51\"\na,b,\"-2,7\"\n"),
            "f:2: column \"score\": expected a finite number, found \"3,51\" (2 rows); write 3.51");
  EXPECT_EQ(message("a,b,\"1,234,5\"\n"),
            "f:2: column \"score\": expected a finite number, found \"1,234,5\"");
  EXPECT_EQ(message("a,b,\na,b,high\n"),
            "f:2: column \"score\": expected a label, found an empty field" + kNoLabel +
                "\nf:3: column \"score\": expected a finite number, found \"high\"");
}

TEST(ExampleMessages, ARowOfAListIsNamedByItsNumber) {
  EXPECT_EQ(input_error([] {
              to_examples(parse_table(R"([{"text": "a", "label": "ham"}, {"text": 7}])",
                                      TableFormat::kJson, "f"),
                          load_task("text:ham,spam", kTasks), LabelUse::kOptional);
            }),
            "f:1: entry 2: column \"text\": expected a text, found a number 7; put it in quotes");
}

TEST(ExampleMessages, ManyLabelsAreCut) {
  std::string form = "text:l0";
  for (int i = 1; i < 30; ++i) form += ",l" + std::to_string(i);
  const Task task = load_task(form, kTasks);
  const std::string message = input_error([&] {
    to_examples(parse_table("text,label\na,zebra\n", TableFormat::kCsv, "f"), task,
                LabelUse::kRequired);
  });
  EXPECT_NE(message.find("l18, l19 and 10 more"), std::string::npos) << message;
}

}  // namespace
}  // namespace graft::test_task_messages
