// Where a row's prompt ends, what of it is cut, and where its mask stands.
#include <gtest/gtest.h>

#include "base/error.h"
#include "feed/dataset.h"
#include "tests/feed/feed_rig.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_prompts {
namespace {

// The prompt is what edits and gates count in it, whatever the loss counts.
TEST(Prompts, EndBeforeTheTargetAlsoWhereTheLossIsOnAll) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  const ModelConfig config = config_of("llama", text);
  const std::string question = R"({"q": "how are you", "a": "fine"})",
                    chat = R"({"m": [{"role": "user", "content": "hi"}, )"
                           R"({"role": "assistant", "content": "yes"}]})";
  for (const auto& [kind, row] :
       {std::pair{std::string("name: q\nkind: generation\nprompt: \"{q}\"\ntarget: \"{a}\"\n"),
                  question},
        {"name: c\nkind: generation\nmessages: m\nchat: chatml\n", chat}}) {
    const Task target = task_of(kind), all = task_of(kind + "loss: all\n");
    const Sequence own =
        encode_examples(rows_of(target, row), target, text, config, 0).sequences.front();
    const Sequence same =
        encode_examples(rows_of(all, row), all, text, config, 0).sequences.front();
    EXPECT_EQ(same.ids, own.ids);
    EXPECT_NE(same.is_target(), own.is_target());
    EXPECT_GT(own.prompt_length(), 0);
    EXPECT_EQ(same.prompt_length(), own.prompt_length());
  }
}

// A prompt has room for its longest option, so that it is one prompt in training, where the right
// option follows it, and in scoring.
TEST(Prompts, OfAChoiceAreCutAlikeInEveryUse) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  const ModelConfig config = config_of("llama", text);
  const std::string row = R"({"q": "a b c d e f g h", "o": ["x", "x y z"], "t": 0})";
  const Ids prompt = plain(text, "a b c d e f g h");
  for (const std::string side : {"right", "left"}) {
    const Task task = task_of(
        "name: r\nkind: choice\nprompt: \"{q}\"\noptions: o\nas: \" {option}\"\ntarget: t\n"
        "truncation_side: " +
        side + "\n");
    const auto read = [&](int64_t length, TargetUse use) {
      return encode_examples(rows_of(task, row), task, text, config, length, use);
    };
    const Dataset whole = read(0, TargetUse::kLeaveOut);
    const Ids &first = whole.options[0][0], &second = whole.options[0][1];
    ASSERT_EQ(whole.sequences[0].ids, prompt);
    ASSERT_GT(second.size(), first.size());
    const auto length = static_cast<int64_t>(prompt.size() + second.size()) - 3;
    const Ids kept = side == "right" ? Ids(prompt.begin(), prompt.end() - 3)
                                     : Ids(prompt.begin() + 3, prompt.end());
    const Dataset asked = read(length, TargetUse::kLeaveOut),
                  trained = read(length, TargetUse::kFollow);
    EXPECT_EQ(asked.sequences[0].ids, kept);
    EXPECT_EQ(trained.sequences[0].ids, joined({kept, first}));
    for (const Dataset* data : {&asked, &trained}) {
      EXPECT_EQ(data->options, whole.options) << "no option is cut";
      ASSERT_EQ(data->num_cut(), 1);
      EXPECT_EQ(data->cut[0].tokens, 3);
    }
    // One token of the prompt stays, and the longer option loses its end.
    const auto few = static_cast<int64_t>(second.size());
    const Dataset least = read(few, TargetUse::kLeaveOut);
    EXPECT_EQ(least.sequences[0].ids.size(), 1U);
    EXPECT_EQ(least.options[0][0], first);
    EXPECT_EQ(least.options[0][1], Ids(second.begin(), second.end() - 1));
    expect_message<InputError>(
        [&] { read(1, TargetUse::kLeaveOut); },
        "f.jsonl:1: cut to max_length 1, the row keeps no token of its options behind the 1 of its "
        "prompt; raise it");
  }
}

