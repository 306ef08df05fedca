// Rows as examples with prompts: generation, choice, cloze; the files of E2E, WebNLG and DART.
#include <gtest/gtest.h>

#include <array>

#include "data/task.h"
#include "data/text_score.h"
#include "tests/data/expect_error.h"

namespace graft::test_text_examples {
namespace {

const Path kTasks = Path(GRAFT_SOURCE_DIR) / "tasks";

Task parsed(const std::string& yaml) { return parse_task(parse_yaml(yaml, "t.yaml"), "t.yaml"); }

std::vector<Example> rows(const std::string& text, const Task& task,
                          LabelUse use = LabelUse::kRequired,
                          TableFormat otherwise = TableFormat::kJsonl) {
  return to_examples(parse_table(text, task.format.value_or(otherwise), "f",
                                 {.format = {}, .columns = task.columns}),
                     task, use);
}

const char* const kWebNlg =
    R"({"entries": [{"1": {"category": "Airport", "lexicalisations": [{"comment": "good", "lex": "One."}, {"comment": "bad", "lex": "Two."},
  {"comment": "good", "lex": "Three."}], "modifiedtripleset": [{"object": "B_b", "property": "leader", "subject": "A"}, {"object": "2702.0", "property": "length", "subject": "A"}],
  "originaltriplesets": {}}}, {"2": {"category": "Food", "lexicalisations": [], "modifiedtripleset": [{"subject": "x", "property": "y", "object": "z"}]}}]})";

TEST(DataToText, E2e) {
  const Task task = load_task("e2e", kTasks);
  const std::string file =
      "name : Blue Spice | area : riverside||At the riverside || yes . \nname : X||It's X "
      ".\r\nname : Blue Spice | area : "
      "riverside||Blue Spice .\n";
  const auto examples = rows(file, task);
  ASSERT_EQ(examples.size(), 3u);
  EXPECT_EQ(examples[0].text, "name : Blue Spice | area : riverside");
  EXPECT_EQ(examples[0].at<GenerationRow>().target, " At the riverside || yes .");
  EXPECT_EQ(examples[1].at<GenerationRow>().target, " It's X .");
  EXPECT_EQ(examples[1].line, 2);
  EXPECT_EQ(examples[0].group(), "e2e");
  EXPECT_TRUE(examples[0].at<GenerationRow>().turns.empty());
  EXPECT_EQ(task.at<Generation>().prompt_end, PromptEnd::kEos);
  const auto joined = join_references(examples, task);
  ASSERT_EQ(joined.size(), 2u);
  EXPECT_EQ(joined[0].at<GenerationRow>().references,
            (std::vector<std::string>{" At the riverside || yes .", " Blue Spice ."}));
  EXPECT_EQ(joined[1].id, 1);
  EXPECT_EQ(joined[0].at<GenerationRow>().target, " At the riverside || yes .");
}

TEST(DataToText, WebNlg) {
  const Task task = load_task("webnlg", kTasks);
  const auto examples = rows(kWebNlg, task, LabelUse::kOptional);
  ASSERT_EQ(examples.size(), 3u);
  EXPECT_EQ(examples[0].text, "A : leader : B_b | A : length : 2702.0");
  EXPECT_EQ(examples[0].at<GenerationRow>().references, (std::vector<std::string>{" One."}));
  EXPECT_EQ(examples[1].at<GenerationRow>().references, (std::vector<std::string>{" Three."}));
  EXPECT_EQ(examples[1].line, 2);
  EXPECT_EQ(examples[0].group(), "Airport");
  EXPECT_EQ(examples[2].text, "x : y : z");  // a test file without texts
  EXPECT_TRUE(examples[2].at<GenerationRow>().references.empty());
  EXPECT_FALSE(examples[2].at<GenerationRow>().target);
  EXPECT_EQ(input_error([&] { rows(kWebNlg, task); }),
            "f:3: column \"target\": expected a text, found no such key");
}

