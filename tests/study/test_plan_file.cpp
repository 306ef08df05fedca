// STUDY.yaml: what it multiplies to, and what is refused with its line and column.
#include "study/plan_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/testing.h"

namespace graft::test_plan_file {
namespace {

using testing::expect_message;

constexpr const char* kStudy = R"(study: few-shot
model: models/minilm
methods:
  lora: lora
  small: {adapter: lora, set: {rank: 2}}
  own: {edits: [{bottleneck: {width: 8}}]}
tasks:
  cola: {task: cola, data: glue/CoLA}
  rte: {task: rte, train: rte.tsv, eval: dev.tsv, set: {max_length: 64}}
set: {epochs: 10, data.eval_rows: 100}
grid:
  rows: [100, 500]
  seed: [1, 2, 3]
together:
  - {batch_size: [8, 32], learning_rate: [1e-3, 2e-3]}
)";

std::vector<std::string> settings_of(const MemberDraft& member) {
  std::vector<std::string> out;
  for (const StudySetting& setting : member.settings)
    out.push_back(setting.key + "=" + setting.value);
  return out;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(PlanFile, MultipliesOut) {
  const StudyFile study = parse_study(kStudy, "s.yaml");
  EXPECT_EQ(study.name, "few-shot");
  EXPECT_EQ(study.model, "models/minilm");
  ASSERT_EQ(study.members.size(), 3u * 2 * 2 * 3 * 2);
  const MemberDraft& first = study.members.front();
  EXPECT_EQ(first.name, "lora, cola, rows 100, seed 1, batch_size 8, learning_rate 1e-3");
  EXPECT_EQ(first.folder, "lora_cola_rows-100_seed-1_batch_size-8_learning_rate-1e-3");
  EXPECT_EQ(first.adapter, "lora");
  EXPECT_EQ(first.task, "cola");
  EXPECT_EQ(first.data, "glue/CoLA");
  EXPECT_EQ(first.method_place, "s.yaml:4:9");
  EXPECT_EQ(settings_of(first),
            (std::vector<std::string>{"data.rows=100", "seed=1", "batch_size=8",
                                      "learning_rate=1e-3", "epochs=10", "data.eval_rows=100"}));
  const MemberDraft& last = study.members.back();
  EXPECT_EQ(last.name, "own, rte, rows 500, seed 3, batch_size 32, learning_rate 2e-3");
  EXPECT_EQ(last.adapter, "");
  EXPECT_EQ(parse_yaml(last.definition, "d"), parse_yaml("edits: [{bottleneck: {width: 8}}]", "d"));
  EXPECT_EQ(last.train, "rte.tsv");
  EXPECT_EQ(settings_of(last)[4], "max_length=64");
  const MemberDraft& small = study.members[24];
  EXPECT_EQ(small.factors.front(), (std::pair<std::string, std::string>{"method", "small"}));
  EXPECT_EQ(small.adapter, "lora");
  EXPECT_EQ(settings_of(small)[4], "rank=2");
  EXPECT_EQ(small.settings[4].place, "s.yaml:5:38");
}

TEST(PlanFile, EveryMemberHasAFolderOfItsOwn) {
  const StudyFile study = parse_study(
      with(kStudy, "[1, 2, 3]", "[\"a b\", \"a-b\", \"a,b\", \"a_b\", \"a-b-2\", \"a-b-3\"]"),
      "s.yaml");
  std::set<std::string> folders;
  for (const MemberDraft& member : study.members) folders.insert(member.folder);
  EXPECT_EQ(folders.size(), study.members.size());
}

TEST(PlanFile, ListsChooseMethodsAndTasks) {
  const StudyFile study = parse_study(
      with(kStudy, "grid:\n", "grid:\n  task: [rte]\n  method: [own, lora]\n"), "s.yaml");
  ASSERT_EQ(study.members.size(), 2u * 2 * 3 * 2);
  EXPECT_EQ(study.members.front().name.substr(0, 9), "own, rte,");
  const StudyFile paired =
      parse_study(with(kStudy, "batch_size: [8, 32]", "method: [own, lora]"), "s.yaml");
  ASSERT_EQ(paired.members.size(), 2u * 2 * 3 * 2);
}

TEST(PlanFile, FaultsAreToldWithTheirPlace) {
  const auto expect = [](const std::string& text, const std::string& message) {
    expect_message<InputError>([&] { parse_study(text, "s.yaml"); }, message);
  };
  expect(with(kStudy, "grid:", "gird:"), "s.yaml:12:3: /gird: unknown key");
  expect(with(kStudy, "[1, 2, 3]", "[]"), "s.yaml:13:9: /grid/seed: expected one or more values");
  expect(with(kStudy, "[1, 2, 3]", "[1, 2, 1]"), "/grid/seed: the value 1 stands twice");
  expect(with(kStudy, "seed: [1, 2, 3]", "dropout: [0.1, 1e-1]"), "the value 1e-1 stands twice");
  expect(with(kStudy, "[1e-3, 2e-3]", "[1e-3]"),
         "s.yaml:15:42: /together/learning_rate: expected 2 values, as batch_size has, found 1");
  expect(with(kStudy, "[8, 32], learning_rate: [1e-3, 2e-3]", "[8, 8], learning_rate: [1, 1]"),
         "values 1 and 2 of every list are the same");
  expect(with(kStudy, "seed: [1, 2, 3]", "epochs: [1, 2]"),
         "the setting \"epochs\" is given at s.yaml:13:12 already");
  expect(with(kStudy, "{rank: 2}", "{epochs: 2}"), "s.yaml:5:40: the setting \"epochs\" is given");
  expect(with(kStudy, "max_length: 64", "batch_size: 4"),
         "\"batch_size\" is given at s.yaml:15:19");
  expect(with(kStudy, "rows: [100, 500]", "method: [lora, smal]"),
         "s.yaml:12:18: unknown method \"smal\" (did you mean 'small'?); there are lora, small");
  expect(with(kStudy, "rows: [100, 500]", "task: [mrpc]"), "unknown task \"mrpc\"");
  expect(with(kStudy, "epochs: 10", "out: runs"),
         "\"out\" is no setting of a study: the folder of the study says it");
  expect(with(kStudy, "epochs: 10", "data.train: x"), "\"data.train\" is no setting of a study");
  expect(with(kStudy, ", data: glue/CoLA", ""), "/tasks/cola: expected data: with a folder");
  expect(with(kStudy, "data: glue/CoLA", "date: glue/CoLA"), "s.yaml:8:28: /tasks/cola/date");
  expect(with(kStudy, "adapter: lora, ", ""), "/methods/small/adapter");
  expect(with(kStudy, "model: models/minilm\n", ""), "/model");
  expect(with(kStudy, "  seed: [1, 2, 3]", "  seed: [1, 2, 3]\n  seed: [4]"), "s.yaml:14:");
  expect("study: a\nmodel: b\nmethods: {}\n",
         "/methods: expected one or more names, such as {lora: lora}");
  // All at once.
  const std::string both = with(with(kStudy, "[100, 500]", "[]"), "[1, 2, 3]", "[1, 1]");
  expect(both, "/grid/rows: expected one or more values");
  expect(both, "/grid/seed: the value 1 stands twice");
}

// The head of each says how many runs it has.
TEST(PlanFile, ReadyStudiesHaveTheRunsThatTheySay) {
  size_t studies = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(Path(GRAFT_SOURCE_DIR) / "studies")) {
    const std::string name = entry.path().filename().string(), text = read_file(entry.path());
    if (!name.ends_with(".yaml") || name.ends_with(".task.yaml")) continue;
    const StudyFile study = parse_study(text, name);
    EXPECT_EQ(study.name + ".yaml", name);
    const std::string size = "# Size:   " + std::to_string(study.members.size()) + " runs";
    EXPECT_NE(text.find(size), std::string::npos) << name << ": expected " << size;
    ++studies;
  }
  EXPECT_GT(studies, 0u);
}

TEST(PlanFile, TooManyMembersAreRefused) {
  std::string list = "[0";
  for (int i = 1; i < 400; ++i) list += ", " + std::to_string(i);
  const std::string text = with(with(kStudy, "[100, 500]", list + "]"), "[1, 2, 3]", list + "]");
  expect_message<InputError>([&] { parse_study(text, "s.yaml"); },
                             "the lists multiply to more than 100000 members");
}

}  // namespace
}  // namespace graft::test_plan_file
