// Chats as data files write them: the forms that are read, and what is refused with file, line,
// column and turn.
#include <gtest/gtest.h>

#include "data/task.h"
#include "tests/data/expect_error.h"

namespace graft::test_turns {
namespace {

const Path kTasks = Path(GRAFT_SOURCE_DIR) / "tasks";

std::vector<Example> rows(const std::string& text, const Task& task,
                          LabelUse use = LabelUse::kRequired) {
  return to_examples(parse_table(text, TableFormat::kJsonl, "f.jsonl"), task, use);
}

Task chat_task(const std::string& more = "") {
  return parse_task(
      parse_yaml("name: g\nkind: generation\nmessages: m\nchat: model\n" + more, "t.yaml"),
      "t.yaml");
}

std::vector<Turn> turns(const std::string& list, LabelUse use = LabelUse::kRequired) {
  return rows("{\"m\": " + list + "}", chat_task(), use).front().at<GenerationRow>().turns;
}

const std::vector<Turn> kShort = {{"user", "a"}, {"assistant", "b"}};

TEST(Turns, EveryFormThatSaysTheSame) {
  for (
      const char* list : {
          R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])",
          R"([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}])",
          R"([{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}])",
          R"([{"from": "human", "value": "a"}, {"from": "chatgpt", "value": "b"}])",
          R"([{"value": "a", "from": "human", "weight": null}, {"value": "b", "from": "model"}])",
          R"([{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": [{"text": "b", "type": "text"}]}])",
          R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}, {"role": "assistant", "content": "b"}])",
          R"([{"role": "user", "content": "a", "name": "Ann"}, {"role": "assistant", "content": "b", "tool_calls": null}])",
          R"([{"content": "a", "created": null, "header": {"user-agent": "x"}, "hashed_ip": "y", "country": "US", "toxic": false, "redacted": false, "state": "z", "language": "English", "openai_id": null, "role": "user", "temperature": null, "timestamp": "2024", "token_counter": null, "top_p": null, "turn_identifier": 1, "system_fingerprint": null, "usage": null}, {"content": "b", "created": 7, "header": null, "hashed_ip": null, "country": null, "toxic": false, "redacted": false, "state": null, "language": "English", "openai_id": "o", "role": "assistant", "temperature": 1.0, "timestamp": "2024", "token_counter": 3, "top_p": 1.0, "turn_identifier": 1, "system_fingerprint": "f", "usage": {"prompt_tokens": 1}}])",
          R"([{"role": "user", "content": "a", "name": null}, {"role": "assistant", "content": "b", "tool_calls": []}])",
          R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "refusal": null, "audio": null, "function_call": null, "annotations": []}])",
          R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}])",
          R"([{"role": "user", "content": "a", "weight": 0}, {"role": "assistant", "content": "b", "weight": 1.0}])",
          R"([{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": null}]}, {"role": "assistant", "content": "b", "metadata": {}}])",
      }) {
    SCOPED_TRACE(list);
    EXPECT_EQ(turns(list), kShort);
  }
}

TEST(Turns, PartsFollowEachOther) {
  EXPECT_EQ(
      turns(
          R"([{"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}, )"
          R"({"role": "assistant", "content": "b"}])")[0]
          .content,
      "one two");
}

TEST(Turns, WeightZeroIsNotLearnt) {
  const std::vector<Turn> found = turns(
      R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}, {"role": "user", "content": "c"}, )"
      R"({"role": "assistant", "content": "d", "weight": 1}])");
  EXPECT_EQ(found,
            (std::vector<Turn>{
                {"user", "a"}, {"assistant", "b", false}, {"user", "c"}, {"assistant", "d"}}));
}

TEST(Turns, ReadyTaskForShareGpt) {
  const Task task = load_task("sharegpt", kTasks);
  const auto examples = rows(
      R"({"id": "x_0", "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})",
      task);
  EXPECT_EQ(examples[0].at<GenerationRow>().turns,
            (std::vector<Turn>{{"system", "s"}, {"user", "a"}, {"assistant", "b"}}));
  EXPECT_EQ(examples[0].at<GenerationRow>().references, std::vector<std::string>{"b"});
  EXPECT_EQ(examples[0].at<GenerationRow>().turns_column, "conversations");
  EXPECT_EQ(examples[0].where(), "f.jsonl:1: ");
}

// LLaMA-Factory writes the system's turn beside the list.
TEST(Turns, TheSystemMayStandInAColumnOfItsOwn) {
  const std::string list =
      R"("conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}])";
  const std::vector<Turn> whole = {{"system", "s"}, {"user", "a"}, {"assistant", "b"}};
  const Task task = load_task("sharegpt", kTasks);
  const auto examples = rows("{" + list + R"(, "system": "s"})" + "\n{" + list +
                                 R"(, "system": ""})" + "\n{" + list + "}\n",
                             task);
  EXPECT_EQ(examples[0].at<GenerationRow>().turns, whole);
  EXPECT_EQ(examples[1].at<GenerationRow>().turns, kShort);
  EXPECT_EQ(examples[2].at<GenerationRow>().turns, kShort);
  EXPECT_EQ(examples[0].at<GenerationRow>().references, std::vector<std::string>{"b"});

  const auto twice = [&](const std::string& told) {
    return rows(
        R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": ")" +
            told + "\"}",
        task);
  };
  EXPECT_EQ(twice("s")[0].at<GenerationRow>().turns, whole);
  EXPECT_EQ(input_error([&] { twice("other"); }),
            "f.jsonl:1: column \"system\": the turns begin with another text of the system; leave "
            "one of the two");

  const Task pairs = parse_task(
      parse_yaml("name: g\nkind: generation\nprompt: q\ntarget: t\nsystem: s\nchat: model\n", "t"),
      "t");
  EXPECT_EQ(rows(R"({"q": "a", "t": "b", "s": "s"})", pairs)[0].at<GenerationRow>().turns, whole);
  EXPECT_EQ(rows(R"({"q": [{"role": "user", "content": "a"}], "t": "b", "s": "s"})", pairs)[0]
                .at<GenerationRow>()
                .turns,
            whole);
}

