// Searches: what is asked for, what halving keeps and why, and that what was told brings a searcher
// back to where it was.
#include "study/search.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <set>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "study/search_run.h"
#include "study/search_trials.h"
#include "tests/support/testing.h"

namespace graft::test_search {
namespace {

using testing::expect_message;
using testing::TempFolder;

SearchPlan grid_plan() {
  SearchPlan plan;
  plan.axes = {{.key = "learning_rate", .values = {"0.1", "0.2", "0.3"}},
               {.key = "batch_size", .values = {"8", "16", "32"}}};
  plan.seeds = {100};
  return plan;
}

std::string text_of(const Trial& trial) {
  std::string out;
  for (const auto& [key, value] : trial.settings) out += key + "=" + value + " ";
  return out;
}

TEST(Search, GridAsksForEveryCombinationOnce) {
  const auto searcher = make_searcher(grid_plan(), {});
  std::vector<std::string> asked;
  while (const auto trial = searcher->ask()) {
    asked.push_back(text_of(*trial));
    searcher->tell(static_cast<double>(asked.size() == 6));
  }
  EXPECT_EQ(asked.size(), 9U);
  EXPECT_EQ(std::set<std::string>(asked.begin(), asked.end()).size(), 9U);
  EXPECT_EQ(asked[1], "learning_rate=0.1 batch_size=16 ");
  EXPECT_EQ(text_of(*searcher->best()), asked[5]);
  EXPECT_EQ(most_trials(grid_plan()), 9U);
}

TEST(Search, RandomDrawsLieInTheirRangesOnTheirScales) {
  SearchPlan plan;
  plan.kind = SearchKind::kRandom;
  plan.tries = 400;
  plan.axes = {{.key = "a", .low = 1e-4, .high = 1, .is_logarithmic = true},
               {.key = "b", .low = 2, .high = 5, .is_whole = true},
               {.key = "c", .values = {"x", "y"}}};
  const auto searcher = make_searcher(plan, RandomKey{}.with("one"));
  int small = 0;
  std::map<std::string, int> whole, word;
  while (const auto trial = searcher->ask()) {
    const double a = std::stod(trial->settings[0].second);
    EXPECT_GE(a, 0.999e-4);
    EXPECT_LE(a, 1.001);
    small += a < 1e-2;
    ++whole[trial->settings[1].second];
    ++word[trial->settings[2].second];
    searcher->tell(a);
  }
  EXPECT_NEAR(small, 200, 40);  // half of the decades; four deviations of 10
  EXPECT_EQ(whole.size(), 4U);
  for (const auto& [value, count] : whole)
    EXPECT_NEAR(count, 100, 35) << value;  // a quarter each, ends too; four deviations of 8.7
  EXPECT_NEAR(word["x"], 200, 40);
  const auto again = make_searcher(plan, RandomKey{}.with("one")),
             other = make_searcher(plan, RandomKey{}.with("other"));
  EXPECT_EQ(text_of(*again->ask()), text_of(*make_searcher(plan, RandomKey{}.with("one"))->ask()));
  EXPECT_NE(text_of(*again->ask()), text_of(*other->ask()));
}

// Nine, three, one: the best three of nine, then the best of three.
TEST(Search, HalvingGivesMoreToTheBestAndSaysWhoStopped) {
  SearchPlan plan = grid_plan();
  plan.halving = Halving{"epochs", {1, 3, 9}, 3};
  EXPECT_EQ(most_trials(plan), 13U);
  const auto searcher = make_searcher(plan, {});
  std::vector<std::pair<size_t, size_t>> asked;
  while (const auto trial = searcher->ask()) {
    asked.emplace_back(trial->rung, trial->candidate);
    EXPECT_EQ(trial->settings.back().first, "epochs");
    EXPECT_EQ(trial->settings.back().second, trial->rung == 0 ? "1" : trial->rung == 1 ? "3" : "9");
    if (trial->rung == 0 && trial->candidate == 8) searcher->tell(std::nullopt);
    else searcher->tell(static_cast<double>(trial->candidate));
  }
  ASSERT_EQ(asked.size(), 12U) << "nine, then two of the eight that did not fail, then one";
  EXPECT_EQ(asked[9], (std::pair<size_t, size_t>{1, 7}));
  EXPECT_EQ(asked[10], (std::pair<size_t, size_t>{1, 6}));
  EXPECT_EQ(searcher->best()->candidate, 7U);
}

TEST(Search, HalvingEndsWithOne) {
  SearchPlan plan = grid_plan();
  plan.halving = Halving{"epochs", {1, 3, 9}, 3};
  const auto searcher = make_searcher(plan, {});
  size_t trials = 0;
  while (const auto trial = searcher->ask()) {
    ++trials;
    searcher->tell(-static_cast<double>(trial->candidate));
  }
  EXPECT_EQ(trials, 13U);
  EXPECT_EQ(searcher->best()->candidate, 0U);
  EXPECT_EQ(searcher->best()->rung, 2U);
  ASSERT_EQ(searcher->stopped().size(), 8U);
  EXPECT_EQ(searcher->stopped()[0].reason, "place 4 of 9, and 3 go on");
  EXPECT_EQ(searcher->stopped()[7].reason, "place 3 of 3, and 1 goes on");
}

TEST(Search, BudgetsAreWholeNumbersAsSettingsAre) {
  SearchPlan plan = grid_plan();
  plan.halving = Halving{"data.rows", {100'000, 900'000}, 9};
  const auto searcher = make_searcher(plan, {});
  EXPECT_EQ(searcher->ask()->settings.back().second, "100000");
}

TEST(Search, WhereTheLastRungFailsTheBestOfTheOneBeforeIsTaken) {
  SearchPlan plan = grid_plan();
  plan.halving = Halving{"epochs", {1, 9}, 9};
  const auto searcher = make_searcher(plan, {});
  while (const auto trial = searcher->ask())
    searcher->tell(trial->rung == 0 ? std::optional(static_cast<double>(trial->candidate))
                                    : std::nullopt);
  ASSERT_TRUE(searcher->best());
  EXPECT_EQ(searcher->best()->candidate, 8U);
}

SearchPlan parsed_search(const std::string& search) {
  return *parse_study(
              "study: s\nmodel: m\nmethods: {lora: lora}\ntasks: {t: {task: t, train: t.tsv}}\n"
              "search:\n  seed: 100\n" +
                  search,
              "s.yaml")
              .search;
}

TEST(Search, BudgetsOfStepsAndRowsAreWholeNumbers) {
  const std::string axes = "  settings: {learning_rate: [0.1]}\n";
  const auto budgets = [&](const std::string& halving) {
    return parsed_search(axes + "  halving: {" + halving + "}\n").halving->budgets;
  };
  EXPECT_EQ(budgets("setting: max_steps, from: 2, to: 9, factor: 2"),
            (std::vector<double>{2, 4, 8, 9}));
  EXPECT_EQ(budgets("setting: epochs, from: 0.5, to: 1.5"), (std::vector<double>{0.5, 1.5}));
  expect_message<InputError>([&] { budgets("setting: rows, from: 0.5, to: 9"); },
                             "s.yaml:8:34: /search/halving/from: expected a number in 1..");
  expect_message<InputError>([&] { budgets("setting: max_steps, from: 2.5, to: 9"); },
                             "/search/halving/from: expected a whole number");
  expect_message<InputError>([&] { budgets("setting: rows, from: 2, to: 9.5"); },
                             "/search/halving/to: expected a whole number");
  expect_message<InputError>([&] { budgets("setting: max_steps, from: 2, to: 2"); },
                             "/search/halving/to: expected more than from");
}

TEST(Search, AGridHasNoMoreCombinationsThanTriesMayBe) {
  const auto grid = [](int lists) {
    std::string settings;
    for (int i = 0; i < lists; ++i)
      settings += (i == 0 ? "" : ", ") + ("adapter." + std::to_string(i)) +
                  ": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    return parsed_search("  settings: {" + settings + "}\n");
  };
  EXPECT_EQ(most_trials(grid(4)), 10'000U);
  for (const int lists : {5, 8, 20, 64})
    expect_message<InputError>(
        [&] { grid(lists); },
        "s.yaml:7:13: /search/settings: expected lists of at most 10,000 combinations, found more");
}

TEST(Search, RangesOfWholeNumbersEndAtSome) {
  const auto range = [](const std::string& ends) {
    return parsed_search("  kind: random\n  tries: 2\n  settings: {batch_size: {" + ends +
                         ", scale: whole}}\n");
  };
  EXPECT_EQ(range("low: 8, high: 12").axes[0].high, 12);
  expect_message<InputError>([&] { range("low: 8.5, high: 12"); },
                             "/search/settings/batch_size/low: of whole numbers expected one");
  expect_message<InputError>([&] { range("low: 8, high: 12.5"); },
                             "/search/settings/batch_size/high: of whole numbers expected one");
}

TEST(Search, AKindThatIsNoneIsTheOnlyFault) {
  const std::string message = testing::message_of<InputError>([] {
    parsed_search(
        "  kind: randm\n  tries: 4\n  draw: 1\n  settings: {batch_size: {low: 8, high: 12}}\n");
  });
  EXPECT_NE(message.find("/search/kind: expected grid or random, found \"randm\""),
            std::string::npos)
      << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(Search, WhatCannotBeChosenIsRefusedWithItsPlace) {
  const auto refused = [](const std::string& settings, const std::string& message,
                          const std::string& more = "") {
    expect_message<InputError>([&] { parsed_search("  settings: {" + settings + "}\n" + more); },
                               message);
  };
  refused("rows: [8, 9], data.rows: [10]",
          "s.yaml:7:39: /search/settings/data.rows: the setting \"data.rows\" stands twice");
  refused("seeds.initial: [1, 2]", "s.yaml:7:29: /search/settings/seeds.initial: ");
  refused("method: [lora]", "/search/settings/method: \"method\" is no setting");
  refused("out: [a, b]", "/search/settings/out: \"out\" is no setting of a study: ");
  refused("epochs: [1, 2]", "/search/halving/setting: \"epochs\" is the budget and is searched",
          "  halving: {setting: epochs, from: 1, to: 9}\n");
}

// An engine whose score is a function of its settings, and which can be stopped.
class Engine final : public StudyEngine {
 public:
  Node resolve(const StudyFile&, const MemberDraft& member) override {
    Node out = Node::map({{"adapter_name", Node::text(member.adapter)}});
    for (const StudySetting& setting : member.settings) {
      if (setting.key == "unknown") throw InputError("unknown setting");
      out[setting.key] = parse_yaml(setting.value, setting.key);
    }
    const Node* width = out.find("width");
    if (width != nullptr && width->scalar == "9" && out.find("learning_rate") != nullptr)
      throw InputError("/width: too wide for a rate");
    const Node* batch = out.find("batch_size");
    if (batch != nullptr && !batch->as_integer())
      throw InputError("/batch_size: expected an integer");
    return out;
  }
  void check(const PlannedMember&) override {}
  bool run(const std::vector<StudyRun>& all, StudyEnds& ends) override {
    for (const StudyRun& one : all) {
      if (runs == stops_after) return false;
      ++runs;
      const Node settings = parse_json(one.planned->settings, one.planned->name);
      const std::string adapter = settings.find("adapter_name")->scalar;
      const double rate = std::stod(settings.find("learning_rate")->scalar);
      ends.started(one.member);
      seeds_of_rows.insert(settings.find("seeds.rows") ? settings.find("seeds.rows")->scalar : "");
      if (adapter == "frail" && rate == fails_at && !is_mended) {
        ends.failed(one.member, "the loss is not finite");
        continue;
      }
      MemberResult result;
      const double best = adapter == "lora" ? 0.2 : 0.1;
      const double seed = std::stod(settings.find("seed")->scalar);
      result.scores = {
          {"test", metric, 0.0},
          {"eval", metric, score ? score(rate, seed) : 1 - std::abs(rate - best) + seed * 1e-6}};
      ends.finished(one.member, result);
    }
    return runs < stops_behind;
  }
  size_t runs = 0, stops_after = 1000;
  size_t stops_behind = 1000;  // when the trial with this run has come to its end
  double fails_at = 0.3;       // a rate of "frail"
  bool is_mended = false;
  std::string metric = "accuracy";
  std::function<double(double rate, double seed)> score = {};  // in place of the usual one
  std::set<std::string> seeds_of_rows;
};

constexpr const char* kStudy = R"(study: s
model: m
methods: {lora: lora, frail: frail}
tasks: {t: {task: t, train: t.tsv}}
set: {epochs: 9}
grid: {seed: [1, 2]}
search:
  seed: [100, 101]
  settings: {learning_rate: [0.1, 0.2, 0.3]}
)";

std::string setting_of(const MemberDraft& member, const std::string& key) {
  for (const StudySetting& each : member.settings) {
    if (each.key == key) return each.value;
  }
  return "none";
}

TEST(Search, FindsTheSettingsOfEachMethodAndGoesOnWhereItWasStopped) {
  const TempFolder folder;
  size_t runs = 0;
  for (size_t stop = 0; stop <= 12; stop += 5) {  // killed after so many runs, and again
    StudyFile study = parse_study(kStudy, "s.yaml");
    Engine engine;
    engine.stops_after = 5;
    const bool is_over = run_search(study, engine, {.out = folder.path() / "a"});
    runs += engine.runs;
    ASSERT_EQ(is_over, stop == 10);
  }
  StudyFile study = parse_study(kStudy, "s.yaml");
  Engine engine;
  ASSERT_TRUE(run_search(study, engine, {.out = folder.path() / "b"}));
  EXPECT_EQ(engine.runs, 12U) << "two methods, three rates, two seeds";
  EXPECT_EQ(read_file(folder.path() / "a" / "search.json"),
            read_file(folder.path() / "b" / "search.json"));
  EXPECT_GE(runs, 12U);
  for (const MemberDraft& member : study.members)
    EXPECT_EQ(setting_of(member, "learning_rate"), member.adapter == "lora" ? "0.2" : "0.1");
  const Node kept = parse_json(read_file(folder.path() / "b" / "search.json"), "search");
  const Node& frail = kept.find("searches")->items[1];
  EXPECT_EQ(frail.find("stopped")->items[0].find("reason")->scalar, "failed");
  EXPECT_EQ(frail.find("trials")->items[2].find("reason")->scalar, "the loss is not finite");
  // A shard takes what was found, and cannot search.
  Engine idle;
  StudyFile shard = parse_study(kStudy, "s.yaml");
  EXPECT_TRUE(run_search(shard, idle, {.out = folder.path() / "b", .may_run = false}));
  EXPECT_EQ(idle.runs, 0U);
  StudyFile other = parse_study(kStudy, "s.yaml");
  expect_message<InputError>(
      [&] { run_search(other, idle, {.out = folder.path() / "c", .may_run = false}); },
      "run it once without a shard");
}

// Seeds that disagree: each of them alone would choose another rate than their mean.
TEST(Search, ChoosesTheBestMeanWhicheverWayIsBetter) {
  const std::map<double, std::array<double, 2>> goodness = {
      {0.1, {0.9, 0.1}}, {0.2, {0.8, 0.7}}, {0.3, {0.2, 0.8}}};
  for (const auto& [metric, sign] :
       {std::pair{"accuracy", 1}, {"loss", -1}, {"mean_perplexity", -1}}) {
    SCOPED_TRACE(metric);
    const TempFolder folder;
    Engine engine;
    engine.is_mended = true;
    engine.metric = metric;
    engine.score = [&, sign = sign](double rate, double seed) {
      return sign * goodness.at(rate)[seed == 100 ? 0 : 1];
    };
    StudyFile study = parse_study(kStudy, "s.yaml");
    ASSERT_TRUE(run_search(study, engine, {.out = folder.path()}));
    for (const MemberDraft& member : study.members)
      EXPECT_EQ(setting_of(member, "learning_rate"), "0.2");
  }
}

std::string changed(const std::string& from, const std::string& to) {
  std::string text = kStudy;
  return text.replace(text.find(from), from.size(), to);
}

void check(const std::string& text) {
  Engine engine;
  check_search(parse_study(text, "s.yaml"), engine);
}

TEST(Search, IsRefusedWhereItWouldChooseByFinalSeedsOrTwice) {
  expect_message<InputError>([&] { check(changed("[100, 101]", "[2]")); },
                             "the seed 2 is one of the members' (s.yaml:6:");
  expect_message<InputError>([&] { check(changed("{epochs: 9}", "{learning_rate: 1}")); },
                             "is searched and given at s.yaml:5:");
  expect_message<InputError>([&] { check(changed("[0.1, 0.2, 0.3]", "{low: 1, high: 2}")); },
                             "a range is drawn from");
  expect_message<InputError>([&] { check(changed("search:\n", "search:\n  kind: random\n")); },
                             "/search/tries: missing; expected an integer");
  for (const char* seeds : {"[100, 100]", "[]"})
    expect_message<InputError>([&] { check(changed("[100, 101]", seeds)); },
                               "/search/seed: expected one seed or more, each once");
  expect_message<InputError>([&] { check(changed("  seed: [100, 101]\n", "")); },
                             "/search/seed: missing; expected a list of integers");
  expect_message<InputError>([&] { check(changed("learning_rate: [", "unknown: [")); },
                             "s.yaml:9:23: search of \"lora, t\": unknown setting");
  expect_message<InputError>(
      [&] {
        check(changed("{epochs: 9}", "{max_steps: 9}") +
              "  halving: {setting: epochs, from: 1, to: 9}\n");
      },
      "s.yaml:10:12: search of \"lora, t\": epochs change nothing");
  expect_message<InputError>(
      [&] {
        check(
            "study: s\nmodel: m\nmethods: {lora: lora}\ntasks: {t: {task: t, train: t.tsv}}\n"
            "search:\n  seed: 100\n  settings: {epochs: [1, 2], max_steps: [8, 9]}\n");
      },
      "s.yaml:7:22: search of \"lora, t\": epochs change nothing");
  // Told at the setting that is wrong, with the others as a trial has them.
  expect_message<InputError>([&] { check(changed("0.3]}", "0.3], width: [8, 9]}")); },
                             "s.yaml:9:53: search of \"lora, t\": /width: too wide for a rate");
}

TEST(Search, TheSeedOfMembersWithoutOneIsRefused) {
  std::string text = changed("[100, 101]", "[41, 42]");
  EXPECT_NO_THROW(check(text)) << "each member has a seed of its own";
  text.replace(text.find("seed: [1, 2]"), 12, "rows: [20, 40]");
  expect_message<InputError>([&] { check(text); },
                             "the seed 42 is the one of members without a seed");
}

// A range that is not said to be one of whole numbers is drawn from between them.
TEST(Search, ALinearRangeOfASettingOfWholeNumbersIsRefused) {
  const auto check_range = [](const std::string& scale) {
    check(changed(
        "  settings: {learning_rate: [0.1, 0.2, 0.3]}",
        "  kind: random\n  tries: 2\n  settings: {batch_size: {low: 8, high: 12" + scale + "}}"));
  };
  expect_message<InputError>(
      [&] { check_range(""); },
      "s.yaml:11:26: search of \"lora, t\": /batch_size: expected an integer");
  EXPECT_NO_THROW(check_range(", scale: whole"));
}

// The first trial is the same in each pair.
TEST(Search, AFolderHoldsOneSearch) {
  const auto halved = [](const std::string& halving) {
    return kStudy + std::string("  halving: {setting: epochs, ") + halving + "}\n";
  };
  for (const auto& [one, other] :
       {std::pair{std::string(kStudy), changed("[0.1, 0.2, 0.3]", "[0.1, 0.2]")},
        {kStudy, changed("[100, 101]", "[100, 102]")},
        {halved("from: 1, to: 2"), halved("from: 1, to: 3")},
        {halved("from: 1, to: 2"), halved("from: 1, to: 2.0000001")},
        {halved("from: 1, to: 2"), halved("from: 1, to: 2, factor: 2")}}) {
    SCOPED_TRACE(other);
    const TempFolder folder;
    Engine engine;
    StudyFile first = parse_study(one, "s.yaml"), second = parse_study(other, "s.yaml");
    ASSERT_TRUE(run_search(first, engine, {.out = folder.path()}));
    expect_message<InputError>([&] { run_search(second, engine, {.out = folder.path()}); },
                               "holds another search");
  }
}

// As earlier versions wrote it, with six decimals of each number.
std::string earlier_digest(Engine& engine) {
  const StudyFile study = parse_study(kStudy, "s.yaml");
  const SearchPlan& search = *study.search;
  std::string text;
  for (const SearchGroup& group : groups_of(study)) {
    const auto searcher = make_searcher(search, RandomKey{}.with("search").with(group.name));
    const MemberDraft draft = draft_of(search, group, *searcher->ask(), search.seeds.front());
    text += group.name + "\n" + to_json(engine.resolve(study, draft), -1) + "\n";
  }
  return sha256(text + "100 101 learning_rate 0.000000 0.000000 0.1 0.2 0.30 0");
}

TEST(Search, GoesOnWithTheFileOfAnEarlierVersion) {
  const TempFolder folder;
  Engine engine;
  StudyFile first = parse_study(kStudy, "s.yaml"), second = parse_study(kStudy, "s.yaml");
  ASSERT_TRUE(run_search(first, engine, {.out = folder.path()}));
  const std::string now = read_file(folder / "search.json");
  Node kept = parse_json(now, "search.json");
  ASSERT_NE(kept["digest"].scalar, earlier_digest(engine));
  kept["digest"] = Node::text(earlier_digest(engine));
  write_file_atomically(folder / "search.json", to_json(kept));
  const size_t runs = engine.runs;
  ASSERT_TRUE(run_search(second, engine, {.out = folder.path()}));
  EXPECT_EQ(engine.runs, runs) << "nothing is tried twice";
  EXPECT_EQ(read_file(folder / "search.json"), now);
}

TEST(Search, WhatFailedIsTriedAgainWhereThatIsAskedFor) {
  const TempFolder folder;
  Engine engine;
  engine.fails_at = 0.2;
  std::vector<std::string> failed;
  const auto note = [&](const std::string& trial, const std::string&) { failed.push_back(trial); };
  StudyFile study = parse_study(kStudy, "s.yaml");
  ASSERT_TRUE(run_search(study, engine, {.out = folder.path(), .failed = note}));
  EXPECT_EQ(failed, std::vector<std::string>{"frail, t, try 2"});
  engine.is_mended = true;
  const size_t runs = engine.runs;
  StudyFile as_before = parse_study(kStudy, "s.yaml"), again = parse_study(kStudy, "s.yaml");
  ASSERT_TRUE(run_search(as_before, engine, {.out = folder.path()}));
  EXPECT_EQ(engine.runs, runs);
  ASSERT_TRUE(run_search(again, engine, {.out = folder.path(), .retries_failed = true}));
  EXPECT_EQ(engine.runs, runs + 4) << "frail from the rate on that failed, two seeds";
  EXPECT_EQ(read_file(folder / "search.json").find("not finite"), std::string::npos);
}

TEST(Search, AFileThatWasChangedByHandIsSaidToBeDamaged) {
  const TempFolder folder;
  Engine engine;
  StudyFile study = parse_study(kStudy, "s.yaml");
  ASSERT_TRUE(run_search(study, engine, {.out = folder.path()}));
  const Node whole = parse_json(read_file(folder / "search.json"), "search");
  const auto refused = [&](const std::function<void(Node & search)>& change,
                           const std::string& message) {
    Node changed = whole;
    change(changed["searches"].items[0]);
    write_file_atomically(folder / "search.json", to_json(changed));
    StudyFile again = parse_study(kStudy, "s.yaml");
    expect_message<InputError>([&] { run_search(again, engine, {.out = folder.path()}); },
                               "search.json: is damaged: /searches/0/trials" + message);
  };
  const auto first = [](Node& search) -> Node& { return search["trials"].items[0]; };
  refused([](Node& search) { search = Node::map(); }, ": expected a list, found nothing");
  refused([&](Node& search) { first(search)["reason"] = Node::null(); },
          "/0/reason: expected a text, found nothing");
  refused([&](Node& search) { first(search)["metric"] = Node::list(); },
          "/0/metric: expected a text, found a list of 0");
  refused([&](Node& search) { first(search)["scores"].items[1] = Node::text("good"); },
          "/0/scores/1: expected a number, found \"good\"");
}

// Its members may be tried again: what was found for them stays.
TEST(Search, AShardThatTriesAgainTakesWhatWasFound) {
  const TempFolder folder;
  Engine engine, idle;
  StudyFile study = parse_study(kStudy, "s.yaml"), shard = study;
  ASSERT_TRUE(run_search(study, engine, {.out = folder.path()}));
  EXPECT_TRUE(
      run_search(shard, idle, {.out = folder.path(), .may_run = false, .retries_failed = true}));
  EXPECT_EQ(idle.runs, 0U);
}

TEST(Search, OneProcessAtATime) {
  const TempFolder folder;
  make_directories(folder / "search");
  StudyFile study = parse_study(kStudy, "s.yaml");
  Engine engine;
  {
    const FolderLock other(folder / "search");
    expect_message<IoError>([&] { run_search(study, engine, {.out = folder.path()}); },
                            "another process is running this study");
  }
  EXPECT_EQ(engine.runs, 0U);
  EXPECT_FALSE(std::filesystem::exists(folder / "search.json"));
  EXPECT_TRUE(run_search(study, engine, {.out = folder.path()}));
}

// A signal that comes while the last run of a trial is evaluated.
TEST(Search, StopsBehindATrialAndKeepsIt) {
  const TempFolder folder;
  StudyFile study = parse_study(kStudy, "s.yaml"), again = study;
  Engine engine, rest;
  engine.stops_behind = 4;
  EXPECT_FALSE(run_search(study, engine, {.out = folder.path()}));
  EXPECT_EQ(engine.runs, 4U) << "two trials of two seeds";
  EXPECT_TRUE(run_search(again, rest, {.out = folder.path()}));
  EXPECT_EQ(rest.runs, 8U);
}

TEST(Search, RowsThatMembersDrawAreDrawnByTheTrialsSeed) {
  const TempFolder folder;
  std::string text = kStudy;
  text.replace(text.find("seed: [1, 2]"), 12, "seeds.rows: [1, 2]");
  StudyFile study = parse_study(text, "s.yaml");
  Engine engine;
  ASSERT_TRUE(run_search(study, engine, {.out = folder.path()}));
  EXPECT_EQ(engine.seeds_of_rows, (std::set<std::string>{"100", "101"}));
}

}  // namespace
}  // namespace graft::test_search