TEST(DataToText, Dart) {
  const Task task = load_task("dart", kTasks);
  const auto examples = rows(
      R"([{"tripleset": [["Mars Hill", "JOINED_In", "1973"], ["Mars Hill", "LOCATION", "N.C."]], "subtree_was_extended": true,
    "annotations": [{"source": "WikiSQL", "text": "One."}, {"source": "e2e", "text": "Two."}]}])",
      task);
  ASSERT_EQ(examples.size(), 2u);
  EXPECT_EQ(examples[0].text, "Mars Hill : joined_in : 1973 | Mars Hill : location : N.C.");
  EXPECT_EQ(examples[1].at<GenerationRow>().references, (std::vector<std::string>{" Two."}));
  EXPECT_EQ(examples[1].group(), "e2e");
  const std::string untold = R"([{"tripleset": [["a", "b", "c"]], "annotations": []}])";
  const auto asked = rows(untold, task, LabelUse::kOptional);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].text, "a : b : c");
  EXPECT_FALSE(asked[0].at<GenerationRow>().target);
  EXPECT_EQ(asked[0].group(), "dart");
  EXPECT_EQ(input_error([&] { rows(untold, task); }),
            "f:1: column \"target\": expected a text, found no such key");
}

TEST(DataToText, Messages) {
  const Task e2e = load_task("e2e", kTasks), webnlg = load_task("webnlg", kTasks),
             dart = load_task("dart", kTasks);
  for (const auto& [task, text, message] : std::vector<std::tuple<Task, std::string, std::string>>{
           {e2e, "a||b\nc|d\n", "f:2: expected data||text, found \"c|d\""},
           {e2e, "a||b\n\nc||d\n", "f:2: expected data||text, found \"\"; remove the blank line"},
           {e2e, "\n\n", "f: expected rows, found none"},
           {webnlg, "[]", "f:1:1: expected an object with entries, found a list"},
           {webnlg, "{}", "f:1:1: expected the key \"entries\", found none"},
           {webnlg, "{\"entries\": []}", "f: expected rows, found none"},
           {webnlg, "{\"entries\": 1}", "f:1:13: expected a list of entries, found \"1\""},
           {webnlg, "{\"entries\": [{}]}",
            "f:1:14: expected an object with one numbered entry, found an object"},
           {webnlg, "{\"entries\": [{\"1\": {\"modifiedtripleset\": [{\"subject\": []}]}}]}",
            "f:1:55: expected a text, found a list"},
           {dart, "{}", "f:1:1: expected a list of objects, found an object"},
           {dart, "[{\"tripleset\": [[\"a\", \"b\"]]}]",
            "f:1:17: expected a list of subject, relation and object, found a list"},
           {dart, "[{\"tripleset\": null}]", "f:1:16: expected a list of triples, found null"}}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(input_error([&task = task, &text = text] { rows(text, task); }), message);
  }
}

