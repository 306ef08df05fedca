// Rows as token ids where texts meet and where they are too long: targets behind prompts, chats
// that lose their oldest turns, what stays around a text, and refusals with file and line.
#include <gtest/gtest.h>

#include "base/error.h"
#include "feed/dataset.h"
#include "tests/feed/feed_rig.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_row_encoder {
namespace {

Ids with_end(Ids ids, const ModelText& text) { return joined({ids, {text.end_id()}}); }

std::string shown(const ModelText& text, const Ids& ids) {
  return text.tokenizer->decode(ids, SpecialTokens::kKeep);
}

std::string targets(const ModelText& text, const Sequence& sequence) {
  Ids ids;
  for (size_t i = 0; i < sequence.ids.size(); ++i) {
    if (sequence.is_target()[i]) ids.push_back(sequence.ids[i]);
  }
  return shown(text, ids);
}

constexpr const char* kQuestions = "name: q\nkind: generation\nprompt: \"{q}\"\ntarget: \"{a}\"\n";
constexpr const char* kChats = "name: c\nkind: generation\nmessages: m\nchat: chatml\n";
constexpr const char* kTwoTurns =
    R"({"m": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]})";

TEST(RowEncoder, TargetsAndOptionsGoOnFromTheirPrompt) {
  for (const char* family : {"llama-2", "llama-2-new"}) {
    const ModelText text = text_of(family, "</s>");
    const ModelConfig config = config_of("llama", text);
    const Task task = task_of(kQuestions);
    const auto rows = rows_of(task, R"({"q": "over", "a": " the sea"})");
    const Ids both = plain(text, "over the sea"), over = plain(text, "over");
    const Sequence sequence = encode_examples(rows, task, text, config, 0).sequences.front();
    const Ids prompt =
        encode_examples(rows, task, text, config, 0, TargetUse::kLeaveOut).sequences.front().ids;
    EXPECT_EQ(Ids(sequence.ids.begin() + 1, sequence.ids.end()), with_end(both, text))
        << "<s> stands before both";
    EXPECT_EQ(Ids(sequence.ids.begin(), sequence.ids.begin() + sequence.prompt_length()), prompt);
    const Task choice = task_of(
        "name: r\nkind: choice\nprompt: \"{q}\"\noptions: o\nas: \" {option}\"\ntarget: t\n");
    const Dataset asked =
        encode_examples(rows_of(choice, R"({"q": "over", "o": ["the sea", "a road"], "t": 0})"),
                        choice, text, config, 0, TargetUse::kLeaveOut);
    EXPECT_EQ(
        asked.options[0][0],
        with_end(Ids(both.begin() + static_cast<std::ptrdiff_t>(over.size()), both.end()), text));
    EXPECT_EQ(asked.sequences[0].ids, prompt);
  }
}

// The mark of the end is a token like others of the whole text.
TEST(RowEncoder, AnEndedPromptIsGoneOnFromToo) {
  const ModelText text = text_of("llama-2-new", "</s>");
  const Task task = task_of(std::string(kQuestions) + "prompt_end: eos\n");
  const Sequence sequence = encode_examples(rows_of(task, R"({"q": "over", "a": " the sea"})"),
                                            task, text, config_of("llama", text), 0)
                                .sequences[0];
  EXPECT_EQ(Ids(sequence.ids.begin() + 1, sequence.ids.end()),
            with_end(plain(text, "over</s> the sea"), text));
}

TEST(RowEncoder, AChoiceInAChatIsTheAssistantsTurn) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  const Task task =
      task_of("name: r\nkind: choice\nprompt: \"{q}\"\noptions: o\ntarget: t\nchat: chatml\n");
  const Dataset asked =
      encode_examples(rows_of(task, R"({"q": "is it", "o": ["yes", "no way"], "t": 1})"), task,
                      text, config_of("llama", text), 0, TargetUse::kLeaveOut);
  EXPECT_EQ(shown(text, asked.options[0][1]), "no way<|im_end|>");
  EXPECT_TRUE(shown(text, asked.sequences[0].ids).ends_with("<|im_start|>assistant\n"));
}

