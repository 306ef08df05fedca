#include "data/task.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace graft::test_task {
namespace {

const Path kTasks = Path(GRAFT_SOURCE_DIR) / "tasks";

TEST(ReadyTasks, AllLoadUnderTheirNameAndReadBackEqual) {
  const std::vector<std::string> names = task_names(kTasks);
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "addsub",    "alpaca",       "aqua",       "arc-challenge", "arc-easy",
                "boolq",     "choice",       "cola",       "commonsense",   "commonsense-choice",
                "cr",        "dart",         "e2e",        "gsm8k",         "gsm8k-reft",
                "hellaswag", "instructions", "mail",       "mathqa",        "mawps",
                "mnli",      "mnli-cloze",   "mpqa",       "mpqa-cloze",    "mr",
                "mrpc",      "multiarith",   "openbookqa", "piqa",          "prompt-completion",
                "qnli",      "qqp",          "qqp-cloze",  "rte",           "rte-cloze",
                "sharegpt",  "singleeq",     "siqa",       "sst2",          "sst2-cloze",
                "stsb",      "subj",         "subj-cloze", "svamp",         "trec",
                "webnlg",    "winogrande"}));
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const Task task = load_task(name, kTasks);
    EXPECT_EQ(task.name, name);
    const Node node = task_to_node(task);
    EXPECT_EQ(parse_task(node, "memory"), task);
    EXPECT_EQ(parse_task(parse_json(to_json(node), "json"), "json"), task);
    EXPECT_EQ(parse_task(parse_yaml(to_yaml(node), "yaml"), "yaml"), task);
  }
}

TEST(ReadyTasks, NamesAsUsersTypeThem) {
  for (const auto& [typed, name] :
       std::vector<std::pair<std::string, std::string>>{{"SST-2", "sst2"},
                                                        {"sst_2", "sst2"},
                                                        {"STS-B", "stsb"},
                                                        {"CoLA", "cola"},
                                                        {"MNLI", "mnli"},
                                                        {"Trec", "trec"},
                                                        {"ARC-Easy", "arc-easy"},
                                                        {"arc_challenge", "arc-challenge"},
                                                        {"WebNLG", "webnlg"}}) {
    EXPECT_EQ(load_task(typed, kTasks).name, name);
  }
}

TEST(ReadyTasks, LabelsAreThePublishedOnes) {
  const Task sst2 = load_task("sst2", kTasks), rte = load_task("rte", kTasks),
             mnli = load_task("mnli", kTasks);
  EXPECT_EQ(sst2.at<Classification>().find_label("1"), 1);
  EXPECT_EQ(sst2.at<Classification>().find_label("positive"), 1);
  EXPECT_EQ(sst2.at<Classification>().find_label("2"), std::nullopt);
  EXPECT_EQ(rte.at<Classification>().find_label("entailment"), 0);
  EXPECT_EQ(rte.at<Classification>().find_label("1"), 1);
  EXPECT_EQ(mnli.at<Classification>().find_label("contradiction"), 2);
  EXPECT_EQ(load_task("stsb", kTasks).num_labels(), 0);
  EXPECT_EQ(load_task("mrpc", kTasks).metrics, (std::vector<std::string>{"accuracy", "f1"}));
  EXPECT_EQ(load_task("cola", kTasks).primary_metric, "matthews");
}

TEST(ShortForm, OneTextAndItsLabels) {
  const Task task = load_task("text:ham,spam,not sure", kTasks);
  EXPECT_EQ(task.labels(), (std::vector<std::string>{"ham", "spam", "not sure"}));
  EXPECT_EQ(task.labelled()->text.text, "text");
  EXPECT_EQ(task.labelled()->label_column, "label");
  EXPECT_EQ(task.primary_metric, "accuracy");
  EXPECT_EQ(parse_task(task_to_node(task), "memory"), task);
}

