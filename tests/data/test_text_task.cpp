// Tasks of texts: every key, the way back, and one message for each fault; templates.
#include <gtest/gtest.h>

#include "data/task.h"
#include "tests/data/expect_error.h"

namespace graft::test_text_task {
namespace {

Task parsed(const std::string& yaml) { return parse_task(parse_yaml(yaml, "t.yaml"), "t.yaml"); }

void expect_reads_back(const Task& task) {
  const Node node = task_to_node(task);
  EXPECT_EQ(parse_task(node, "memory"), task);
  EXPECT_EQ(parse_task(parse_yaml(to_yaml(node), "yaml"), "yaml"), task);
  EXPECT_EQ(parse_task(parse_json(to_json(node), "json"), "json"), task);
}

TEST(Templates, LiteralsColumnsAndFilters) {
  const Template text = parse_template("a {{x}} {one|strip|lower_first}{#2 two}.");
  ASSERT_EQ(text.pieces.size(), 4u);
  EXPECT_EQ(text.pieces[0].literal, "a {x} ");
  EXPECT_EQ(text.pieces[1].column, "one");
  EXPECT_EQ(text.pieces[1].filters,
            (std::vector<TextFilter>{{FilterKind::kStrip}, {FilterKind::kLowerFirst}}));
  EXPECT_EQ(text.pieces[2].column, "#2 two");
  EXPECT_EQ(text.columns(), (std::vector<std::string>{"one", "#2 two"}));
  EXPECT_EQ(column_or_template("a b").columns(), (std::vector<std::string>{"a b"}));
  const std::vector<TextFilter> all = {
      {FilterKind::kStrip}, {FilterKind::kNoFinalPunctuation}, {FilterKind::kLowerFirst}};
  EXPECT_EQ(apply_filters(" Ünder. \n", all), "ünder");
  EXPECT_EQ(apply_filters("what ?", {{FilterKind::kNoFinalPunctuation}}), "what");
  EXPECT_EQ(apply_filters("wow!!", {{FilterKind::kNoFinalPunctuation}}), "wow!");
  EXPECT_EQ(apply_filters("", all), "");
}

TEST(Templates, WhatStandsBeforeAndBehindAMark) {
  const Template text = parse_template("{a|before:####}{a|behind: : |strip}");
  EXPECT_EQ(text.pieces[0].filters, (std::vector<TextFilter>{{FilterKind::kBefore, "####"}}));
  EXPECT_EQ(text.pieces[1].filters,
            (std::vector<TextFilter>{{FilterKind::kBehind, " : "}, {FilterKind::kStrip}}));
  const TextFilter before{FilterKind::kBefore, "##"}, behind{FilterKind::kBehind, "##"};
  EXPECT_EQ(apply_filters("a ## b ## c", {before}), "a ");
  EXPECT_EQ(apply_filters("a ## b ## c", {behind}), " b ## c");
  EXPECT_EQ(apply_filters("a ## b ## c", {behind, before}), " b ");
  EXPECT_EQ(apply_filters("##", {before}), "");
  EXPECT_EQ(apply_filters("##", {behind}), "");
  EXPECT_EQ(input_error([&] { apply_filters("a # b", {before}); }),
            "expected a text with \"##\" in it, found \"a # b\"");
}

TEST(Templates, Messages) {
  EXPECT_EQ(input_error([] { parse_template("a {b"); }),
            "a '{' is never closed; a brace that is meant is written twice");
  EXPECT_EQ(input_error([] { parse_template("a {b{c}}"); }),
            "a '{' is never closed; a brace that is meant is written twice");
  EXPECT_EQ(input_error([] { parse_template("a } b"); }),
            "a '}' closes nothing; a brace that is meant is written twice");
  EXPECT_EQ(input_error([] { parse_template("{}"); }),
            "braces without a column's name; a brace that is meant is written twice");
  EXPECT_EQ(input_error([] { parse_template("{a|stripp}"); }),
            "unknown filter \"stripp\" (did you mean 'strip'?); there are strip, "
            "no_final_punctuation, lower_first, before and behind");
  EXPECT_EQ(input_error([] { parse_template("{a|after:##}"); }),
            "unknown filter \"after\"; there are strip, no_final_punctuation, lower_first, before "
            "and behind");
  EXPECT_EQ(input_error([] { parse_template("{a|before}"); }),
            "the filter before needs the text that it looks for: before:TEXT");
  EXPECT_EQ(input_error([] { parse_template("{a|behind:}"); }),
            "the filter behind needs the text that it looks for: behind:TEXT");
  EXPECT_EQ(input_error([] { parse_template("{a|strip:#}"); }),
            "the filter strip takes no text, found \"strip:#\"");
  EXPECT_EQ(input_error([] { column_or_template(""); }),
            "expected a column's name or a text with {column}, found an empty text");
}

TEST(TextTask, EveryKeyOfAGeneration) {
  const Task task = parsed(
      "name: g\nkind: generation\nid: key\ngroup: set\nformat: jsonl\nprompt: \"Q: "
      "{q|strip}\\n\"\nprompt_with: {column: c, "
      "template: \"C: {c}\\nQ: {q}\\n\"}\n"
      "target: a\nmessages: m\nsystem: s\nreferences: r\nchat: chatml\nloss: all\nstop: "
      "[\"\\n\\n\", END]\n"
      "answer: {column: gold, after: 'answer is ', options: [x, y], letters: ABC, tolerance: 0.5}\n"
      "metrics: [answer_after, answer_option, answer_number, answer_letter, exact_match, bleu, "
      "ter, nist, rouge_l, "
      "cider]\nprimary: bleu\n");
  ASSERT_EQ(task.kind(), TaskKind::kGeneration);
  EXPECT_EQ(task.at<Generation>().prompt->text.columns(), (std::vector<std::string>{"q"}));
  EXPECT_EQ(task.at<Generation>().prompt->with_column, "c");
  EXPECT_EQ(task.at<Generation>().target->columns(), (std::vector<std::string>{"a"}));
  EXPECT_EQ(task.at<Generation>().system_column, "s");
  EXPECT_EQ(task.at<Generation>().chat, "chatml");
  EXPECT_EQ(task.at<Generation>().loss, LossOn::kAll);
  EXPECT_EQ(task.at<Generation>().stop, (std::vector<std::string>{"\n\n", "END"}));
  EXPECT_EQ(task.at<Generation>().answer->tolerance, 0.5);
  EXPECT_EQ(task.prompted()->group_column, "set");
  EXPECT_EQ(task.num_labels(), 0);
  expect_reads_back(task);
  expect_reads_back(
      parsed("name: g\nkind: generation\nprompt: q\ntarget: a\nprompt_end: eos\ngroup_references: "
             "true\n"));
  expect_reads_back(parsed("name: g\nkind: generation\nmessages: m\nchat: model\n"));
  expect_reads_back(
      parsed("name: g\nkind: generation\nprompt: q\ntarget: a\nanswer: {column: "
             "'{a|behind:####}'}\nmetrics: answer_number\n"));
}

TEST(TextTask, EveryFormOfATarget) {
  for (const auto& [form, expected] :
       std::vector<std::pair<std::string, TargetForm>>{{"index", TargetForm::kIndex},
                                                       {"number", TargetForm::kNumber},
                                                       {"letter", TargetForm::kLetter},
                                                       {"text", TargetForm::kText}}) {
    const Task task =
        parsed("name: c\nkind: choice\nprompt: q\noptions: o\ntarget: y\ntarget_form: " + form);
    EXPECT_EQ(task.at<Choice>().target_form, expected);
    expect_reads_back(task);
  }
}

TEST(TextTask, EveryKeyOfAChoice) {
  const Task task = parsed(
      "name: c\nkind: choice\nprompt: q\noptions: ['{a}', '{b}', neither]\nas: ' "
      "{option|strip}'\ntarget: y\ntarget_form: "
      "index\nprompt_end: eos\n"
      "score: mean\ngroup: g\nmetrics: [accuracy_median, accuracy, accuracy_by_group]\n");
  EXPECT_EQ(task.at<Choice>().options.texts.size(), 3u);
  EXPECT_EQ(task.at<Choice>().target_form, TargetForm::kIndex);
  EXPECT_EQ(task.at<Choice>().score, OptionScore::kMean);
  EXPECT_EQ(task.primary_metric, "accuracy_median");
  expect_reads_back(task);
  expect_reads_back(parsed(
      "name: c\nkind: choice\nprompt: q\noptions: o\ntarget: y\nchat: model\ntarget_form: text\n"));
  expect_reads_back(
      parsed("name: c\nkind: choice\nprompt: q\noptions: {column: q, after: 'format: ', separator: "
             "/}\ntarget: y\n"));
}

TEST(TextTask, Cloze) {
  const Task task = parsed(
      "name: z\ntext: s\nlabel: y\nlabels: [bad, good]\ncloze: {template: '{s} It was {mask}.', "
      "words: {good: great, bad: "
      "terrible}}\n");
  EXPECT_EQ(task.cloze()->words, (std::vector<std::string>{"terrible", "great"}));
  expect_reads_back(task);
}

TEST(TextTask, EveryFault) {
  struct Bad {
    std::string yaml, message;
  };
  const std::string g = "name: g\nkind: generation\n", text = g + "prompt: q\ntarget: a\n",
                    c = "name: c\nkind: choice\nprompt: q\ntarget: y\n", co = c + "options: o\n",
                    z = "name: z\ntext: s\nlabel: y\nlabels: [a, b]\n";
  const std::vector<Bad> cases = {
      {g + "target: a\n", "t.yaml: /prompt: missing; expected a text"},
      {g + "prompt: q\n", "t.yaml: /target: missing; expected a text"},
      {g + "prompt: '{q'\ntarget: a\n",
       "t.yaml:3:9: /prompt: a '{' is never closed; a brace that is meant is written twice"},
      {text + "text: q\n",
       "t.yaml:5:7: /text: a generation has prompt and target instead; remove it, or set kind: "
       "classification"},
      {co + "labels: [a, b]\n",
       "t.yaml:6:9: /labels: a choice has prompt and target instead; remove it, or set kind: "
       "classification"},
      {text + "prompt_with: {column: c}\n",
       "t.yaml: /prompt_with/template: missing; expected a text"},
      {text + "chat: chatlm\n", "t.yaml:5:7: /chat: expected " + joined(chat_names(), "or") +
                                    ", found \"chatlm\" (did you mean 'chatml'?)"},
      {text + "chat: model\nprompt_end: eos\n",
       "t.yaml:6:13: /prompt_end: a chat format says itself how a prompt ends; remove it, or set "
       "chat: none"},
      {text + "loss: target_only\n",
       "t.yaml:5:7: /loss: expected target or all, found \"target_only\""},
      {text + "stop: ['']\n",
       "t.yaml:5:7: /stop: an empty text ends every output before it begins"},
      {g + "messages: m\n",
       "t.yaml:3:11: /messages: turns need a chat format; set chat: model, or one of " +
           joined(chat_format_names())},
      {text + "system: s\n",
       "t.yaml:5:9: /system: turns need a chat format; set chat: model, or one of " +
           joined(chat_format_names())},
      {g + "messages: m\nchat: model\ngroup_references: true\n",
       "t.yaml:5:19: /group_references: rows are grouped by their prompts, which chats do not "
       "have"},
      {text + "references: r\ngroup_references: true\n",
       "t.yaml:6:19: /group_references: the references already stand in a column; remove one of "
       "the two"},
      {text + "answer: {after: x}\n", "t.yaml: /answer/column: missing; expected a text"},
      {text + "answer: {column: '{a|behind}'}\n",
       "t.yaml:5:18: /answer/column: the filter behind needs the text that it looks for"},
      {text + "answer: {column: a, after: ''}\n",
       "t.yaml:5:28: /answer/after: expected the words that announce an answer, found an empty "
       "text"},
      {text + "answer: {column: a, options: []}\n",
       "t.yaml:5:30: /answer/options: expected the answers that can be found in an output"},
      {text + "answer: {column: a, options: ['']}\n",
       "t.yaml:5:30: /answer/options: an option is empty"},
      {text + "answer: {column: a, letters: abc}\n",
       "t.yaml:5:30: /answer/letters: expected capital letters such as ABCDE, found \"abc\""},
      {text + "metrics: answer_after\n",
       "t.yaml:5:10: /metrics: answer_after needs answer.after: the words that announce an answer"},
      {text + "metrics: answer_option\n",
       "t.yaml:5:10: /metrics: answer_option needs answer.options: the answers that can be found "
       "in an output"},
      {text + "metrics: answer_number\n",
       "t.yaml:5:10: /metrics: answer_number needs answer.column: where the right number stands"},
      {text + "metrics: answer_letter\n",
       "t.yaml:5:10: /metrics: answer_letter needs answer.column: where the right letter stands"},
      {text + "metrics: blue\nprimary: blue\n",
       "t.yaml:5:10: /metrics: expected exact_match, perplexity, bleu, ter, nist, rouge_l, cider, "
       "answer_after, answer_option, "
       "answer_number or "
       "answer_letter, found \"blue\" (did you mean 'bleu'?)"},
      {text + "metrics: [bleu, ter]\nprimary: ter\n",
       "t.yaml:6:10: /primary: the best checkpoint has the largest score, and a smaller ter is "
       "better; choose another metric"},
      {text + "metrics: ter\n",
       "t.yaml: /primary: the best checkpoint has the largest score, and a smaller ter is better; "
       "choose another metric"},
      {text + "columns: [q, b]\n",
       "t.yaml:4:9: /target: \"a\" is not in columns; there are q and b"},
      {c,
       "t.yaml: /options: missing; expected a column with a list of texts, or a list of texts, or "
       "a section with column, after "
       "and separator"},
      {c + "options: [a]\n", "t.yaml:5:10: /options: expected 2..10000 options, found 1"},
      {c + "options: [a, '{']\n",
       "t.yaml:5:10: /options: a '{' is never closed; a brace that is meant is written twice"},
      {c + "options: [a, [b]]\n", "t.yaml:5:10: /options: expected a list of texts"},
      {c + "options: {column: q, after: x, separator: ''}\n",
       "t.yaml:5:43: /options/separator: expected the text between two options, found an empty "
       "one"},
      {co + "as: '{opt}'\n",
       "t.yaml:6:5: /as: expected a text with {option} as its one place, found \"{opt}\""},
      {co + "metrics: [accuracy, accuracy_by_group]\nprimary: accuracy_by_group\n",
       "t.yaml:7:10: /primary: accuracy_by_group is several scores; choose accuracy_median or "
       "accuracy"},
      {z + "cloze: {template: '{s}', words: {a: x, b: y}}\n",
       "t.yaml:5:19: /cloze/template: expected {mask} once, found \"{s}\""},
      {z + "cloze: {template: '{mask}', words: {a: x}}\n",
       "t.yaml: /cloze/words/b: missing; expected a text"},
      {z + "cloze: {template: '{mask}', words: {a: x, b: x}}\n",
       "t.yaml:5:46: /cloze/words/b: the word \"x\" already stands for another label"},
      {z + "cloze: {template: '{mask}', words: {a: x, b: ''}}\n",
       "t.yaml:5:46: /cloze/words/b: expected a word, found an empty text"},
      {z + "cloze: {template: '{mask}', words: {a: x, b: y, c: z}}\n",
       "t.yaml:5:52: /cloze/words/c: unknown key"},
      {"name: r\nkind: regression\ntext: s\nlabel: y\ncloze: {template: '{mask}'}\n",
       "t.yaml:5:8: /cloze: a regression has values, not labels; remove it, or set kind: "
       "classification"},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.yaml);
    const std::string message = input_error([&] { parsed(bad.yaml); });
    EXPECT_EQ(message.substr(0, bad.message.size()), bad.message) << message;
  }
}

}  // namespace
}  // namespace graft::test_text_task
