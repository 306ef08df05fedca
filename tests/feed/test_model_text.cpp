// The tokens that end a text: the model's own, and in a chat format the one that ends its turns.
#include "feed/model_text.h"

#include <gtest/gtest.h>

#include <map>

#include "base/document.h"
#include "base/error.h"
#include "tests/support/testing.h"

namespace graft::testing::test_model_text {
namespace {

using Ids = std::vector<int64_t>;

// A tokenizer of single letters and the marks of a chat format, from id 3 on.
std::string tokenizer_json(const ChatFormat& format) {
  Node vocabulary =
      Node::map({{"a", Node::integer(0)}, {"b", Node::integer(1)}, {"[UNK]", Node::integer(2)}});
  std::vector<Node> added;
  for (const std::string& mark : format.marks) {
    const int64_t id = 3 + std::ssize(added);
    vocabulary[mark] = Node::integer(id);
    Node token = Node::map({{"id", Node::integer(id)},
                            {"content", Node::text(mark)},
                            {"special", Node::boolean(true)}});
    for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"})
      token[key] = Node::boolean(false);
    added.push_back(std::move(token));
  }
  Node model = Node::map({{"type", Node::text("WordPiece")},
                          {"unk_token", Node::text("[UNK]")},
                          {"continuing_subword_prefix", Node::text("##")},
                          {"max_input_chars_per_word", Node::integer(10)},
                          {"vocab", std::move(vocabulary)}});
  return to_json(Node::map({{"version", Node::text("1.0")},
                            {"added_tokens", Node::list(std::move(added))},
                            {"model", std::move(model)}}));
}

ModelText text_of(const ChatFormat& format, Ids end_ids) {
  return {"tests", Tokenizer::parse(tokenizer_json(format), "tokenizer.json"), std::move(end_ids)};
}

TEST(ModelText, EndsAtTheEndOfATurnOfEveryChatFormat) {
  const std::map<std::string, std::string> marks = {
      {"chatml", "<|im_end|>"},  {"smollm2", "<|im_end|>"},   {"qwen2", "<|im_end|>"},
      {"qwen2.5", "<|im_end|>"}, {"qwen3", "<|im_end|>"},     {"llama-2", "</s>"},
      {"llama-3", "<|eot_id|>"}, {"llama-3.1", "<|eot_id|>"}, {"zephyr", "</s>"},
      {"mistral", "</s>"},       {"mistral-v0.1", "</s>"},    {"gemma", "<end_of_turn>"}};
  for (const std::string& name : chat_format_names()) {
    const ChatFormat& format = chat_format(name);
    ASSERT_TRUE(marks.contains(name)) << name << ": say here what ends its turns";
    EXPECT_EQ(end_of_turn(format), marks.at(name));
    const ModelText text = text_of(format, {0});
    const int64_t end = text.tokenizer->token_to_id(marks.at(name)).value();
    EXPECT_EQ(text.ends_of(name), (Ids{0, end})) << name;
    EXPECT_EQ(text.ends_of("none"), Ids{0}) << "no chat, no turns";
    EXPECT_EQ(text_of(format, {end, 1}).ends_of(name), (Ids{end, 1})) << "no id twice";
    EXPECT_EQ(text_of(format, {}).ends_of(name), Ids{end}) << "of a model that names none";
    EXPECT_EQ(text_of(format, {0}).end_id(), 0) << "what training appends stays the model's own";
  }
  expect_message<InputError>([] { text_of(chat_format("gemma"), {0}).ends_of("chatml"); },
                             "needs the token \"<|im_start|>\"");
}

TEST(ModelText, ReadsAListOfEndTokens) {
  const TempFolder folder;
  write_file_atomically(folder / "tokenizer.json", tokenizer_json(chat_format("llama-3")));
  write_file_atomically(folder / "config.json", R"({"eos_token_id": 0})");
  EXPECT_EQ(load_model_text(folder.path()).end_ids, Ids{0});
  write_file_atomically(folder / "generation_config.json", R"({"eos_token_id": [1, 4, 0]})");
  EXPECT_EQ(load_model_text(folder.path()).ends_of("none"), (Ids{1, 4, 0}));
  EXPECT_EQ(load_model_text(folder.path()).ends_of("llama-3"), (Ids{1, 4, 0, 6}));
  write_file_atomically(folder / "generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(load_model_text(folder.path()).end_ids, Ids{0});
  for (const char* wrong : {"-1", "[1, -1]"}) {  // -1 would stand behind every target
    write_file_atomically(folder / "generation_config.json",
                          std::string("{\"eos_token_id\": ") + wrong + "}");
    expect_message<InputError>([&] { load_model_text(folder.path()); },
                               "generation_config.json: eos_token_id: expected a token id or a "
                               "list of them, found \"-1\"");
  }
}

}  // namespace
}  // namespace graft::testing::test_model_text