TEST(TaskFile, EveryKey) {
  const Task task =
      parse_task(parse_yaml("name: pairs\nkind: classification\ntext: a\nsecond: b\nlabel: y\nid: "
                            "key\nlabels: ['no', 'yes']\n"
                            "spellings: {0: 'no', 1: 'yes'}\npositive: 'no'\ncolumns: [key, a, b, "
                            "y]\nformat: csv\ndelimiter: \"\\t\"\n"
                            "metrics: [f1, accuracy]\nprimary: accuracy\nabout: not kept\n",
                            "t"),
                 "t");
  EXPECT_EQ(task.labelled()->second->text, "b");
  EXPECT_EQ(task.id_column, "key");
  EXPECT_EQ(task.at<Classification>().positive, 0);
  EXPECT_EQ(task.format, TableFormat::kCsv);
  EXPECT_EQ(task.delimiter, '\t');
  EXPECT_EQ(task.primary_metric, "accuracy");
  EXPECT_EQ(task.at<Classification>().find_label("0"), 0);
  EXPECT_EQ(parse_task(task_to_node(task), "memory"), task);
  const Path path = Path(::testing::TempDir()) / "graft_task.yaml";
  write_file_atomically(path, to_yaml(task_to_node(task)));
  EXPECT_EQ(load_task(path.string(), kTasks), task);
  std::filesystem::remove(path);
}

TEST(TaskFile, ChangesOfItsKeys) {
  const Task stsb = load_task("stsb", kTasks);
  EXPECT_EQ(stsb.primary_metric, "pearson");
  const Task changed =
      with_options(stsb, parse_yaml("primary: spearman\nleast: 0\nid:\n", "set"), "set");
  EXPECT_EQ(changed.primary_metric, "spearman");
  EXPECT_EQ(changed.at<Regression>().least, 0.0);
  EXPECT_EQ(changed.id_column, std::nullopt);
  EXPECT_EQ(changed.metrics, stsb.metrics);
  EXPECT_EQ(parse_task(task_to_node(changed), "memory"), changed);
}

std::vector<Example> examples_of(const std::string& text, TableFormat format, const Task& task,
                                 LabelUse use = LabelUse::kRequired) {
  return to_examples(parse_table(text, format, "f", {.format = {}, .columns = task.columns}), task,
                     use);
}

TEST(Examples, IdsTextsAndLabels) {
  const Task task = load_task("text:ham,spam", kTasks);
  const auto rows = examples_of(
      "{\"id\": \"x1\", \"text\": \"hello\", \"label\": \"spam\"}\n{\"text\": \"\", \"label\": "
      "\"ham\"}\n"
      "{\"id\": 70, \"label\": \"ham\", \"text\": \"three\"}\n",
      TableFormat::kJsonl, task);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].id, 0);
  EXPECT_EQ(rows[0].id_text, "x1");
  EXPECT_FALSE(rows[0].id_is_number);
  EXPECT_EQ(rows[0].label, 1.0);
  EXPECT_EQ(rows[1].id_text, "1");  // numbered from 0
  EXPECT_TRUE(rows[1].id_is_number);
  EXPECT_EQ(rows[1].text, "");
  EXPECT_EQ(rows[2].id_text, "70");
  EXPECT_TRUE(rows[2].id_is_number);
  EXPECT_EQ(rows[2].id, 2);
  EXPECT_EQ(rows[2].line, 3);
  EXPECT_EQ(rows[2].second(), nullptr);
}

