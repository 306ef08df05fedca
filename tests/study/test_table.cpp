// A study's tables: cells, pairs and ranks of results that are made up, so that each number is
// known.
#include "study/table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "study/table_text.h"
#include "tests/support/testing.h"

namespace graft::test_table {
namespace {

using testing::expect_message;
using testing::TempFolder;

constexpr int kSeeds = 7;
const std::vector<std::string> kMethods = {"lora", "head", "odd|_one"};

StudyPlan plan_of() {
  StudyPlan plan{"made", "", {}};
  for (const std::string& method : kMethods) {
    for (const char* rows : {"100", "500"}) {
      for (int seed = 1; seed <= kSeeds; ++seed) {
        const std::string number = std::to_string(seed);
        plan.members.push_back({method + ", rows " + rows + ", seed " + number,
                                {{"method", method}, {"rows", rows}, {"seed", number}},
                                "{}"});
      }
    }
  }
  return plan;
}

// Of 100 rows the answers that make `right` of them right; which ones moves with the seed.
MemberResult result_of(int right, int seed) {
  MemberResult result;
  const double accuracy = right / 100.0;
  result.scores = {{"eval", "accuracy", accuracy}, {"eval", "loss", 1 - accuracy}};
  for (int64_t row = 0; row < 100; ++row) {
    const bool is_right = (row + seed) % 100 < right;
    result.answers.push_back({"eval", row, std::to_string(row), row % 2 ? "yes" : "no",
                              (row % 2 == 1) == is_right ? "yes" : "no"});
  }
  result.facts = {{"edit_parameters", 1200}};
  result.readings = {{"seconds", 2.0 + seed}};
  return result;
}

int right_of(const std::string& method, const std::string& rows, int seed) {
  const int more = rows == "500" ? 10 : 0;
  if (method == "lora") return 80 + more + seed % 3;
  if (method == "head") return 70 + more + seed % 2;
  return 79 + more + seed % 4;
}

StudyStore full_store(const Path& path) {
  const StudyPlan plan = plan_of();
  StudyStore store = StudyStore::open(path, plan);
  for (size_t i = 0; i < plan.members.size(); ++i) {
    const PlannedMember& each = plan.members[i];
    const int seed = std::stoi(*each.factor("seed"));
    store.finish(i, result_of(right_of(*each.factor("method"), *each.factor("rows"), seed), seed));
  }
  return store;
}

TEST(StudyTable, CellsHaveMeanIntervalAndAgreement) {
  const TempFolder folder;
  const StudyTable table = make_table(full_store(folder / "s.db"));
  EXPECT_EQ(table.side, "eval");
  ASSERT_EQ(table.cells.size(), 6u);
  const ResultCell& cell = table.cells[0];
  EXPECT_EQ(cell.factors, (Factors{{"method", "lora"}, {"rows", "100"}}));
  EXPECT_EQ(cell.metric, "accuracy");
  ASSERT_EQ(cell.by_seed.size(), 7u);
  EXPECT_NEAR(cell.summary.mean, (81 + 82 + 80 + 81 + 82 + 80 + 81) / 700.0, 1e-12);
  EXPECT_EQ(*cell.interval,
            *student_interval(std::vector<double>{.81, .82, .80, .81, .82, .80, .81}));
  EXPECT_EQ(cell.parameters, 1200);
  EXPECT_EQ(cell.seconds, 6);
  ASSERT_TRUE(cell.agreement && cell.kappa);
  EXPECT_GT(*cell.agreement, 0.9);
  EXPECT_LT(*cell.kappa, *cell.agreement);
}

TEST(StudyTable, MethodsAreComparedSeedBySeed) {
  const TempFolder folder;
  const StudyTable table = make_table(full_store(folder / "s.db"));
  ASSERT_EQ(table.comparisons.size(), 6u);  // three pairs at two sizes
  const Comparison& apart = table.comparisons[0];
  EXPECT_EQ(apart.first, "lora");
  EXPECT_EQ(apart.second, "head");
  EXPECT_EQ(apart.group, (Factors{{"rows", "100"}}));
  ASSERT_EQ(apart.differences.size(), 7u);
  EXPECT_NEAR(apart.differences[0], 0.10, 1e-12);  // 81 - 71
  EXPECT_EQ(apart.flips.p, 2.0 / 128);
  // Four of six comparisons have this p, the smallest there is with seven pairs.
  EXPECT_EQ(apart.holm_p, 6 * 2.0 / 128);
  EXPECT_FALSE(apart.is_decided);
  EXPECT_GT(*apart.needed, 7);
  ASSERT_TRUE(apart.rows);
  EXPECT_GT(apart.rows->only_first, apart.rows->only_second);
  const StudyTable two = make_table(full_store(folder / "t.db"), {.baseline = "head"});
  ASSERT_EQ(two.comparisons.size(), 4u);
  EXPECT_EQ(two.comparisons[0].holm_p, 4 * 2.0 / 128);
  for (const Comparison& each : two.comparisons) EXPECT_EQ(each.second, "head");
  const StudyTable loose =
      make_table(full_store(folder / "u.db"), {.baseline = "head", .alpha = 0.07});
  EXPECT_TRUE(loose.comparisons[0].is_decided);
  EXPECT_FALSE(loose.comparisons[0].needed);
}

TEST(StudyTable, LessOfALossIsBetter) {
  const TempFolder folder;
  const StudyTable table = make_table(full_store(folder / "s.db"), {.metric = "loss"});
  EXPECT_EQ(table.cells[0].metric, "loss");
  EXPECT_NEAR(table.cells[0].summary.mean, 1 - (81 + 82 + 80 + 81 + 82 + 80 + 81) / 700.0, 1e-12);
  EXPECT_NEAR(table.comparisons[0].differences[0], 0.10, 1e-12);
}

TEST(StudyTable, TheBestOfMoreTriesIsBetter) {
  const TempFolder folder;
  const StudyStore store = full_store(folder / "s.db");
  const std::vector<double> accuracy = make_table(store, {.metric = "accuracy"}).cells[0].best_of,
                            loss = make_table(store, {.metric = "loss"}).cells[0].best_of;
  ASSERT_EQ(accuracy.size(), 7u);
  ASSERT_EQ(loss.size(), 7u);
  EXPECT_NEAR(accuracy[0], 567 / 700.0, 1e-12) << "one try is worth the mean";
  for (size_t n = 0; n < 7; ++n)
    EXPECT_NEAR(loss[n], 1 - accuracy[n], 1e-12) << "as each loss is 1 - accuracy";
  for (size_t n = 1; n < 7; ++n) EXPECT_LT(loss[n], loss[n - 1]) << n;
}

TEST(StudyTable, LessForgettingIsBetter) {
  StudyPlan plan{"made", "", {}};
  for (const char* method : {"lora", "full"})
    plan.members.push_back({method, {{"method", method}, {"seed", "1"}}, "{}"});
  StudyStore store = StudyStore::in_memory(plan);
  for (const size_t member : {0U, 1U}) {
    MemberResult result;
    result.scores = {{"plain", "forgetting", member == 0 ? 0.25 : 1.5}};
    result.readings = {{"seconds", 12345.4}};
    store.finish(member, result);
  }
  const StudyTable table = make_table(store, {.side = "plain"});
  ASSERT_EQ(table.comparisons.size(), 1u);
  EXPECT_EQ(table.comparisons[0].differences, std::vector<double>{1.25});
  ASSERT_EQ(table.ranks.size(), 2u);
  EXPECT_EQ(table.ranks[0].value, "lora");
  const std::string text = to_text(table, StudyTablePart::kResults, StudyTableFormat::kMarkdown);
  EXPECT_NE(text.find("| 12,345 |"), std::string::npos) << text;
}

TEST(StudyTable, RanksAreOverCellsAndSeeds) {
  const TempFolder folder;
  const StudyTable table = make_table(full_store(folder / "s.db"));
  EXPECT_EQ(table.ranked_cells, 14);
  ASSERT_EQ(table.ranks.size(), 3u);
  EXPECT_EQ(table.ranks[0].value, "lora");
  EXPECT_EQ(table.ranks[2].value, "head");
  EXPECT_EQ(table.ranks[2].rank.mean, 3);
  EXPECT_NEAR(table.ranks[0].rank.mean + table.ranks[1].rank.mean, 3, 1e-12);
  ASSERT_TRUE(table.friedman);
  EXPECT_LT(table.friedman->p, 1e-4);
}

// Rows to test on that some tasks have alone are for a table of those.
TEST(StudyTable, TestCountsWhereAllMembersHaveIt) {
  StudyPlan plan{"made", "", {}};
  for (const char* task : {"a", "b"})
    plan.members.push_back({task, {{"method", "lora"}, {"task", task}}, "{}"});
  MemberResult one, both;
  one.scores = {{"eval", "accuracy", 0.5}};
  both.scores = {{"eval", "accuracy", 0.5}, {"test", "accuracy", 0.25}};
  for (const size_t with_test : {0U, 1U}) {
    StudyStore store = StudyStore::in_memory(plan);
    store.finish(1 - with_test, one);
    store.finish(with_test, both);
    EXPECT_EQ(make_table(store).side, "eval") << with_test;
    StudyTableOptions options;
    options.side = "test";
    expect_message<InputError>([&] { make_table(store, options); }, "has no scores of test");
  }
}

// Runs that were put together, of a task whose `primary` was changed between them.
TEST(StudyTable, MembersOfACellAreJudgedByOneMetric) {
  StudyPlan plan{"runs", "", {}};
  for (const char* seed : {"1", "2"})
    plan.members.push_back(
        {std::string("lora, seed ") + seed, {{"method", "lora"}, {"seed", seed}}, "{}"});
  StudyStore store = StudyStore::in_memory(plan);
  for (const size_t member : {0U, 1U}) {
    MemberResult result;
    result.scores = {{"eval", member == 0 ? "matthews" : "accuracy", 0.5}, {"eval", "loss", 1}};
    store.finish(member, result);
  }
  expect_message<InputError>(
      [&] { make_table(store); },
      "members \"lora, seed 1\" and \"lora, seed 2\" differ in seeds alone, "
      "and the first is judged by matthews, the second by accuracy; choose a "
      "metric that both have");
  EXPECT_NO_THROW(make_table(store, {.metric = "loss"}));
}

TEST(StudyTable, ScoresOfTwoMetricsAreNotCompared) {
  StudyPlan plan{"made", "", {}};
  for (const char* task : {"a", "b"})
    plan.members.push_back({task, {{"method", "lora"}, {"task", task}, {"seed", "1"}}, "{}"});
  StudyStore store = StudyStore::in_memory(plan);
  for (const size_t member : {0U, 1U}) {
    MemberResult result;
    result.scores = {{"eval", member == 0 ? "matthews" : "accuracy", 0.5}, {"eval", "loss", 1}};
    store.finish(member, result);
  }
  StudyTableOptions options;
  options.compared = "task";
  expect_message<InputError>([&] { make_table(store, options); },
                             "a is judged by matthews and b by accuracy");
  options.metric = "loss";
  EXPECT_EQ(make_table(store, options).comparisons.size(), 1U);
  options.compared = "seed";
  expect_message<InputError>([&] { make_table(store, options); }, "is a seed");
}

TEST(StudyTable, MissingMembersAreSaid) {
  const TempFolder folder;
  StudyStore store = StudyStore::open(folder / "s.db", plan_of());
  expect_message<InputError>([&] { make_table(store); }, "study \"made\": no member is done yet");
  store.finish(0, result_of(80, 1));
  store.fail(1, "the loss is inf");
  const StudyTable table = make_table(store);
  EXPECT_EQ(table.cells[0].members.size(), 1u);
  EXPECT_EQ(table.cells[0].waiting, 5);
  EXPECT_EQ(table.cells[0].failed, 1);
  EXPECT_FALSE(table.cells[0].interval);
  EXPECT_TRUE(table.comparisons.empty());
  EXPECT_TRUE(table.ranks.empty());
  const std::string text = to_text(table, StudyTablePart::kResults, StudyTableFormat::kMarkdown);
  EXPECT_NE(text.find("| 1 (5 waiting) (1 failed) | 0.8000 | - |"), std::string::npos) << text;
  expect_message<InputError>([&] { make_table(store, {.side = "test"}); },
                             "no scores of \"test\"; there are eval");
  expect_message<InputError>([&] { make_table(store, {.metric = "acuracy"}); },
                             "did you mean 'accuracy'?");
  expect_message<InputError>([&] { make_table(store, {.compared = "width"}); },
                             "has no factor \"width\"; its members have method and rows");
  expect_message<InputError>([&] { make_table(store, {.baseline = "lor"}); },
                             "no method is called \"lor\" (did you mean 'lora'?)");
  MemberResult undefined = result_of(80, 1);
  undefined.scores[0].value.reset();
  store.finish(2, undefined);
  expect_message<InputError>([&] { make_table(store); }, "its accuracy does not exist");
}

TEST(StudyTable, IsWrittenAsMarkdownCsvAndLatex) {
  const TempFolder folder;
  const StudyTable table = make_table(full_store(folder / "s.db"));
  const std::string markdown =
      to_text(table, StudyTablePart::kResults, StudyTableFormat::kMarkdown);
  EXPECT_EQ(markdown.substr(0, markdown.find('\n')),
            "| method | rows | metric | n | mean | deviation | agreement | kappa | parameters | "
            "seconds |");
  EXPECT_NE(markdown.find("| lora | 100 | accuracy | 7 | 0.8100 ± 0.0076 | 0.0082 |"),
            std::string::npos)
      << markdown;
  EXPECT_NE(markdown.find("| odd\\|_one | 100 |"), std::string::npos);
  const std::string latex = to_text(table, StudyTablePart::kComparisons, StudyTableFormat::kLatex);
  EXPECT_NE(latex.find("100 & lora & head & 7 & 0.1043 $\\pm$"), std::string::npos) << latex;
  EXPECT_NE(latex.find("odd|\\_one"), std::string::npos);
  const std::string csv = to_text(table, StudyTablePart::kResults, StudyTableFormat::kCsv);
  EXPECT_NE(csv.find("\nlora,100,accuracy,7,0.81,0.0081649"), std::string::npos) << csv;
  for (const Name<StudyTablePart>& part : kStudyTableParts) {
    for (const Name<StudyTableFormat>& format : kStudyTableFormats) {
      const TextTable text = text_table(table, part.value, format.value);
      EXPECT_FALSE(text.rows.empty());
      for (const auto& row : text.rows) EXPECT_EQ(row.size(), text.header.size());
    }
  }
}

}  // namespace
}  // namespace graft::test_table