// The prompts and targets of reft.md's two harnesses, letter by letter.
TEST(Generation, CommonsenseAndArithmeticPrompts) {
  const std::string row =
      R"({"instruction": "Which?\n\nAnswer format: answer1/answer2", "input": "", "output": "the correct answer is answer2", "answer": "answer2"})";
  const auto arc = rows(row, load_task("arc-easy", kTasks));
  EXPECT_EQ(arc[0].text, "Which?\n\nAnswer format: answer1/answer2\n");
  EXPECT_EQ(arc[0].at<GenerationRow>().target, "the correct answer is answer2");
  EXPECT_EQ(arc[0].at<GenerationRow>().answer, "answer2");
  const auto sum =
      rows(R"({"instruction": "1+1?", "input": "", "output": "\nA: 2.", "answer": "2.0"})",
           load_task("svamp", kTasks));
  EXPECT_EQ(sum[0].text,
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### "
            "Instruction:\n1+1?\n\n### Response:\n");
  EXPECT_EQ(sum[0].at<GenerationRow>().references, (std::vector<std::string>{"\nA: 2."}));
  const auto raw =
      rows(R"([{"id": 926, "original_text": "How much ?", "equation": "x", "ans": 2.0}])",
           load_task("mawps", kTasks), LabelUse::kRequired, TableFormat::kJson);
  EXPECT_EQ(raw[0].at<GenerationRow>().answer, "2");
  EXPECT_EQ(raw[0].at<GenerationRow>().target, "2");
  EXPECT_EQ(raw[0].id_text, "926");
  const Task alpaca = load_task("alpaca", kTasks);
  const auto both = rows(
      "{\"instruction\": \"i\", \"input\": \"\", \"output\": \"o\"}\n{\"instruction\": \"i\", "
      "\"input\": \"x\", \"output\": "
      "\"o\"}\n{\"instruction\": \"i\", \"output\": \"o\"}\n",
      alpaca);
  EXPECT_EQ(both[0].text,
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### "
            "Instruction:\ni\n\n### Response:\n");
  EXPECT_EQ(both[1].text,
            "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response "
            "that appropriately completes "
            "the request.\n\n### Instruction:\ni\n\n### Input:\nx\n\n### Response:\n");
  EXPECT_EQ(both[2].text, both[0].text);
}

