// Rows of every kind of task as token ids: what a model reads, what it shall give, and what is
// refused.
#include <gtest/gtest.h>

#include "base/error.h"
#include "feed/dataset.h"
#include "model/language_batch.h"
#include "tests/feed/feed_rig.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_dataset {
namespace {

ModelText text_of(const std::string& family) {
  return testing::text_of(family, family == "t5" ? "</s>" : "<|endoftext|>");
}

constexpr const char* kQuestions =
    "name: q\nkind: generation\nprompt: \"{q}\"\ntarget: \"{a}\"\nmetrics: [exact_match]\n";
constexpr const char* kRow = "{\"q\": \"how are you\", \"a\": \"fine\"}\n";

TEST(Encode, DecoderReadsPromptTargetAndEnd) {
  const ModelText text = text_of("smollm2");
  const ModelConfig config = config_of("llama", text);
  const Task task = task_of(kQuestions);
  const Dataset data = encode_examples(rows_of(task, kRow), task, text, config, 0);
  const Ids prompt = plain(text, "how are you"), target = plain(text, "fine");
  const Sequence& sequence = data.sequences.front();
  EXPECT_EQ(sequence.ids, joined({prompt, target, {text.end_id()}}));
  EXPECT_EQ(sequence.prompt_length(), static_cast<int64_t>(prompt.size()));
  EXPECT_EQ(num_targets(sequence), static_cast<int64_t>(target.size()) + 1);
  EXPECT_TRUE(sequence.type_ids.empty()) << "a model without segments reads none";
  EXPECT_EQ(data.num_tokens, static_cast<int64_t>(sequence.ids.size()));
  EXPECT_EQ(encode_examples(rows_of(task, kRow), task, text, config, 0, TargetUse::kLeaveOut)
                .sequences.front()
                .ids,
            prompt);
}

TEST(Encode, EndMayStandBehindThePromptAndLossOnAll) {
  const ModelText text = text_of("smollm2");
  const ModelConfig config = config_of("gpt2", text);
  const Task ended = task_of(std::string(kQuestions) + "prompt_end: eos\n"),
             all = task_of(std::string(kQuestions) + "loss: all\n");
  const Ids prompt = plain(text, "how are you"), target = plain(text, "fine");
  EXPECT_EQ(encode_examples(rows_of(ended, kRow), ended, text, config, 0).sequences.front().ids,
            joined({prompt, {text.end_id()}, target, {text.end_id()}}));
  const Sequence sequence =
      encode_examples(rows_of(all, kRow), all, text, config, 0).sequences.front();
  EXPECT_EQ(num_targets(sequence), static_cast<int64_t>(sequence.ids.size()) - 1)
      << "all but the first, which no token predicts";
}

TEST(Encode, AnEncoderDecoderHasNoLossOfItsPrompts) {
  const ModelText text = text_of("t5");
  const ModelConfig config = config_of("t5", text);
  const Task all = task_of(std::string(kQuestions) + "loss: all\n");
  expect_message<InputError>([&] { check_task(all, config); },
                             "predicts no tokens of its prompts, which its encoder reads whole");
  EXPECT_NO_THROW(check_task(task_of(kQuestions), config));
}

TEST(Encode, EncoderDecoderReadsThemApart) {
  const ModelText text = text_of("t5");
  const ModelConfig config = config_of("t5", text);
  const Task task = task_of(kQuestions);
  const Sequence sequence =
      encode_examples(rows_of(task, kRow), task, text, config, 0).sequences.front();
  EXPECT_EQ(sequence.ids, joined({plain(text, "how are you"), {text.end_id()}}));
  EXPECT_EQ(sequence.target_ids(), joined({plain(text, "fine"), {text.end_id()}}));
  EXPECT_TRUE(sequence.is_target().empty());
}

// P3, T0 and MoV train and ask so: inputs without an end token, targets with one.
TEST(Encode, ABarePromptHasNothingBehindIt) {
  const ModelText text = text_of("t5");
  const ModelConfig config = config_of("t5", text);
  const Task task = task_of(std::string(kQuestions) + "prompt_end: bare\ntruncation_side: left\n");
  const Ids prompt = plain(text, "how are you");
  const Sequence sequence =
      encode_examples(rows_of(task, kRow), task, text, config, 0).sequences.front();
  EXPECT_EQ(sequence.ids, prompt);
  EXPECT_EQ(sequence.target_ids(), joined({plain(text, "fine"), {text.end_id()}}));
  const auto length = static_cast<int64_t>(prompt.size());
  const Dataset cut = encode_examples(rows_of(task, kRow), task, text, config, length - 1);
  EXPECT_EQ(cut.sequences.front().ids, Ids(prompt.begin() + 1, prompt.end()))
      << "at the side of the task, and no room is kept for an end token";
  EXPECT_EQ(cut.cut.front().tokens, 1);
  const Task ranked =
      task_of("name: r\nkind: choice\nprompt: q\noptions: o\ntarget: t\nprompt_end: bare\n");
  const Dataset options =
      encode_examples(rows_of(ranked, R"({"q": "how are you", "o": ["fine", "bad"], "t": 0})"),
                      ranked, text, config, 0);
  EXPECT_EQ(options.sequences.front().ids, prompt);
  EXPECT_EQ(options.options.front()[1], joined({plain(text, "bad"), {text.end_id()}}));
}

TEST(Encode, TargetsHaveALimitOfTheirOwn) {
  const std::string own = std::string(kQuestions) + "max_target_length: 3\n";
  const Task task = task_of(own);
  const std::string rows = R"({"q": "how are you", "a": "fine words and more of them"})";
  const ModelText t5 = text_of("t5"), smollm2 = text_of("smollm2");
  const ModelConfig of_t5 = config_of("t5", t5);
  const ModelConfig of_llama =
      parse_config(tiny_config("llama", yaml("{max_position_embeddings: 40, vocab_size: " +
                                             std::to_string(smollm2.tokenizer->id_bound()) + "}")),
                   "tiny");
  const Ids prompt = plain(t5, "how are you"), target = plain(t5, "fine words and more of them");
  ASSERT_GT(target.size(), 3U);
  const Dataset apart = encode_examples(rows_of(task, rows), task, t5, of_t5, 0);
  EXPECT_EQ(apart.sequences.front().ids, joined({prompt, {t5.end_id()}})) << "no limit of its own";
  EXPECT_EQ(apart.sequences.front().target_ids(),
            joined({Ids(target.begin(), target.begin() + 2), {t5.end_id()}}))
      << "what closes it stays";
  EXPECT_EQ(apart.cut.front().tokens, static_cast<int64_t>(target.size()) - 2);
  // In a decoder max_length counts the prompt alone then.
  const Ids question = plain(smollm2, "how are you"),
            answer = plain(smollm2, "fine words and more of them");
  const auto room = static_cast<int64_t>(question.size());
  ASSERT_GT(answer.size(), 3U);
  const Dataset one = encode_examples(rows_of(task, rows), task, smollm2, of_llama, room);
  EXPECT_EQ(one.sequences.front().ids, joined({question, Ids(answer.begin(), answer.begin() + 3)}));
  EXPECT_EQ(num_targets(one.sequences.front()), 3);
  EXPECT_EQ(one.cut.front().tokens, static_cast<int64_t>(answer.size()) + 1 - 3);
  expect_message<InputError>(
      [&] {
        encode_examples(rows_of(task, rows), task, smollm2, of_llama, of_llama.max_positions - 2);
      },
      "give a smaller max_length");
  expect_message<InputError>(
      [] {
        task_of("name: c\nkind: generation\nmessages: m\nchat: chatml\nmax_target_length: 3\n");
      },
      "a chat is cut as a whole");
}

TEST(Encode, ChatMarksWhatTheAssistantSays) {
  const ModelText text = text_of("smollm2");
  const ModelConfig config = config_of("llama", text);
  const Task task =
      task_of("name: c\nkind: generation\nmessages: m\nchat: chatml\nmetrics: [perplexity]\n");
  const auto rows = rows_of(
      task,
      R"({"m": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "sure"}, {"role": "assistant", "content": "no"}]})");
  const Sequence sequence = encode_examples(rows, task, text, config, 0).sequences.front();
  std::string targets;
  for (size_t t = 0; t < sequence.ids.size(); ++t) {
    if (sequence.is_target()[t])
      targets +=
          text.tokenizer->decode(std::vector<int64_t>{sequence.ids[t]}, SpecialTokens::kKeep);
  }
  EXPECT_EQ(targets.substr(0, 13), "yes<|im_end|>");
  EXPECT_NE(targets.find("no<|im_end|>"), std::string::npos);
  EXPECT_EQ(targets.find("hi"), std::string::npos);
  const Sequence prompt =
      encode_examples(rows, task, text, config, 0, TargetUse::kLeaveOut).sequences.front();
  const std::string asked = text.tokenizer->decode(prompt.ids, SpecialTokens::kKeep);
  EXPECT_TRUE(asked.ends_with("sure<|im_end|>\n<|im_start|>assistant\n")) << asked;
}

TEST(Encode, ChoicesEndEachOption) {
  const ModelText text = text_of("smollm2");
  const ModelConfig config = config_of("llama", text);
  const Task task = task_of(
      "name: r\nkind: choice\nprompt: \"{q}\"\noptions: options\ntarget: t\nmetrics: [accuracy]\n");
  const auto rows = rows_of(task, R"({"q": "is it", "options": ["yes", "no way"], "t": 1})");
  const Dataset asked = encode_examples(rows, task, text, config, 0, TargetUse::kLeaveOut);
  ASSERT_EQ(asked.options.front().size(), 2U);
  EXPECT_EQ(asked.options.front()[1], joined({plain(text, "no way"), {text.end_id()}}));
  EXPECT_EQ(asked.sequences.front().ids, plain(text, "is it"));
  EXPECT_EQ(encode_examples(rows, task, text, config, 0).sequences.front().ids,
            joined({plain(text, "is it"), asked.options.front()[1]}))
      << "training reads the right option";
}

TEST(Encode, CutsAtTheEndAndSaysSo) {
  const ModelText text = text_of("smollm2");
  const ModelConfig config = config_of("llama", text);
  const Task task = task_of(kQuestions);
  const auto whole = static_cast<int64_t>(
      encode_examples(rows_of(task, kRow), task, text, config, 0).sequences.front().ids.size());
  const Dataset cut = encode_examples(rows_of(task, kRow), task, text, config, whole - 1);
  EXPECT_EQ(cut.num_cut(), 1);
  EXPECT_EQ(static_cast<int64_t>(cut.sequences.front().is_target().size()), whole - 1);
  expect_message<InputError>([&] { encode_examples(rows_of(task, kRow), task, text, config, 1); },
                             "keeps no token of its target");
}

TEST(Encode, RefusesWhatTheModelCannotDo) {
  const ModelText text = text_of("smollm2");
  const Task generation = task_of(kQuestions);
  const ModelConfig llama = config_of("llama", text), bert = config_of("bert", text),
                    t5 = config_of("t5", text);
  expect_message<InputError>(
      [&] { encode_examples(rows_of(generation, kRow), generation, text, bert, 0); },
      "is an encoder and writes no text");
  ModelConfig classifier = llama;  // untied, and without an output layer
  classifier.is_classifier = true;
  classifier.has_tied_output = false;
  expect_message<InputError>([&] { encode_examples({}, generation, text, classifier, 0); },
                             "has no layer over the vocabulary");
  const Task chat = task_of(std::string(kQuestions) + "chat: chatml\n"),
             own = task_of(std::string(kQuestions) + "chat: model\n");
  expect_message<InputError>([&] { encode_examples({}, chat, text, t5, 0); },
                             "chat is for decoders");
  expect_message<InputError>([&] { encode_examples({}, own, text, llama, 0); },
                             "has no chat template: name a format");
  ModelText endless = text;
  endless.end_ids.clear();
  expect_message<InputError>(
      [&] { encode_examples(rows_of(generation, kRow), generation, endless, llama, 0); },
      "names no token that ends a text");
  ModelConfig small = llama;
  small.vocabulary = 3;
  expect_message<InputError>(
      [&] { encode_examples(rows_of(generation, kRow), generation, text, small, 0); },
      "tests: the tokenizer gives ids beyond the model's vocabulary of 3");
}

// A decoder's rows each predict the next token; in an encoder-decoder the decoder reads its targets
// behind the start token.
TEST(LanguageBatch, PairsRowsWithTheirTargets) {
  const auto llama = tiny_model("llama", Precision::kFloat64);
  const Sequence first{
      .example = 0, .ids = {5, 6, 7, 8}, .asked = TargetMarks{{false, false, true, true}}};
  const Sequence second{.example = 1, .ids = {9, 10, 11}, .asked = TargetMarks{{true, true, true}}};
  const LanguageBatch batch = make_language_batch(*llama, {{{&first, &second}, {}}}, {});
  EXPECT_EQ(batch.targets, (Ids{7, 8, 10, 11})) << "no row predicts a first token";
  EXPECT_EQ(batch.sequence, (Ids{0, 0, 1, 1}));
  ASSERT_EQ(batch.wanted.size(), 2U);
  EXPECT_EQ(std::pair(batch.wanted[0].begin, batch.wanted[0].end),
            std::pair(int64_t{1}, int64_t{3}));
  EXPECT_EQ(std::pair(batch.wanted[1].begin, batch.wanted[1].end),
            std::pair(int64_t{0}, int64_t{2}));

  const auto bart = tiny_model("bart", Precision::kFloat64);
  const Sequence beside{.example = 0, .ids = {5, 6}, .asked = TargetIds{{7, 8, 9}}};
  const LanguageBatch both = make_language_batch(*bart, {{{&beside}, {}}}, pack_options(*bart));
  const int64_t* read = both.decoder.ids.const_data_ptr<int64_t>();
  EXPECT_EQ(Ids(read, read + 3), (Ids{bart->config.decoder_start_id, 7, 8}));
  EXPECT_EQ(both.targets, (Ids{7, 8, 9}));
  EXPECT_EQ(both.decoder.sources, Ids{0});
}

// A gap between targets, as in a chat of two answers, is left out of the rows; a prompt's virtual
// rows move them.
TEST(LanguageBatch, LeavesOutWhatStandsBetween) {
  const auto llama = tiny_model("llama", Precision::kFloat64);
  const Sequence chat{.example = 0,
                      .ids = {5, 6, 7, 8, 9},
                      .asked = TargetMarks{{false, true, false, false, true}}};
  const LanguageBatch batch = make_language_batch(*llama, {{{&chat}, {.virtual_rows = 2}}}, {});
  EXPECT_EQ(batch.targets, (Ids{6, 9}));
  EXPECT_EQ(std::pair(batch.wanted[0].begin, batch.wanted[0].end),
            std::pair(int64_t{2}, int64_t{6}));
  EXPECT_EQ(batch.row, (Ids{0, 3}));
  EXPECT_EQ(batch.lane_targets, (Ids{2}));
}

}  // namespace
}  // namespace graft::testing::test_dataset