// trl: the loss counts the completion alone.
TEST(Turns, PromptsAndCompletionsAsLists) {
  const Task task = load_task("prompt-completion", kTasks);
  const std::string row =
      R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]})";
  const auto examples = rows(row, task);
  EXPECT_EQ(examples[0].at<GenerationRow>().turns,
            (std::vector<Turn>{
                {"user", "a"}, {"assistant", "b", false}, {"user", "c"}, {"assistant", "d"}}));
  EXPECT_EQ(examples[0].at<GenerationRow>().references, std::vector<std::string>{"d"});
  EXPECT_FALSE(examples[0].at<GenerationRow>().target);
  EXPECT_EQ(rows(R"({"prompt": [{"role": "user", "content": "a"}], "completion": "b"})", task)[0]
                .at<GenerationRow>()
                .turns,
            kShort);
  EXPECT_EQ(rows(R"({"prompt": "a", "completion": "b"})", task)[0].at<GenerationRow>().turns,
            kShort);
  EXPECT_EQ(
      rows(
          R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
          task)[0]
          .at<GenerationRow>()
          .turns,
      kShort);
  EXPECT_EQ(rows(R"({"prompt": [{"role": "user", "content": "a"}]})", task, LabelUse::kOptional)[0]
                .at<GenerationRow>()
                .turns,
            (std::vector<Turn>{{"user", "a"}}));
  Task all = task;
  all.at<Generation>().loss = LossOn::kAll;
  EXPECT_TRUE(rows(row, all)[0].at<GenerationRow>().turns[1].is_learnt)
      << "the whole text is learnt";
  EXPECT_EQ(
      input_error([&] {
        rows(
            R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "user", "content": "d"}]})",
            task);
      }),
      "f.jsonl:1: column \"completion\": expected a last turn of the assistant, found one of the "
      "user");
}

TEST(Turns, EveryRefusalNamesTheTurn) {
  const std::string at = "f.jsonl:1: column \"m\": ";
  for (
      const auto& [list, message] : std::vector<std::pair<std::string, std::string>>{
          {R"([])", "expected at least one turn, found an empty list"},
          {R"("x")", "expected a list of {role, content}, found a text"},
          {R"([1])", "turn 1: expected an object with role and content, or from and value"},
          {R"([{"role": "user"}])", "turn 1: expected the key \"content\", found none"},
          {R"([{"content": "x"}])", "turn 1: expected the key \"role\", found none"},
          {R"([{"from": "human", "content": "x"}])",
           "turn 1: expected the key \"value\", found none"},
          {R"([{"role": 1, "content": "x"}])", "turn 1: role: expected a text"},
          {R"([{"role": "user", "content": null}])",
           "turn 1: content: expected a text, or a list of parts {type: text, text}"},
          {R"([{"role": "user", "content": []}])",
           "turn 1: content: expected a text, or a list of parts {type: text, text}"},
          {R"([{"role": "user", "content": "x"}, {"role": "asistant", "content": "x"}])",
           "turn 2: expected the role system, user or assistant, found \"asistant\" (did you mean "
           "'assistant'?)"},
          {R"([{"role": "user", "content": "x"}, {"role": "tool", "content": "x", "tool_call_id": "1"}])",
           "turn 2: a turn of a tool, which no chat format here can show; leave such conversations "
           "out"},
          {R"([{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}])",
           "turn 1: a turn has role and content, found the key \"tool_calls\", which no chat "
           "format here can show"},
          {R"([{"from": "gpt", "value": "x", "loss": true}])",
           "turn 1: a turn has from and value, found the key \"loss\", which no chat format here "
           "can show"},
          {R"([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "y"}}]}])",
           "turn 1: content: part 2: expected the type text, found \"image_url\", which no model "
           "here reads"},
          {R"([{"role": "user", "content": ["x"]}])",
           "turn 1: content: part 1: expected an object with type and text"},
          {R"([{"role": "user", "content": [{"type": "text"}]}])",
           "turn 1: content: part 1: expected a text under the key \"text\""},
          {R"([{"role": "user", "content": [{"type": "text", "text": "x", "lang": "en"}]}])",
           "turn 1: content: part 1: expected type and text, found the key \"lang\""},
          {R"([{"role": "assistant", "content": "x", "weight": 0.5}])",
           "turn 1: weight: expected the number 0 or 1, found \"0.5\""},
          {R"([{"role": "assistant", "content": "x", "weight": "1"}])",
           "turn 1: weight: expected the number 0 or 1, found \"1\""},
          {R"([{"role": "user", "content": "x", "weight": 1}])",
           "turn 1: weight: only what the assistant says is learnt, and this turn is the user's; "
           "give it no weight"},
          {R"([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 0}])",
           "every turn of the assistant has the weight 0, which leaves nothing to learn"},
          {R"([{"role": "user", "content": "x"}])",
           "expected a last turn of the assistant, found one of the user"}}) {
    SCOPED_TRACE(list);
    EXPECT_EQ(input_error([&list = list] { turns(list); }), at + message);
  }
}

TEST(Turns, RowsWithoutAFileAreNamedByTheirId) {
  Example example;
  example.id_text = "7";
  EXPECT_EQ(example.where(), "row 7: ");
  example.source = std::make_shared<const std::string>("--prompt");
  EXPECT_EQ(example.where(), "--prompt: ");
}

}  // namespace
}  // namespace graft::test_turns