TEST(RowEncoder, WhatStandsAroundATextStaysWhenItIsCut) {
  const std::string letters = "a b c d e f g h i j k l m n o p q r s t";
  const std::string row = R"({"q": ")" + letters + R"(", "a": ")" + letters + "\"}";
  const ModelText text = text_of("t5", "</s>");
  for (const char* family : {"t5", "bart"}) {
    const ModelConfig config = config_of(family, text);
    for (const std::string side : {"right", "left"}) {
      const Task task = task_of(kQuestions + ("truncation_side: " + side + "\n"));
      const Dataset data = encode_examples(rows_of(task, row), task, text, config, 12);
      const Sequence& sequence = data.sequences.front();
      const Ids all = plain(text, letters);
      EXPECT_EQ(sequence.ids, with_end(side == "right" ? Ids(all.begin(), all.begin() + 11)
                                                       : Ids(all.end() - 11, all.end()),
                                       text));
      EXPECT_EQ(sequence.target_ids(), with_end(Ids(all.begin(), all.begin() + 11), text))
          << "a target loses its end";
      ASSERT_EQ(data.num_cut(), 1);
      EXPECT_EQ(data.cut[0].tokens, 2 * (static_cast<int64_t>(all.size()) - 11));
    }
  }
}

TEST(RowEncoder, EncodersCutAtTheSideOfTheTask) {
  ModelText text{"tests", Tokenizer::load(golden_dir("text") / "wordpiece/tokenizer.json")};
  const ModelConfig config = config_of("bert", text);
  const std::string task = "name: s\ntext: a\nsecond: b\nlabel: y\nlabels: [n, p]\n",
                    row = R"({"a": "a b c d e f g h", "b": "the road and", "y": "p"})";
  const Task right = task_of(task), left = task_of(task + "truncation_side: left\n");
  const Dataset at_right = encode_examples(rows_of(right, row), right, text, config, 10),
                at_left = encode_examples(rows_of(left, row), left, text, config, 10);
  const auto cut = [&](TruncationSide side) {
    return text.tokenizer
        ->encode("a b c d e f g h", "the road and", {.max_length = 10, .side = side})
        .ids;
  };
  EXPECT_EQ(at_right.sequences[0].ids, cut(TruncationSide::kRight));
  EXPECT_EQ(at_left.sequences[0].ids, cut(TruncationSide::kLeft));
  EXPECT_NE(at_left.sequences[0].ids, at_right.sequences[0].ids);
  EXPECT_EQ(at_left.cut[0].tokens, at_right.cut[0].tokens);
}

TEST(RowEncoder, PromptsAreCutAtTheSideOfTheTask) {
  const ModelText text = text_of("llama-3", "<|end_of_text|>");
  const ModelConfig config = config_of("llama", text);
  const std::string row = R"({"q": "a b c d e f g h", "a": " x y"})";
  const Task right = task_of(kQuestions),
             left = task_of(kQuestions + std::string("truncation_side: left\n"));
  const auto read = [&](const Task& task, int64_t length, TargetUse use) {
    return encode_examples(rows_of(task, row), task, text, config, length, use).sequences.front();
  };
  const Ids begin = {*text.tokenizer->token_to_id("<|begin_of_text|>")}, end = {text.end_id()};
  const Ids prompt = plain(text, "a b c d e f g h"), target = joined({plain(text, " x y"), end});
  const auto first = [](const Ids& ids, int64_t count) {
    return Ids(ids.begin(), ids.begin() + count);
  };
  const auto last = [](const Ids& ids, int64_t count) { return Ids(ids.end() - count, ids.end()); };
  ASSERT_EQ(prompt.size(), 13U);
  ASSERT_EQ(target.size(), 5U);
  EXPECT_EQ(read(right, 6, TargetUse::kLeaveOut).ids, joined({begin, first(prompt, 5)}));
  EXPECT_EQ(read(left, 6, TargetUse::kLeaveOut).ids, joined({begin, last(prompt, 5)}));
  EXPECT_EQ(read(right, 16, TargetUse::kFollow).ids, joined({begin, prompt, first(target, 2)}));
  EXPECT_EQ(read(left, 8, TargetUse::kFollow).ids, joined({begin, last(prompt, 2), target}));
  EXPECT_EQ(targets(text, read(left, 8, TargetUse::kFollow)), " x y<|end_of_text|>");
  EXPECT_EQ(read(left, 4, TargetUse::kFollow).ids,
            joined({begin, last(prompt, 1), first(target, 2)}))
      << "then the target loses its end";
  const Task ended = task_of(kQuestions + std::string("prompt_end: eos\n"));
  EXPECT_EQ(read(ended, 6, TargetUse::kLeaveOut).ids, joined({begin, first(prompt, 4), end}));
}