// pyreft's examples/loreft/dataset.py: the question and one sentence; an answer whose "####" is
// replaced, and what stands behind it is scored.
TEST(Generation, Gsm8kInReftsOwnPrompt) {
  const Task task = load_task("gsm8k-reft", kTasks);
  const auto examples = rows(
      R"({"question": "Two of 1,000?", "answer": "1,000*2 = <<1000*2=2000>>2,000.\n#### 2,000"})",
      task);
  EXPECT_EQ(examples[0].text,
            "Two of 1,000?\nAnswer the above question. First think step by step and then answer "
            "the final number.\n");
  EXPECT_EQ(examples[0].at<GenerationRow>().target,
            "1,000*2 = <<1000*2=2000>>2,000.\nThe final answer is:  2,000");
  EXPECT_EQ(examples[0].at<GenerationRow>().answer, "2,000");
  EXPECT_EQ(score_texts(task, examples, {"2 * 1,000 is 2,000. The final answer is: 2000.0"})
                .front()
                .value,
            1.0);
  EXPECT_EQ(score_texts(task, examples, {"The final answer is: 1,000"}).front().value, 0.0);
  EXPECT_EQ(rows(R"({"question": "q"})", task, LabelUse::kOptional)[0].at<GenerationRow>().answer,
            std::nullopt);
  EXPECT_EQ(input_error([&] { rows(R"({"question": "q", "answer": "it is 4"})", task); }),
            "f:1: column \"answer\": expected a text with \"####\" in it, found \"it is 4\"");
  EXPECT_EQ(input_error([&] { rows(R"({"question": "q", "answer": "so\n#### four"})", task); }),
            "f:1: column \"answer\": expected a number as answer, found \"four\"");
  const Task choice =
      parsed("name: c\nkind: choice\nprompt: q\noptions: o\ntarget: y\nas: '{option|behind:) }'\n");
  EXPECT_EQ(rows(R"({"q": "?", "o": ["a) x", "b) y"], "y": 0})", choice)[0].at<ChoiceRow>().options,
            (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(input_error([&] { rows(R"({"q": "?", "o": ["a) x", "y"], "y": 0})", choice); }),
            "f:1: an option: expected a text with \") \" in it, found \"y\"");
}

TEST(Generation, AnEmptyTargetOnlyBesideAnAnswer) {
  EXPECT_EQ(
      rows(R"({"instruction": "q", "output": "", "answer": "3"})", load_task("gsm8k", kTasks))[0]
          .at<GenerationRow>()
          .target,
      "");
  EXPECT_EQ(input_error([] {
              rows("{\"prompt\": \"q\", \"response\": \"\"}", load_task("instructions", kTasks));
            }),
            "f:1: expected a target, found an empty text");
}

TEST(Generation, ChatsAndPrompts) {
  const Task task = load_task("instructions", kTasks);
  const auto examples = rows(R"({"prompt": "Hi", "response": "Hello."}
{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
{"prompt": "first turn", "messages": [{"role": "user", "content": "first turn"}, {"content": "c", "role": "assistant"}]}
)",
                             task);
  ASSERT_EQ(examples.size(), 3u);
  EXPECT_EQ(examples[0].at<GenerationRow>().turns,
            (std::vector<Turn>{{"user", "Hi"}, {"assistant", "Hello."}}));
  EXPECT_EQ(examples[0].text, "Hi");
  EXPECT_EQ(examples[0].at<GenerationRow>().target, "Hello.");
  EXPECT_EQ(examples[1].at<GenerationRow>().turns,
            (std::vector<Turn>{{"system", "Be brief."}, {"user", "a"}, {"assistant", "b"}}));
  EXPECT_EQ(examples[1].at<GenerationRow>().references, (std::vector<std::string>{"b"}));
  EXPECT_EQ(examples[1].text, "");
  EXPECT_FALSE(examples[1].at<GenerationRow>().target);
  EXPECT_EQ(examples[2].at<GenerationRow>().turns.size(), 2u);
  const auto asked =
      rows("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n{\"prompt\": \"b\"}\n",
           task, LabelUse::kOptional);
  EXPECT_EQ(asked[0].at<GenerationRow>().turns.size(), 1u);
  EXPECT_TRUE(asked[0].at<GenerationRow>().references.empty());
  EXPECT_EQ(asked[1].at<GenerationRow>().turns, (std::vector<Turn>{{"user", "b"}}));
}

TEST(Generation, ReferencesOfAColumn) {
  const Task task = parsed("name: g\nkind: generation\nprompt: q\ntarget: a\nreferences: r\n");
  EXPECT_EQ(rows("{\"q\": \"x\", \"a\": \"y\", \"r\": [\"y\", \"z\"]}", task)[0]
                .at<GenerationRow>()
                .references,
            (std::vector<std::string>{"y", "z"}));
}

// Rows that ask the same are one when they are scored: conversations are told apart by their turns,
// and texts by what is read beside them.
TEST(Generation, ReferencesAreJoinedWhereAllThatIsAskedIsEqual) {
  const Task chats = parsed(
      "name: g\nkind: generation\nprompt: p\ntarget: c\nchat: chatml\ngroup_references: true\n");
  const auto line = [](const std::string& role, const std::string& asked,
                       const std::string& answer) {
    return R"({"p": [{"role": ")" + role + R"(", "content": ")" + asked + R"("}], "c": ")" +
           answer + "\"}\n";
  };
  const auto joined = join_references(
      rows(line("user", "a", "1") + line("user", "b", "2") + line("user", "a", "3") +
               line("user", "b", "4") + line("user", "c", "5") + line("system", "a", "6"),
           chats),
      chats);
  ASSERT_EQ(joined.size(), 4u) << "a, b, c, and what another says";
  EXPECT_EQ(joined[0].at<GenerationRow>().references, (std::vector<std::string>{"1", "3"}));
  EXPECT_EQ(joined[1].at<GenerationRow>().references, (std::vector<std::string>{"2", "4"}));
  const Task beside = parsed(
      "name: g\nkind: generation\nprompt: p\ntarget: c\ngroup_references: true\nembedding: e\n");
  const auto apart = join_references(rows(R"({"p": "a", "c": "1", "e": [0.5, 1]}
{"p": "a", "c": "2", "e": [0.5, 2]}
{"p": "a", "c": "3", "e": [0.5, 1]}
)",
                                          beside),
                                     beside);
  ASSERT_EQ(apart.size(), 2u);
  EXPECT_EQ(apart[0].at<GenerationRow>().references, (std::vector<std::string>{"1", "3"}));
}

