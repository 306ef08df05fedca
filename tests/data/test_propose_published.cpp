// What is proposed for rows as published data sets have them: published_layouts.txt.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "base/files.h"
#include "data/propose.h"
#include "tests/data/expect_error.h"

namespace graft::test_propose_published {
namespace {

// Twelve rows of one pattern, whose marks stand on top of published_layouts.txt.
std::string rows_of(const std::string& pattern) {
  std::string out;
  for (int i = 0; i < 12; ++i) {
    for (const char c : pattern) {
      switch (c) {
        case '#': out += std::to_string(100 + i); break;
        case '%': out += std::to_string(i % 2); break;
        case '&': out += std::to_string(1 + i % 2); break;
        case '@': out += static_cast<char>('A' + i % 4); break;
        case '^': out += std::to_string(i % 4); break;
        case '$': out += std::to_string(1 + i % 3); break;
        case '?': out += i % 2 == 0 ? "true" : "false"; break;
        default: out += c;
      }
    }
    out += '\n';
  }
  return out;
}

// With " / " for the line between two columns.
std::string on_a_line(std::string text) {
  if (const size_t at = text.find("\n\n"); at != std::string::npos) text.replace(at, 2, " / ");
  return text;
}

std::string prompt_text(const Prompt& prompt) {
  return prompt.text.text + (prompt.with_column ? " + " + *prompt.with_column : "");
}

std::string options_text(const Choice& choice) {
  std::string out = choice.options.column.value_or("");
  for (const Template& text : choice.options.texts) out += text.text;
  return out;
}

// "choice: ctx [endings] -> label by index".
std::string summary(const Task& task) {
  if (const auto* generation = task.find<Generation>()) {
    if (generation->messages_column) return "chat: " + *generation->messages_column;
    return "generation: " +
           (generation->system_column ? "(" + *generation->system_column + ") " : "") +
           prompt_text(*generation->prompt) + " -> " + generation->target->text;
  }
  if (const auto* choice = task.find<Choice>()) {
    const Node node = task_to_node(task);
    const Node* form = node.find("target_form");
    return "choice: " + prompt_text(choice->prompt) + " [" + options_text(*choice) + "] -> " +
           choice->target_column + " by " + (form == nullptr ? "cell" : form->scalar);
  }
  const Labelled& labelled = *task.labelled();
  return std::string(task.kind() == TaskKind::kRegression ? "regression: " : "classification: ") +
         on_a_line(labelled.text.text) + (labelled.second ? " + " + labelled.second->text : "") +
         " -> " + labelled.label_column;
}

// "a || b || c" in its parts.
std::vector<std::string> parts_of(const std::string& line) {
  const std::string between = " || ";
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(between, begin), line.size());
    out.push_back(line.substr(begin, end - begin));
    begin = end + between.size();
  }
  return out;
}

TEST(ProposePublished, EveryLayoutIsReadAsWhatItIs) {
  std::istringstream lines(read_file(Path(GRAFT_SOURCE_DIR) / "tests/data/published_layouts.txt"));
  int64_t layouts = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("//")) continue;
    const std::vector<std::string> parts = parts_of(line);
    ASSERT_EQ(parts.size(), 3u) << line;
    SCOPED_TRACE(parts[0]);
    ++layouts;
    const Table table = parse_table(rows_of(parts[1]), TableFormat::kJsonl, "rows");
    if (parts[2] == "refused") {
      EXPECT_NE(input_error([&] { propose_task(table, "t"); }).find("no column can be told to be"),
                std::string::npos);
      continue;
    }
    const Proposal found = propose_task(table, "t");
    EXPECT_EQ(summary(found.task), parts[2]) << found.yaml;
    const std::vector<Example> examples = to_examples(table, found.task, LabelUse::kRequired);
    EXPECT_EQ(examples.size(), 12u);
    const auto* choice = found.task.find<Choice>();
    if (choice != nullptr && choice->target_form != TargetForm::kText) {
      EXPECT_EQ(examples[0].label, 0);  // the marks begin with the first option
      EXPECT_EQ(examples[1].label, 1);
    }
  }
  EXPECT_GT(layouts, 150);
}

