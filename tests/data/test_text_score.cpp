// Answers in outputs, and scores of outputs and choices.
#include "data/text_score.h"

#include <gtest/gtest.h>

#include "data/answers.h"
#include "tests/data/expect_error.h"

namespace graft::test_text_score {
namespace {

const Path kTasks = Path(GRAFT_SOURCE_DIR) / "tasks";

TEST(Answers, AfterTheAnnouncement) {
  const std::string announced = "the correct answer is ";
  EXPECT_EQ(answer_after("the correct answer is answer3\n", announced), "answer3");
  EXPECT_EQ(answer_after("so the correct answer is true the correct answer is false", announced),
            "true the correct answer is false");  // the first
  EXPECT_EQ(answer_after("The correct answer is answer3", announced), std::nullopt);
}

TEST(Answers, FirstOption) {
  const std::vector<std::string> options = {"answer1", "answer2", "answer3"};
  EXPECT_EQ(first_option("the correct answer is answer3, not answer1", options), "answer3");
  EXPECT_EQ(first_option("xanswer2x", options), "answer2");
  EXPECT_EQ(first_option("Answer2", options), std::nullopt);
  EXPECT_EQ(first_option("ab", {"a", "ab"}), "a");  // as a regular expression a|ab
  EXPECT_EQ(first_option("untrue or false", {"true", "false"}), "true");
}

TEST(Answers, LastNumber) {
  EXPECT_EQ(last_number("\nA: 80 - 17 = 63, so 63 / 7 = 9 hours. The answer is 9."), 9);
  EXPECT_EQ(last_number("it costs 1,234.50 dollars"), 1234.5);
  EXPECT_EQ(last_number("from 5-3"), -3);  // as published: the minus belongs to the number
  EXPECT_EQ(last_number("-2.5.7"), 7);
  EXPECT_EQ(last_number("- 4"), 4);
  EXPECT_EQ(last_number("none"), std::nullopt);
  EXPECT_EQ(last_number(std::string(400, '9')), std::nullopt);
}

TEST(Answers, FirstLetter) {
  EXPECT_EQ(first_letter("The answer is (D).", "ABCDE"), 'D');
  EXPECT_EQ(first_letter("Assume x. The answer is B", "ABCDE"), 'A');  // as published
  EXPECT_EQ(first_letter("the answer", "ABCDE"), std::nullopt);
}

TEST(Answers, RightByARule) {
  AnswerRule rule;
  EXPECT_TRUE(is_right("answer_number", rule, "9.0", "The answer is 9."));
  EXPECT_TRUE(is_right("answer_number", rule, "1.8333333333333335", "1.8333"));
  EXPECT_FALSE(is_right("answer_number", rule, "1.8333333333333335", "1.83"));
  EXPECT_FALSE(is_right("answer_number", rule, "5", "none"));
  EXPECT_TRUE(is_right("answer_letter", rule, " D ", "(D)"));
  EXPECT_EQ(input_error([&] { is_right("answer_number", rule, "D", "4"); }),
            "answer_number: expected a number as answer, found \"D\"");
  EXPECT_TRUE(is_right("answer_number", rule, " 1,450,000 ", "so 1450000 in all"));
  for (const auto& [answer, value] :
       std::vector<std::pair<std::string, std::optional<double>>>{{"70,000", 70000},
                                                                  {"-1,234.5", -1234.5},
                                                                  {"999", 999},
                                                                  {"1,5", std::nullopt},
                                                                  {"1234,567", std::nullopt},
                                                                  {"1,234,56", std::nullopt},
                                                                  {",234", std::nullopt},
                                                                  {"-,234", std::nullopt},
                                                                  {"1,,234", std::nullopt},
                                                                  {"1,23a", std::nullopt},
                                                                  {"1.234,567", std::nullopt},
                                                                  {"1,234.5,678", std::nullopt}})
    EXPECT_EQ(right_number(answer), value) << answer;
  EXPECT_EQ(cut_output("  text \n\nrest", {"\n\n", "re"}), "text");
  EXPECT_EQ(cut_output(" a ", {}), "a");
}

std::vector<Example> commonsense(const std::vector<std::string>& answers) {
  std::vector<Example> examples(answers.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    examples[i].id_text = std::to_string(i);
    examples[i].row =
        GenerationRow{.references = {"the correct answer is " + answers[i]}, .answer = answers[i]};
  }
  return examples;
}

TEST(ScoreTexts, BothPublishedScoresOfCommonsense) {
  const Task task = load_task("arc-easy", kTasks);
  const auto scores =
      score_texts(task, commonsense({"answer1", "answer2", "answer3", "answer4"}),
                  {"the correct answer is answer1", "the correct answer is answer2 answer1",
                   "answer3", "the correct answer is answer1"});
  ASSERT_EQ(scores.size(), 2u);
  EXPECT_EQ(scores[0].name, "answer_after");
  EXPECT_EQ(scores[0].value, 0.25);
  EXPECT_EQ(scores[1].value, 0.75);
}

TEST(ScoreTexts, CutOutputsAgainstAllReferences) {
  Task task = load_task("e2e", kTasks);
  task.metrics = {"exact_match", "bleu", "ter", "nist", "rouge_l", "cider"};
  std::vector<Example> examples(2);
  examples[0].row = GenerationRow{.references = {" a b c d e .", " f g h i j k ."}};
  examples[1].row = GenerationRow{.references = {" x y z ."}};
  const auto scores = score_texts(task, examples, {" f g h i j k .\n\nand more", "x y z . "});
  ASSERT_EQ(scores.size(), 6u);
  EXPECT_EQ(scores[0].value, 1);
  EXPECT_NEAR(scores[1].value, 100, 1e-9);
  EXPECT_EQ(scores[2].value, 0);
  EXPECT_EQ(scores[4].value, 1);
}

TEST(ScoreTexts, Messages) {
  const Task task = load_task("arc-easy", kTasks), e2e = load_task("e2e", kTasks);
  EXPECT_EQ(input_error([&] { score_texts(task, commonsense({"answer1"}), {}); }),
            "metric: expected one output for each of 1 examples, found 0");
  EXPECT_EQ(input_error([&] { score_texts(task, {}, {}); }),
            "metric: expected at least one example, found none");
  std::vector<Example> bare(1);
  bare[0].id_text = "x7";
  bare[0].row = GenerationRow{};
  EXPECT_EQ(input_error([&] { score_texts(task, bare, {"a"}); }),
            "metric answer_after: example 'x7' has no answer to compare with");
  EXPECT_EQ(input_error([&] { score_texts(e2e, bare, {"a"}); }),
            "metric: example 'x7' has no reference to compare with");
}

TEST(ScoreChoices, AccuracyOfTemplatesAndTheirMedian) {
  const Task task = load_task("choice", kTasks);
  std::vector<Example> examples;
  std::vector<int64_t> chosen;
  // Right of four rows each: t1 4, t2 1, t3 3, t4 2.
  for (const auto& [name, right] :
       std::vector<std::pair<std::string, int>>{{"t1", 4}, {"t2", 1}, {"t3", 3}, {"t4", 2}}) {
    for (int i = 0; i < 4; ++i) {
      Example example;
      example.row = ChoiceRow{.options = {"a", "b"}, .group = name};
      example.label = i % 2;
      examples.push_back(example);
      chosen.push_back(i < right ? i % 2 : 1 - i % 2);
    }
  }
  const auto scores = score_choices(task, examples, chosen);
  ASSERT_EQ(scores.size(), 6u);
  EXPECT_EQ(scores[0].name, "accuracy_median");
  EXPECT_EQ(scores[0].value, 0.625);
  EXPECT_EQ(scores[1].value, 0.625);
  EXPECT_EQ(scores[2].name, "accuracy[t1]");
  EXPECT_EQ(scores[2].value, 1);
  EXPECT_EQ(scores[3].value, 0.25);
  EXPECT_EQ(median({3, 1, 2}), 2);
  examples[0].label.reset();
  examples[0].id_text = "x7";
  EXPECT_EQ(input_error([&] { score_choices(task, examples, chosen); }),
            "metric: example 'x7' has no right option to compare with");
  EXPECT_EQ(input_error([&] { score_choices(task, examples, {}); }),
            "metric: expected one chosen option for each of 16 examples, found 0");
  EXPECT_EQ(input_error([] { median({}); }), "median: expected at least one value, found none");
}

}  // namespace
}  // namespace graft::test_text_score