// Where a target may be left out, an empty cell leaves it out: CSV has no other way to say so.
TEST(Generation, AnEmptyCellIsNoTarget) {
  const Task plain = parsed("name: g\nkind: generation\nprompt: prompt\ntarget: target\n"),
             around = parsed(
                 "name: g\nkind: generation\nprompt: prompt\ntarget: ' {target}'\nanswer: "
                 "{column: target}\nmetrics: [answer_number]\n");
  const std::string file = "prompt,target\nhello,\nhi,3\n";
  for (const Task& task : {plain, around}) {
    const auto examples = rows(file, task, LabelUse::kOptional, TableFormat::kCsv);
    EXPECT_FALSE(examples[0].at<GenerationRow>().target);
    EXPECT_FALSE(examples[0].at<GenerationRow>().answer);
    EXPECT_TRUE(examples[0].at<GenerationRow>().references.empty());
    EXPECT_TRUE(examples[1].at<GenerationRow>().target);
  }
  EXPECT_EQ(input_error([&] { rows(file, plain, LabelUse::kRequired, TableFormat::kCsv); }),
            "f:2: expected a target, found an empty text");
}

TEST(Choice, RowsOfPromptsource) {
  const Task task = load_task("choice", kTasks);
  const auto examples =
      rows(R"({"template": "t1", "input": "A? ", "options": ["Yes", "No"], "target": "No"}
{"template": "t2", "input": "B?", "options": ["1", "2", "3"], "target": 0}
{"input": "C?", "options": ["x", "x", "y"], "target": 1}
)",
           task);
  EXPECT_EQ(examples[0].text, "A? ");
  EXPECT_EQ(examples[0].at<ChoiceRow>().options, (std::vector<std::string>{"Yes", "No"}));
  EXPECT_EQ(examples[0].label, 1);
  EXPECT_EQ(examples[0].group(), "t1");
  EXPECT_EQ(examples[1].label, 0);
  EXPECT_EQ(examples[2].label, 1);
  EXPECT_EQ(examples[2].group(), "choice");
  EXPECT_EQ(
      rows("{\"input\": \"C?\", \"options\": [\"x\", \"y\"]}", task, LabelUse::kOptional)[0].label,
      std::nullopt);
}

TEST(Choice, OptionsOfAnInstructionAndOfColumns) {
  const auto one = rows(
      R"({"instruction": "Answer format: no\n\nAnswer format: answer1/answer2/answer3", "answer": "answer3"})",
      load_task("commonsense-choice", kTasks));
  EXPECT_EQ(
      one[0].at<ChoiceRow>().options,
      (std::vector<std::string>{"the correct answer is answer1", "the correct answer is answer2",
                                "the correct answer is answer3"}));
  EXPECT_EQ(one[0].label, 2);
  const Task task = parsed(
      "name: c\nkind: choice\nprompt: goal\noptions: ['{sol1}', '{sol2}', neither]\nas: ' "
      "{option|lower_first}'\ntarget: "
      "label\ntarget_form: index\n");
  const auto two = rows("goal\tsol1\tsol2\tlabel\ng\tDo a\tDo b\t1\n", task, LabelUse::kRequired,
                        TableFormat::kTsv);
  EXPECT_EQ(two[0].at<ChoiceRow>().options,
            (std::vector<std::string>{" do a", " do b", " neither"}));
  EXPECT_EQ(two[0].label, 1);
}

Task choice_by(const std::string& form) {
  return parsed("name: c\nkind: choice\nprompt: q\noptions: o\ntarget: y\ntarget_form: " + form);
}