// What the rows could be classified by instead is told beside.
TEST(ProposePublished, ATopicBesideAPromptIsTold) {
  const auto yaml = [](const char* row) {
    return propose_task(parse_table(rows_of(row), TableFormat::kJsonl, "rows"), "t").yaml;
  };
  EXPECT_NE(yaml(R"({"prompt": "p #", "response": "r #", "source": "s%"})")
                .find("kind: generation                        # or classification, by label: "
                      "\"source\"\n"),
            std::string::npos);
  EXPECT_NE(yaml(R"({"prompt": "p #", "response": "r #"})").find("kind: generation\n"),
            std::string::npos);
}

// Six labels of a row, of which a task can have one.
TEST(ProposePublished, ALabelThatIsGuessedIsToldWithTheOthers) {
  const Table table = parse_table(rows_of(R"({"comment_text": "t #", "toxic": %, "insult": &})"),
                                  TableFormat::kJsonl, "rows");
  EXPECT_NE(propose_task(table, "t")
                .yaml.find("# no name tells the label: \"toxic\" has the fewest values; others are "
                           "\"insult\"\n"),
            std::string::npos);
  EXPECT_EQ(propose_task(parse_table(rows_of(R"({"text": "t #", "label": %, "side": &})"),
                                     TableFormat::kJsonl, "rows"),
                         "t")
                .yaml.find("no name tells"),
            std::string::npos);
}

TEST(ProposePublished, RowsThatAreFaultyAreToldAndTheOthersTell) {
  std::string rows = rows_of(R"({"question": "q #", "A": "w", "B": "x", "C": "y", "answer": "B"})");
  rows += R"({"question": "q", "A": "w", "B": "x", "C": "y", "answer": "E"})"
          "\n";
  const Proposal found = propose_task(parse_table(rows, TableFormat::kJsonl, "rows"), "t");
  EXPECT_EQ(summary(found.task), "choice: question [{A}{B}{C}] -> answer by letter");
  EXPECT_NE(
      found.yaml.find("# not every row can be read so, the first: rows:13: column \"answer\": "
                      "expected an option's letter in A..C, found \"E\"\n"),
      std::string::npos)
      << found.yaml;
}

// SQuAD 2.0 has questions without an answer.
TEST(ProposePublished, RowsWithoutAnAnswerAreTold) {
  std::string rows = rows_of(R"({"id": "#", "question": "q #", "answers": {"text": ["a", "b"]}})");
  rows += R"({"id": "x", "question": "q", "answers": {"text": []}})"
          "\n";
  const Proposal found = propose_task(parse_table(rows, TableFormat::kJsonl, "rows"), "t");
  EXPECT_EQ(summary(found.task), "generation: question -> answers.text.0");
  EXPECT_EQ(found.task.at<Generation>().references_column, "answers.text");
  for (const char* line :
       {"# not every row can be read so, the first: rows:13: column \"answers.text.0\": expected a "
        "text, found no such key\n",
        "# column \"answers.text.0\" is empty in 1 row, first in line 13\n",
        "# not used: column \"id\", 13 values\n"}) {
    EXPECT_NE(found.yaml.find(line), std::string::npos) << found.yaml;
  }
  EXPECT_EQ(found.yaml.find("# not used: column \"answers"), std::string::npos) << found.yaml;
}

// With few rows, 1 and 2 may be counted from 0 or from 1.
TEST(ProposePublished, AnotherWayToCountIsTold) {
  const std::string rows =
      "question,option1,option2,option3,answer\nq,w,x,y,1\nr,w,x,y,2\ns,w,x,y,1\n";
  const Proposal found = propose_task(parse_table(rows, TableFormat::kCsv, "rows"), "t");
  EXPECT_NE(found.yaml.find("# counted from 0; or number, counted from 1\n"), std::string::npos)
      << found.yaml;
}

}  // namespace
}  // namespace graft::test_propose_published