// Positions of the model that an adapter's prompt takes are none of a target's.
TEST(Prompts, LeaveRoomForTargetsBesideTheRowsOfAnAdapter) {
  const ModelText text = text_of("smollm2", "<|endoftext|>");
  const ModelConfig config = config_of("llama", text);  // 10 positions
  const Task task = task_of(
      "name: q\nkind: generation\nprompt: \"{q}\"\ntarget: \"{a}\"\nmax_target_length: 3\n");
  check_target_length(task, config, {}, 7);
  check_target_length(task, config, {.virtual_rows = 2}, 5);
  expect_message<InputError>([&] { check_target_length(task, config, {}, 8); },
                             "task \"q\": a prompt of max_length 8 and a target of "
                             "max_target_length 3 are more than the 10 positions of this model; "
                             "give a smaller max_length");
  expect_message<InputError>(
      [&] { check_target_length(task, config, {.virtual_rows = 2}, 6); },
      "are more than the 8 positions of this model beside the 2 rows of the adapter's prompt or "
      "prefix; give a smaller max_length");
  const ModelText t5 = text_of("t5", "</s>");
  check_target_length(task, config_of("bart", t5), {.virtual_rows = 2}, 8);  // each has its own
}

ModelText masked_text() {
  return {"tests", Tokenizer::load(golden_dir("text") / "wordpiece/tokenizer.json")};
}

// A model that fills masks in.
Task cloze_of(const std::string& cloze) {
  return task_of("name: z\ntext: s\nlabel: y\nlabels: [bad, good]\ncloze: " + cloze + "\n");
}

TEST(Masks, AreTheTemplatesWhateverARowHolds) {
  const ModelText text = masked_text();
  const ModelConfig config = config_of("bert", text);
  const int64_t mask = *text.tokenizer->token_to_id("[MASK]");
  const std::string words = ", words: {bad: a, good: b}}";
  const auto read = [&](const Task& task, const std::string& sentence, int64_t length = 0) {
    return encode_examples(rows_of(task, R"({"s": ")" + sentence + "\"}"), task, text, config,
                           length)
        .sequences.front();
  };
  const Task behind = cloze_of("{template: '{s} c {mask} d'" + words),
             before = cloze_of("{template: 'c {mask} d {s}'" + words);
  for (const auto& [task, sentence, place] : {std::tuple{behind, "e f", 4},
                                              {behind, "e [MASK] f", 5},
                                              {behind, "[MASK] [MASK]", 4},
                                              {behind, "\u00e9 [MASK]", 4},
                                              {before, "[MASK] e", 2}}) {
    const Sequence sequence = read(task, sentence);
    ASSERT_NE(sequence.mask(), nullptr);
    EXPECT_EQ(sequence.mask()->token, place) << sentence;
    EXPECT_EQ(sequence.ids[static_cast<size_t>(place)], mask);
  }
  expect_message<InputError>([&] { read(behind, "[MASK] e f g h", 5); },
                             "f.jsonl:1: the row loses its mask when cut to max_length 5");
}

TEST(Masks, HaveAWordOfItsOwnForEachLabel) {
  const ModelText text = masked_text();
  const ModelConfig config = config_of("bert", text);
  const auto refused = [&](const std::string& words, const std::string& message) {
    const Task task = cloze_of("{template: '{s} {mask}', words: " + words + "}");
    expect_message<InputError>([&] { encode_examples({}, task, text, config, 0); }, message);
  };
  refused("{bad: a, good: A}",
          "task \"z\": the words \"a\" of label \"bad\" and \"A\" of label \"good\" are one token "
          "of this model, \"a\"; choose words that it tells apart");
  refused(
      "{bad: a, good: \"\\u4e2d\"}",
      "of label \"good\" is the token \"[UNK]\" of this model, which is no word; choose one that "
      "it knows");
}

}  // namespace
}  // namespace graft::testing::test_prompts