TEST(Choice, ThePlaceOfTheRightOption) {
  const auto place = [](const std::string& form, const std::string& cell) {
    return rows(R"({"q": "?", "o": ["w", "x", "y"], "y": )" + cell + "}", choice_by(form))[0].label;
  };
  EXPECT_EQ(place("index", "\"2\""), 2);
  EXPECT_EQ(place("number", "3"), 2);
  EXPECT_EQ(place("number", "\"1\""), 0);
  EXPECT_EQ(place("letter", "\"C\""), 2);
  EXPECT_EQ(place("letter", "\"a\""), 0);
  for (const auto& [form, cell, expected] : std::vector<std::array<std::string, 3>>{
           {"index", "3", "an option's index in 0..2, found \"3\""},
           {"number", "0", "an option's number in 1..3, found \"0\""},
           {"number", "-9223372036854775808", "an option's number in 1..3"},
           {"letter", "\"D\"", "an option's letter in A..C, found \"D\""},
           {"letter", "\"AB\"", "an option's letter in A..C"}}) {
    const std::string message = input_error([&] { place(form, cell); });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  }
}

// As Hugging Face's data sets have ARC, whose names may be letters or digits.
TEST(Choice, OptionsWithNames) {
  const auto row = [](const std::string& options, const std::string& right) {
    return rows(R"({"q": "?", "o": )" + options + R"(, "y": ")" + right + "\"}",
                choice_by("cell"))[0];
  };
  const std::string letters = R"({"text": ["w", "x"], "label": ["A", "B"]})",
                    digits = R"({"label": ["1", "2"], "text": ["2", "y"]})";
  EXPECT_EQ(row(letters, "B").label, 1);
  EXPECT_EQ(row(letters, "w").label, 0);
  EXPECT_EQ(row(digits, "2").label, 1);  // a name before an option
  EXPECT_EQ(row(R"({"A": "w", "B": "x"})", "B").label, 1);
  EXPECT_EQ(row(digits, "2").at<ChoiceRow>().options, (std::vector<std::string>{"2", "y"}));
  for (const auto& [options, expected] : std::vector<std::pair<std::string, std::string>>{
           {R"({"text": ["w", "x"], "label": ["A"]})", "as many labels as texts, found 1 and 2"},
           {R"({"text": ["w", "x"]})",
            "one with a text for each name, found [\"w\",\"x\"] at \"text\""},
           {R"({"text": ["w", 1], "label": ["A", "B"]})", "found an element 1 that is none"}}) {
    const std::string message = input_error([&] { row(options, "A"); });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  }
}

TEST(Choice, OptionsFromTheStartOfACell) {
  const Task task = parsed(
      "name: c\nkind: choice\nprompt: q\noptions: {column: o, after: '', separator: '/'}\n"
      "target: y\n");
  const auto found = rows(R"({"q": "?", "o": "x/y/z", "y": "y"})", task);
  EXPECT_EQ(found[0].at<ChoiceRow>().options, (std::vector<std::string>{"x", "y", "z"}));
  EXPECT_EQ(found[0].label, 1);
}

TEST(Cloze, BeforeMaskAfter) {
  const auto rte = rows(
      "index\tsentence1\tsentence2\tlabel\n0\tNo weapons were found.\tWeapons were "
      "found.\tnot_entailment\n",
      load_task("rte-cloze", kTasks), LabelUse::kRequired, TableFormat::kTsv);
  EXPECT_EQ(rte[0].at<LabelledRow>().cloze, (std::vector<Piece>{{"No weapons were found ? ", false},
                                                                {"", true},
                                                                {", weapons were found.", false}}));
  EXPECT_EQ(rte[0].label, 1);
  EXPECT_EQ(rte[0].text, "No weapons were found.");
  const auto sst2 = rows("sentence\tlabel\na fine film . \t1\n", load_task("sst2-cloze", kTasks),
                         LabelUse::kRequired, TableFormat::kTsv);
  EXPECT_EQ(sst2[0].at<LabelledRow>().cloze,
            (std::vector<Piece>{{"a fine film . It was ", false}, {"", true}, {".", false}}));
}