// LiST's files of one data set: one begins with the columns' names, the other with a row.
TEST(Examples, AFileMayLackItsHeaderLine) {
  const Task task =
      parse_task(parse_yaml("name: t\ntext: a\nsecond: b\nlabel: y\nlabels: [n, p]\nid: index\n"
                            "headerless: [key, genre, a, b, y]\n",
                            "t"),
                 "t");
  EXPECT_EQ(parse_task(task_to_node(task), "memory"), task);
  const auto rows = [&](const std::string& text, TableFormat format) {
    return to_examples(parse_table(text, format, "f", table_options(task)), task,
                       LabelUse::kRequired);
  };
  const auto named = rows("index\tb\ta\ty\n7\ttwo\tone\tp\n", TableFormat::kTsv);
  const auto bare = rows("0\tnews\tone\ttwo\tp\n1\tnews\tthree\tfour\tn\n", TableFormat::kTsv);
  ASSERT_EQ(named.size(), 1U);
  ASSERT_EQ(bare.size(), 2U);
  EXPECT_EQ(named[0].id_text, "7");
  EXPECT_EQ(named[0].text, "one");
  EXPECT_EQ(bare[0].text, "one");
  EXPECT_EQ(*bare[0].second(), "two");
  EXPECT_EQ(bare[0].line, 1);
  EXPECT_EQ(bare[1].label, 0.0);
  EXPECT_EQ(*rows("0,news,one,two,p\n", TableFormat::kCsv)[0].second(), "two");
  EXPECT_EQ(rows(R"([{"a": "one", "b": "two", "y": "p"}])", TableFormat::kJson)[0].text, "one")
      << "of tables with lines alone";
}

TEST(Examples, ReadyTasksReadFilesWithAndWithoutNames) {
  const auto read = [](const std::string& name, const std::string& text) {
    const Task task = load_task(name, kTasks);
    return to_examples(parse_table(text, TableFormat::kTsv, "f", table_options(task)), task,
                       LabelUse::kRequired);
  };
  EXPECT_EQ(read("sst2-cloze", "sentence\tlabel\nfine\t1\n")[0].label, 1.0);
  EXPECT_EQ(read("sst2-cloze", "fine\t1\ndull\t0\n").size(), 2U);
  EXPECT_EQ(read("mnli-cloze", "0\tfiction\tIt rains .\tIt is dry .\tcontradiction\n")[0].label,
            2.0);
}

TEST(Examples, LabelsAsNumbersOfJson) {
  const Task task = load_task("sst2", kTasks);
  const auto rows =
      examples_of("[{\"sentence\": \"a\", \"label\": 1}, {\"sentence\": \"b\", \"label\": 0.0}]",
                  TableFormat::kJson, task);
  EXPECT_EQ(rows[0].label, 1.0);
  EXPECT_EQ(rows[1].label, 0.0);
}

// pandas writes whole numbers so where a cell of the column is empty.
TEST(Examples, WholeNumbersMayBeWrittenWithAPoint) {
  const Task sst2 = load_task("sst2", kTasks), named = load_task("text:1,1.0,-2,x.0", kTasks);
  const auto rows = examples_of("sentence,label\na,1.0\nb,0.00\n", TableFormat::kCsv, sst2);
  EXPECT_EQ(rows[0].label, 1.0);
  EXPECT_EQ(rows[1].label, 0.0);
  const auto& labels = named.at<Classification>();
  EXPECT_EQ(labels.find_label("1.0"), 1) << "its own name comes first";
  EXPECT_EQ(labels.find_label("1.00"), 0);
  EXPECT_EQ(labels.find_label("-2.0"), 2);
  for (const char* other : {"1.", ".0", "1.5", "1.0.0", "x", " 1.00", "-.0", "1,0"})
    EXPECT_EQ(labels.find_label(other), std::nullopt) << other;
}

TEST(Examples, PredictionNeedsNoLabels) {
  const Task sst2 = load_task("sst2", kTasks);
  const auto test_file = examples_of("index\tsentence\n0\tuneasy mishmash of styles and genres .\n",
                                     TableFormat::kTsv, sst2, LabelUse::kOptional);
  EXPECT_EQ(test_file[0].label, std::nullopt);
  const auto mixed =
      examples_of("sentence\tlabel\na\t\nb\t1\n", TableFormat::kTsv, sst2, LabelUse::kOptional);
  EXPECT_EQ(mixed[0].label, std::nullopt);
  EXPECT_EQ(mixed[1].label, 1.0);
}

TEST(Examples, PairsAndValues) {
  const Task task = load_task("stsb", kTasks);
  const auto rows =
      examples_of("index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.800\n", TableFormat::kTsv, task);
  EXPECT_EQ(*rows[0].second(), "b");
  EXPECT_EQ(rows[0].label, 3.8);
}

}  // namespace
}  // namespace graft::test_task
