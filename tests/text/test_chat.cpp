// Chat formats: the text equals what transformers makes of the same turns with the published
// template (tools/golden/chat.py), and the pieces to learn are the assistant's.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/text/small_tokenizer.h"
#include "text/chat.h"

namespace graft::test_chat {
namespace {

using Json = nlohmann::ordered_json;

std::string joined_text(const std::vector<Piece>& pieces) {
  std::string out;
  for (const Piece& piece : pieces) out += piece.text;
  return out;
}

TEST(TextChat, TextsEqualTheTemplates) {
  const Json rows = Json::parse(read_file(Path(GRAFT_SOURCE_DIR) / "tests/golden/text/chat.json"));
  EXPECT_EQ(rows.size(), chat_format_names().size());
  size_t num_refused = 0;
  for (const Json& row : rows) {
    const ChatFormat& format = chat_format(row["format"].get<std::string>());
    size_t num_digests = 0;
    if (row.contains("digests")) {
      EXPECT_EQ(row["digests"].get<std::vector<std::string>>(), format.digests);
      num_digests = format.digests.size();
    }
    for (const Json& text : row.value("templates", Json::array())) {
      EXPECT_EQ(recognise_chat(text.get<std::string>()).name, format.name);
      EXPECT_THROW(recognise_chat(text.get<std::string>() + " "), InputError);
      ++num_digests;
    }
    EXPECT_EQ(num_digests, format.digests.size());
    for (const Json& c : row["cases"]) {
      SCOPED_TRACE(format.name + ": " + c.dump());
      std::vector<Turn> turns;
      for (const Json& turn : c["turns"]) turns.push_back({turn[0], turn[1]});
      const bool prompt = c["prompt"];
      if (c.contains("refused")) {
        EXPECT_THROW(render_chat(format, turns, prompt), InputError);
        ++num_refused;
      } else {
        EXPECT_EQ(joined_text(render_chat(format, turns, prompt)), c["text"].get<std::string>());
      }
    }
  }
  EXPECT_GE(num_refused, 40U);
}

TEST(TextChat, TargetsAreTheAssistants) {
  const std::vector<Turn> turns = {
      {"user", "a"}, {"assistant", " b "}, {"user", "c"}, {"assistant", "d"}};
  const std::vector<std::pair<std::string, std::vector<std::string>>> rows = {
      {"chatml", {" b <|im_end|>", "d<|im_end|>"}},
      {"smollm2", {" b <|im_end|>", "d<|im_end|>"}},
      {"qwen2", {" b <|im_end|>", "d<|im_end|>"}},
      {"qwen2.5", {" b <|im_end|>", "d<|im_end|>"}},
      {"qwen3", {" b <|im_end|>", "d<|im_end|>"}},
      {"llama-2", {" b </s>", " d </s>"}},
      {"llama-3", {"b<|eot_id|>", "d<|eot_id|>"}},
      {"llama-3.1", {"b<|eot_id|>", "d<|eot_id|>"}},
      {"zephyr", {" b </s>", "d</s>"}},
      {"mistral", {" b </s>", "d</s>"}},
      {"mistral-v0.1", {" b </s>", "d</s>"}},
      {"gemma", {"b<end_of_turn>", "d<end_of_turn>"}},
  };
  for (const auto& [name, expected] : rows) {
    SCOPED_TRACE(name);
    const ChatFormat& format = chat_format(name);
    std::vector<std::string> targets;
    std::string before;  // the text up to the last target
    std::string whole;
    for (const Piece& piece : render_chat(format, turns, true)) {
      EXPECT_FALSE(piece.text.empty());
      if (piece.is_target) {
        targets.push_back(piece.text);
        before = whole;
      }
      whole += piece.text;
    }
    EXPECT_EQ(targets, expected);
    // What asks for an answer is what stands before one.
    EXPECT_EQ(joined_text(render_chat(format, {turns.begin(), turns.end() - 1}, true)), before);
  }
  EXPECT_EQ(rows.size(), chat_format_names().size());
}

TEST(TextChat, Refusals) {
  EXPECT_EQ(message_of([] { chat_format("chatlm"); }),
            "chat: expected chatml, smollm2, qwen2, qwen2.5, qwen3, llama-2, llama-3, llama-3.1, "
            "zephyr, mistral, mistral-v0.1 or gemma, found \"chatlm\" "
            "(did you mean 'chatml'?)");
  EXPECT_EQ(
      message_of([] { recognise_chat("{{ messages }}", "tokenizer_config.json: chat_template"); }),
      "tokenizer_config.json: chat_template: this chat template is not a known one (SHA-256 "
      "f24189f08c85...), and "
      "templates are not run; name "
      "the format in the task file, such as \"chat: chatml\"; known: chatml, smollm2, qwen2, "
      "qwen2.5, qwen3, llama-2, llama-3, llama-3.1, zephyr, "
      "mistral, mistral-v0.1 and "
      "gemma");
  const auto render = [](const char* name, std::vector<Turn> turns) {
    return message_of([&] { render_chat(chat_format(name), turns, false); });
  };
  EXPECT_EQ(render("chatml", {}), "a conversation without a turn");
  EXPECT_EQ(
      render("chatml", {{"user", "a"}, {"tool", "b"}}),
      "turn 2: expected the role system, user or assistant, found \"tool\" (chat format chatml)");
  EXPECT_EQ(render("gemma", {{"system", "a"}}),
            "turn 1: this format has no system turn; put the text into the user's first turn (chat "
            "format gemma)");
  EXPECT_EQ(render("mistral", {{"user", "a"}, {"user", "b"}}),
            "turn 2: user and assistant must take turns; expected assistant, found user (chat "
            "format mistral)");
  EXPECT_EQ(render("llama-2", {{"system", "a"}}),
            "turn 1: a system turn alone; a user's must follow (chat format llama-2)");
  EXPECT_EQ(message_of([] { check_chat(chat_format("chatml"), *make(small_bpe())); }),
            "the chat format chatml needs the token \"<|im_start|>\", which this tokenizer does "
            "not have");
}

}  // namespace
}  // namespace graft::test_chat
