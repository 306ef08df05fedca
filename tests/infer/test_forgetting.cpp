// What a model forgets: the texts that a file gives, and their losses against a softmax over the
// whole vocabulary in float64.
#include "infer/forgetting.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_forgetting {
namespace {

using at::Tensor;
using Ids = std::vector<int64_t>;

// Words are letters: "a" is 1, "l" is 12, and what has no letter is 0.
ModelText letters() {
  std::string vocabulary = R"("?": 0)";
  for (int i = 1; i < 13; ++i)
    vocabulary += std::string(", \"") + static_cast<char>('a' + i - 1) + "\": " + std::to_string(i);
  return {"letters",
          Tokenizer::parse(
              R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                  "normalizer": null, "pre_tokenizer": {"type": "BertPreTokenizer"},
                  "post_processor": null, "decoder": null,
                  "model": {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
                            "max_input_chars_per_word": 100, "vocab": {)" +
                  vocabulary + "}}}",
              "letters")};
}

class PlainTexts : public ::testing::Test {
 protected:
  Dataset read(const std::string& bytes, int64_t max_length = 0,
               const std::string& type = "gpt2") const {
    write_file_atomically(folder / "plain.txt", bytes);
    return plain_texts(folder / "plain.txt", letters(), parse_config(tiny_config(type), "tiny"),
                       max_length);
  }

  static std::vector<Ids> ids_of(const Dataset& data) {
    std::vector<Ids> out;
    for (const Sequence& sequence : data.sequences) out.push_back(sequence.ids);
    return out;
  }

  TempFolder folder;
};

TEST_F(PlainTexts, AreTheLinesOfAFile) {
  const Dataset data = read("a b c\n\n \t\nd e\nf\n g h");
  EXPECT_EQ(ids_of(data), (std::vector<Ids>{{1, 2, 3}, {4, 5}, {7, 8}}))
      << "nothing predicts the one token of the fifth line";
  EXPECT_EQ(data.num_tokens, 7);
  std::vector<int64_t> lines;
  for (const Example& example : data.examples) lines.push_back(example.line);
  EXPECT_EQ(lines, (std::vector<int64_t>{1, 4, 6}));
  for (const Sequence& sequence : data.sequences)
    EXPECT_EQ(num_targets(sequence), std::ssize(sequence.ids) - 1) << "all but the first token";
}

TEST_F(PlainTexts, MayEndTheirLinesAsOnWindows) {
  EXPECT_EQ(ids_of(read("a b\r\n\r\nc d\r\n")), (std::vector<Ids>{{1, 2}, {3, 4}}));
  // A tokenizer that keeps white space would make a token of a carriage return that stayed.
  const ModelText bytes{"bytes", Tokenizer::load(golden_dir("text") / "bpe/tokenizer.json")};
  ModelConfig config = parse_config(tiny_config("gpt2"), "tiny");
  config.vocabulary = 1000;  // as many as the tokenizer has, at least
  write_file_atomically(folder / "unix.txt", "a lamp\na door\n");
  write_file_atomically(folder / "windows.txt", "a lamp\r\na door\r\n");
  EXPECT_EQ(ids_of(plain_texts(folder / "windows.txt", bytes, config, 0)),
            ids_of(plain_texts(folder / "unix.txt", bytes, config, 0)));
}

TEST_F(PlainTexts, GoOnWhereALineIsLongerThanTheModelReads) {
  EXPECT_EQ(ids_of(read("a b c d e f g h i", 4)), (std::vector<Ids>{{1, 2, 3, 4}, {5, 6, 7, 8}}));
  EXPECT_EQ(ids_of(read("a b c d e f g h i j", 4)),
            (std::vector<Ids>{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10}}));
  const Dataset most = read("a b c d e f g h i j k l a b");
  EXPECT_EQ(most.max_length, 10) << "the positions of the model";
  EXPECT_EQ(ids_of(most).front().size(), 10U);
  EXPECT_EQ(most.examples[1].line, 1);
}

TEST_F(PlainTexts, RefuseWhatHasNone) {
  const auto refused = [&](const std::string& bytes, const std::string& type,
                           const std::string& part) {
    const std::string message = message_of<InputError>([&] { read(bytes, 0, type); });
    EXPECT_NE(message.find("plain.txt"), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  for (const char* type : {"bert", "modernbert", "t5", "bart"})
    refused("a b\n", type, std::string("this is a ") + type + " model; leave the file out");
  for (const char* bytes : {"", "\n \n", "a\n\nb\n"})
    refused(bytes, "gpt2", "expected lines of text of two tokens or more, found none");
  refused("a b\na \xff\n", "gpt2", "line 2");
  expect_message<InputError>(
      [&] {
        plain_texts(folder / "none.txt", letters(), parse_config(tiny_config("gpt2"), "tiny"), 0);
      },
      "none.txt");
}

TEST_F(PlainTexts, RefuseTokensThatTheModelHasNoEmbeddingFor) {
  ModelConfig small = parse_config(tiny_config("gpt2"), "tiny");
  small.vocabulary = 3;
  write_file_atomically(folder / "plain.txt", "a b\na c\n");
  expect_message<InputError>([&] { plain_texts(folder / "plain.txt", letters(), small, 0); },
                             "letters: the tokenizer gives ids beyond the model's vocabulary of 3");
}

// -log p of every target, by a softmax of its own.
double mean_loss_of(const Rig& rig, const std::vector<Sequence>& texts) {
  Ids targets;
  for (const Sequence& text : texts)
    targets.insert(targets.end(), text.ids.begin() + 1, text.ids.end());
  const Tensor logits = text_logits_of(rig, texts).to(at::kDouble);
  const Tensor own = logits.gather(1, at::tensor(targets, at::kLong).unsqueeze(1)).squeeze(1);
  return (logits.logsumexp(1) - own).mean().item<double>();
}

class Measured : public PlainTexts, public ::testing::WithParamInterface<std::string> {};

TEST_P(Measured, IsTheLossWithTheAdapterLessThatWithout) {
  const Dataset texts = read("a b c d\ne f g h i j k\nl a\nb b b\n", 5);
  ASSERT_EQ(texts.size(), 5);
  const auto model = tiny_model("gpt2", Precision::kFloat32);
  const Rig bare(model, "{edits: []}", std::nullopt);
  Rig rig(model, "{edits: [" + GetParam() + "]}", std::nullopt);
  rig.shake(0.3);
  const BoundAdapter bound(*model, *rig.adapter, rig.tensors);
  const double before = mean_loss_of(bare, texts.sequences),
               after = mean_loss_of(rig, texts.sequences);
  ASSERT_GT(std::abs(after - before), 1e-3) << "the adapter changes something";
  for (const int64_t budget : {4096, 1}) {
    const Forgetting found = measure_forgetting(*model, bound, texts, budget);
    EXPECT_NEAR(found.before, before, 1e-5);
    EXPECT_NEAR(found.after, after, 1e-5);
    EXPECT_DOUBLE_EQ(found.rise(), found.after - found.before);
    EXPECT_EQ(found.texts, 5);
    EXPECT_EQ(found.tokens, 3 + 4 + 1 + 1 + 2);
    const Node node = to_node(found);
    EXPECT_DOUBLE_EQ(number_of(*node.find("rise")), found.rise());
    EXPECT_DOUBLE_EQ(number_of(*node.find("before")), found.before);
  }
}

// Plain text has no prompt: positions that an edit counts in one are counted in each text.
TEST_F(PlainTexts, ArePromptsToEditsThatCountPositions) {
  const Dataset texts = read("a b c d\ne f g h i j k\nl a\nb b b\n", 5);
  const auto model = tiny_model("gpt2", Precision::kFloat32);
  const Rig bare(model, "{edits: []}", std::nullopt);
  Rig rig(model, "{edits: [{reft: {rank: 2, positions: f1+l1}}]}", std::nullopt);
  rig.shake(0.3);
  const BoundAdapter bound(*model, *rig.adapter, rig.tensors);
  std::vector<Sequence> prompts = texts.sequences;
  for (Sequence& prompt : prompts)
    std::get<TargetMarks>(prompt.asked).prompt = std::ssize(prompt.ids);
  const double expected = mean_loss_of(rig, prompts);
  ASSERT_GT(std::abs(expected - mean_loss_of(bare, texts.sequences)), 1e-3);
  EXPECT_NEAR(measure_forgetting(*model, bound, texts).after, expected, 1e-5);
}

TEST_F(PlainTexts, ShowNoEditWhatFollows) {
  const auto model = tiny_model("gpt2", Precision::kFloat32);
  const auto check = [&](const std::string& edits, const std::optional<Task>& task) {
    check_forgetting(*Rig(model, "{edits: [" + edits + "]}", task).adapter);
  };
  const std::string positions = "{reft: {rank: 2, positions: l1}}",
                    gate = "{gate: {}, of: {prefix: {length: 2}}}";
  for (const std::string& edits : {positions, gate, positions + ", {lora: {rank: 2}}"})
    check(edits, std::nullopt);
  expect_message<InputError>(
      [&] { check(positions + ", " + gate, std::nullopt); },
      "what edit \"1.gate/\" forgets cannot be measured: a gate of it reads the prompt");
  expect_message<InputError>(
      [&] { check("{gate: {pool: mean}, of: {lora: {rank: 2}}}", class_task(3)); },
      "a gate of it reads all of a text");
  expect_message<InputError>(
      [&] { check("{router: {experts: 2, embedding: 3}, of: {lora: {rank: 2}}}", std::nullopt); },
      "it reads 3 numbers of each row (the task's embedding column), and plain text has none; "
      "leave forgetting out");
}

INSTANTIATE_TEST_SUITE_P(Edits, Measured,
                         ::testing::Values("{lora: {rank: 2}}", "{full: {}}",
                                           "{prompt: {length: 2}}", "{prefix: {length: 2}}",
                                           "{stochastic: {experts: 2}, of: {lora: {rank: 2}}}"),
                         [](const auto& test) {
                           const std::string& edit = test.param;
                           return edit.substr(1, edit.find(':') - 1);
                         });

}  // namespace
}  // namespace graft::testing::test_forgetting