TEST(TextExampleMessages, EveryBadRow) {
  const Task chat = parsed("name: g\nkind: generation\nmessages: m\nchat: model\n"),
             choice = load_task("choice", kTasks), arc = load_task("arc-easy", kTasks),
             references =
                 parsed("name: g\nkind: generation\nprompt: q\ntarget: a\nreferences: r\n"),
             both = load_task("instructions", kTasks);
  const std::string m = "f:1: column \"m\": ";
  for (const auto& [task, text, message] : std::vector<std::tuple<Task, std::string, std::string>>{
           {arc, R"({"instruktion": "a"})",
            "f: no column \"instruction\" for the prompt of task 'arc-easy' (did you mean "
            "'instruktion'?); columns here: "
            "\"instruktion\""},
           {arc, R"({"instruction": "a", "answer": "answer6"})",
            "f:1: column \"answer\": expected one of the answer's options as answer, found "
            "\"answer6\" (did you mean "
            "'answer1'?)"},
           {arc, R"({"instruction": "a", "answer": " "})",
            "f:1: column \"answer\": expected an answer, found an empty text"},
           {arc, R"({"instruction": true, "answer": "answer1"})",
            "f:1: column \"instruction\": expected a text, found a truth value true; put it in "
            "quotes"},
           {load_task("svamp", kTasks), R"({"instruction": "a", "output": "b", "answer": "B"})",
            "f:1: column \"answer\": expected a number as answer, found \"B\""},
           {load_task("aqua", kTasks), R"({"instruction": "a", "output": "b", "answer": "F"})",
            "f:1: column \"answer\": expected one of the letters ABCDE as answer, found \"F\""},
           {references, R"({"q": "a", "a": "b", "r": "b"})",
            "f:1: column \"r\": expected a list of texts, found a text"},
           {references, R"({"q": "a", "a": "b", "r": {}})",
            "f:1: column \"r\": expected a list of texts, found an object"},
           {references, R"({"q": "a", "a": "b", "r": ["x", 1]})",
            "f:1: column \"r\": expected a list of texts, found an element 1 that is none; put it "
            "in quotes"},
           {references, R"({"q": "a", "a": "b", "r": []})",
            "f:1: column \"r\": expected at least one reference, found an empty list"},
           {chat, R"({"m": []})", m + "expected at least one turn, found an empty list"},
           {chat, R"({"m": "x"})", m + "expected a list of {role, content}, found a text"},
           {chat, R"({"m": null})", m + "expected a chat, found null"},
           {chat, R"({"m": [{"role": "user", "content": "x"}]})",
            m + "expected a last turn of the assistant, found one of the user"},
           {both, R"({"messages": null, "x": "y"})",
            "f:1: column \"messages\": expected a chat, found null"},
           {choice, R"({"input": "a", "options": ["x"], "target": 0})",
            "f:1: expected at least two options, found 1"},
           {choice, R"({"input": "a", "options": ["x", "y"], "target": 2})",
            "f:1: column \"target\": expected an option's index in 0..1, found \"2\""},
           {choice, R"({"input": "a", "options": ["x", "y"], "target": 0.5})",
            "f:1: column \"target\": expected an option's index in 0..1, found \"0.5\""},
           {choice, R"({"input": "a", "options": ["yes", "no"], "target": "yess"})",
            "f:1: column \"target\": expected one of the options, found \"yess\" (did you mean "
            "'yes'?); here are yes and no"},
           {choice, R"({"input": "a", "options": ["x", "x"], "target": "x"})",
            "f:1: column \"target\": the right option \"x\" appears twice among the options; give "
            "its index"},
           {choice, R"({"input": "a", "options": ["x", "y"], "target": null})",
            "f:1: column \"target\": expected an option, its name or its place, found null"},
           {load_task("commonsense-choice", kTasks), R"({"instruction": "a", "answer": "x"})",
            "f:1: column \"instruction\": expected options after \"Answer format: \", found "
            "none"}}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(input_error([&task = task, &text = text] { rows(text, task); }), message);
  }
}

}  // namespace
}  // namespace graft::test_text_examples
