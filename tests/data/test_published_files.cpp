// The published files, row by row counted. They are not part of the repository: set GRAFT_DATA_DIR
// to a folder that holds glue/{CoLA,RTE,SST-2}, text/{CR,MR,TREC} and, as its authors ship them,
// nlg, commonsense and arithmetic; without it the test is skipped, as are files that it lacks.
#include <gtest/gtest.h>

#include <cstdlib>

#include "data/task.h"

namespace graft::test_published_files {
namespace {

struct PublishedFile {
  const char* path;
  const char* task;
  std::vector<int64_t> per_label;  // rows of each label, by an independent count (awk)
  const char* first;
};

TEST(PublishedFiles, EveryRowIsRead) {
  const char* const folder = std::getenv("GRAFT_DATA_DIR");
  if (folder == nullptr) GTEST_SKIP() << "GRAFT_DATA_DIR is not set";
  const std::vector<PublishedFile> files = {
      {"glue/CoLA/train.tsv",
       "CoLA",
       {2528, 6023},
       "Our friends won't buy this analysis, let alone the next one we propose."},
      {"glue/CoLA/dev.tsv", "cola", {322, 721}, "The sailors rode the breeze clear of the rocks."},
      {"glue/RTE/train.tsv",
       "RTE",
       {1249, 1241},
       "No Weapons of Mass Destruction Found in Iraq Yet."},
      {"glue/RTE/dev.tsv", "rte", {146, 131}, nullptr},
      {"glue/SST-2/train.tsv", "SST-2", {29780, 37569}, nullptr},
      {"glue/SST-2/dev.tsv", "sst2", {428, 444}, "it 's a charming and often affecting journey . "},
      {"text/CR/train.tsv", "cr", {1078, 1938}, nullptr},
      {"text/CR/dev.tsv", "cr", {288, 467}, nullptr},
      {"text/MR/train.tsv", "mr", {4309, 4220}, nullptr},
      {"text/MR/dev.tsv", "mr", {1022, 1111}, nullptr},
      {"text/TREC/train.csv",
       "trec",
       {1162, 1250, 1223, 896, 835, 86},
       "how did serfdom develop in and then leave russia"},
      {"text/TREC/test.csv",
       "trec",
       {138, 94, 65, 113, 81, 9},
       "how far is it from denver to aspen"},
  };
  for (const PublishedFile& file : files) {
    SCOPED_TRACE(file.path);
    const Task task = load_task(file.task, std::string(GRAFT_SOURCE_DIR) + "/tasks");
    std::vector<int64_t> per_label(task.labels().size());
    const std::vector<Example> examples =
        read_examples(Path(folder) / file.path, task, LabelUse::kRequired);
    for (const Example& example : examples) {
      ++per_label[static_cast<size_t>(example.label.value())];
      EXPECT_EQ(example.second() != nullptr, task.has_second());
      EXPECT_EQ(example.text.find_first_of("\r\n\t"), std::string::npos) << example.line;
    }
    EXPECT_EQ(per_label, file.per_label);
    if (file.first != nullptr) {
      EXPECT_EQ(examples.front().text, file.first);
    }
  }
}

struct PublishedTexts {
  const char* path;
  const char* task;
  size_t rows, prompts;  // texts, different prompts (grep, sort -u and the authors' own counts)
};

TEST(PublishedFiles, EveryTextIsRead) {
  const char* const folder = std::getenv("GRAFT_DATA_DIR");
  if (folder == nullptr || !std::filesystem::exists(Path(folder) / "nlg"))
    GTEST_SKIP() << "GRAFT_DATA_DIR is not set, or has no texts";
  const std::vector<PublishedTexts> files = {
      {"nlg/e2e/valid.txt", "e2e", 4672, 547},
      {"nlg/e2e/test.txt", "e2e", 4693, 630},
      {"nlg/webnlg/dev.json", "webnlg", 2258, 0},
      {"nlg/dart/dart-v1.1.1-full-dev.json", "dart", 6980, 0},
      {"commonsense/ARC-Easy/train.json", "arc-easy", 2251, 0},
      {"commonsense/ARC-Easy/test.json", "arc-easy", 2376, 0},
      {"commonsense/ARC-Challenge/test.json", "arc-challenge", 1172, 0},
      {"commonsense/openbookqa/train.json", "openbookqa", 4957, 0},
      {"commonsense/boolq/train.json", "boolq", 9427, 0},
      {"commonsense/piqa/test.json", "piqa", 1838, 0},
      {"commonsense/social_i_qa/test.json", "siqa", 1954, 0},
      {"commonsense/boolq/test.json", "commonsense", 3270, 0},
      {"commonsense/ARC-Easy/test.json", "commonsense-choice", 2376, 0},
      {"commonsense/piqa/test.json", "commonsense-choice", 1838, 0},
      {"commonsense/boolq/test.json", "commonsense-choice", 3270, 0},
      {"arithmetic/gsm8k/test.json", "gsm8k", 1319, 0},
      {"arithmetic/SVAMP/test.json", "svamp", 1000, 0},
      {"arithmetic/SingleEq/test.json", "singleeq", 508, 0},
      {"arithmetic/AQuA/test.json", "aqua", 254, 0},
      {"commonsense/winogrande/test.json", "winogrande", 1267, 0},
      {"arithmetic/AddSub/test.json", "addsub", 395, 0},
      {"arithmetic/MultiArith/test.json", "multiarith", 600, 0},
      {"arithmetic/mathqa/test.json", "mathqa", 2985, 0},
      {"arithmetic/mawps/testset.json", "mawps", 238, 0},
      {"arithmetic/mawps/trainset.json", "mawps", 1898, 0},
  };
  for (const PublishedTexts& file : files) {
    SCOPED_TRACE(file.path);
    if (!std::filesystem::exists(Path(folder) / file.path)) continue;
    const Task task = load_task(file.task, std::string(GRAFT_SOURCE_DIR) + "/tasks");
    const std::vector<Example> examples =
        read_examples(Path(folder) / file.path, task, LabelUse::kRequired);
    EXPECT_EQ(examples.size(), file.rows);
    if (file.prompts != 0) {
      EXPECT_EQ(join_references(examples, task).size(), file.prompts);
    }
    for (const Example& example : examples) EXPECT_FALSE(example.text.empty());
  }
}

}  // namespace
}  // namespace graft::test_published_files