TEST(RowEncoder, ChatsLoseTheirOldestTurns) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  ModelConfig config = config_of("llama", text);
  config.max_positions = 1024;
  const Task task = task_of(kChats);
  const auto rows = rows_of(task, kTwoTurns);
  const auto read = [&](int64_t length, TargetUse use) {
    return encode_examples(rows, task, text, config, length, use);
  };
  const std::string system = "<|im_start|>system\nbe brief<|im_end|>\n",
                    last = "<|im_start|>user\nthree<|im_end|>\n",
                    answer = "<|im_start|>assistant\nfour<|im_end|>\n";
  const auto size = [&](const std::string& words) {
    return static_cast<int64_t>(plain(text, words).size());
  };
  const int64_t all = static_cast<int64_t>(read(0, TargetUse::kFollow).sequences[0].ids.size()),
                short_one = size(system + last + answer);
  EXPECT_EQ(read(all, TargetUse::kFollow).num_cut(), 0);
  for (const int64_t length : {all - 1, short_one}) {
    const Dataset data = read(length, TargetUse::kFollow);
    EXPECT_EQ(shown(text, data.sequences[0].ids), system + last + answer);
    EXPECT_EQ(targets(text, data.sequences[0]), "four<|im_end|>");
    ASSERT_EQ(data.num_cut(), 1);
    EXPECT_EQ(data.cut[0].turns, 2);
    EXPECT_EQ(data.cut[0].tokens, all - short_one);
  }
  const Dataset shorter = read(
      short_one - 3, TargetUse::kFollow);  // the question stays whole, the answer loses its end
  EXPECT_EQ(
      shown(text, shorter.sequences[0].ids).rfind(system + last + "<|im_start|>assistant\n", 0),
      0U);
  EXPECT_EQ(shorter.cut[0].tokens, all - short_one + 3);
  const int64_t question = size(system + last + "<|im_start|>assistant\n");
  EXPECT_EQ(shown(text, read(question, TargetUse::kLeaveOut).sequences[0].ids),
            system + last + "<|im_start|>assistant\n");
  expect_message<InputError>(
      [&] { read(question - 1, TargetUse::kLeaveOut); },
      "f.jsonl:1: column \"m\": the last question and what must stay beside it take " +
          std::to_string(question) + " tokens, and max_length is " + std::to_string(question - 1) +
          "; raise it, or shorten the question");
  expect_message<InputError>(
      [&] { read(question, TargetUse::kFollow); },
      "f.jsonl:1: column \"m\": cut to max_length " + std::to_string(question) +
          ", the row keeps no token that the loss counts; raise it, or shorten the row");
  config.max_positions = question - 1;  // no longer row is served
  expect_message<InputError>([&] { read(question - 1, TargetUse::kLeaveOut); },
                             "max_length is " + std::to_string(question - 1) +
                                 ", the most that the model serves; shorten the question");
}

// As many of the turns stay as fit, whatever their number; formats whose roles alternate begin with
// the user.
TEST(RowEncoder, ChatsKeepAsManyTurnsAsFit) {
  const ModelText text = text_of("llama-2", "</s>");
  const ModelConfig config = config_of("llama", text);
  const Task task = task_of("name: c\nkind: generation\nmessages: m\nchat: llama-2\n");
  std::string row = R"({"m": [{"role": "system", "content": "be brief"})";
  for (int i = 0; i < 12; ++i)
    row += R"(, {"role": "user", "content": "question )" + std::to_string(i) +
           R"("}, {"role": "assistant", "content": "answer"})";
  const auto rows = rows_of(task, row + "]}");
  const auto all =
      static_cast<int64_t>(encode_examples(rows, task, text, config, 0).sequences[0].ids.size());
  int64_t before = 24;
  for (int64_t length = 60; length < all; length += 7) {
    const Dataset data = encode_examples(rows, task, text, config, length);
    ASSERT_LE(static_cast<int64_t>(data.sequences[0].ids.size()), length);
    const std::string found = shown(text, data.sequences[0].ids);
    EXPECT_NE(found.find("be brief"), std::string::npos);
    EXPECT_NE(found.find("question 11"), std::string::npos);
    ASSERT_EQ(data.num_cut(), 1);
    EXPECT_EQ(data.cut[0].turns % 2, 0);
    EXPECT_LE(data.cut[0].turns, before);
    before = data.cut[0].turns;
    EXPECT_EQ(data.cut[0].tokens, all - static_cast<int64_t>(data.sequences[0].ids.size()));
  }
  EXPECT_EQ(before, 2);
}

TEST(RowEncoder, TurnsOfWeightZeroCarryNoLoss) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  const ModelConfig config = config_of("llama", text);
  const std::string row =
      R"({"m": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two", "weight": 0}, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]})";
  const Task target = task_of(kChats), all = task_of(std::string(kChats) + "loss: all\n");
  EXPECT_EQ(
      targets(text, encode_examples(rows_of(target, row), target, text, config, 0).sequences[0]),
      "four<|im_end|>");
  EXPECT_EQ(targets(text, encode_examples(rows_of(all, row), all, text, config, 0).sequences[0]),
            "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n\n<|im_start|>user\nthree<|im_"
            "end|>\n<|im_start|>assistant\n"
            "four<|im_end|>\n");
}

TEST(RowEncoder, RefusalsNameFileLineAndTurn) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  const ModelConfig config = config_of("llama", text);
  const auto message = [&](const Task& task, const std::string& rows, int64_t length = 0) {
    try {
      encode_examples(rows_of(task, rows), task, text, config, length);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("(accepted)");
  };
  const Task questions = task_of(kQuestions);
  EXPECT_EQ(
      message(questions, "{\"q\": \"a\", \"a\": \"b\"}\n{\"q\": \"a b c d e f\", \"a\": \"g\"}", 4),
      "f.jsonl:2: cut to max_length 4, the row keeps no token of its target behind the 9 of its "
      "prompt; raise it, or set "
      "truncation_side: left in the task");
  EXPECT_EQ(message(questions, "{\"q\": \"a\", \"a\": \"b\"}\n{\"q\": \"a\"}"),
            "f.jsonl:2: the row has no target to train on");
  const ModelText sentences = text_of("llama-2", "</s>");
  const ModelConfig llama = config_of("llama", sentences);
  const Task mistral = task_of("name: c\nkind: generation\nmessages: m\nchat: mistral\n");
  const std::string sound =
      "[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"content\": \"y\"}]";
  const auto refused = [&](const std::string& list, const std::string& why) {
    const auto rows = rows_of(mistral, "{\"m\": " + sound + "}\n{\"m\": " + list + "}");
    for (const TargetUse use : {TargetUse::kFollow, TargetUse::kLeaveOut})
      expect_message<InputError>([&] { encode_examples(rows, mistral, sentences, llama, 0, use); },
                                 "f.jsonl:2: column \"m\": " + why);
  };
  refused(
      R"([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}])",
      "turn 2: user and assistant must take turns; expected assistant, found user (chat format "
      "mistral)");
  refused(
      R"([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}])",
      "turn 1: this format has no system turn");
}

TEST(Cuts, AreToldRowByRow) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  const ModelConfig config = config_of("llama", text);
  const Task task = task_of(kQuestions);
  std::string lines;
  for (int i = 0; i < 4; ++i)
    lines +=
        i % 2 == 0 ? "{\"q\": \"a b c d\", \"a\": \" e f\"}\n" : "{\"q\": \"a\", \"a\": \" b\"}\n";
  Dataset data = encode_examples(rows_of(task, lines), task, text, config, 9);
  EXPECT_EQ(cut_message(data), "2 of 4 rows cut to 9 tokens: f.jsonl:1 by 1, f.jsonl:3 by 1");
  EXPECT_EQ(cut_message(data, 1), "2 of 4 rows cut to 9 tokens: f.jsonl:1 by 1 and 1 more");
  EXPECT_EQ(cut_of(data, 1), nullptr);
  ASSERT_NE(cut_of(data, 2), nullptr);
  append_rows(encode_examples(rows_of(task, lines), task, text, config, 9), data);
  EXPECT_EQ(data.num_cut(), 4);
  EXPECT_EQ(data.cut[3].row, 6);
  EXPECT_EQ(cut_message(encode_examples(rows_of(task, lines), task, text, config, 0)), "");
}

}  // namespace
}  // namespace graft::testing::test_row_encoder
