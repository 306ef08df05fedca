// Rows of text tasks have the tokens that transformers and tokenizers give them
// (tools/golden/text_rows.py): conversations in every chat format, targets behind their prompts,
// cuts at either side.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "text/chat.h"

namespace graft::test_rows {
namespace {

using Json = nlohmann::ordered_json;
using Ids = std::vector<int64_t>;

const Path kFolder = Path(GRAFT_SOURCE_DIR) / "tests/golden/text";

std::shared_ptr<const Tokenizer> tokenizer_of(const Json& row) {
  const std::string base = row["base"];
  const Path folder = base == "wordpiece" ? kFolder / base : kFolder / "families" / base;
  Json file = Json::parse(read_file(folder / "tokenizer.json"));
  for (const auto& [key, section] : row["sections"].items()) file[key] = section;
  for (const Json& token : row["added"]) file["added_tokens"].push_back(token);
  return Tokenizer::parse(file.dump(), row["tokenizer"]);
}

// Calls `check` with each case of a kind, and counts them.
template <typename F>
size_t each_case(const std::string& kind, F check) {
  size_t count = 0;
  for (const Json& row : Json::parse(read_file(kFolder / "rows.json"))) {
    if (row["kind"] != kind) continue;
    const auto tokenizer = tokenizer_of(row);
    for (const Json& c : row["cases"]) {
      SCOPED_TRACE(row["tokenizer"].get<std::string>() + ", " + row.value("format", "") + ": " +
                   c.dump());
      check(*tokenizer, row, c);
      ++count;
      if (testing::Test::HasFailure()) return count;  // one is enough to read
    }
  }
  return count;
}

TEST(TextRows, ChatsHaveTheTokensOfTheirTemplate) {
  size_t num_marked = 0;
  const size_t count =
      each_case("chats", [&](const Tokenizer& tokenizer, const Json& row, const Json& c) {
        const ChatFormat& format = chat_format(row["format"].get<std::string>());
        std::vector<Turn> turns;
        for (const Json& turn : c["turns"]) turns.push_back({turn[0], turn[1]});
        Ids expected = c["ids"];
        const PieceTokens found = encode_pieces(tokenizer, render_chat(format, turns, false));
        EXPECT_EQ(found.ids, expected);
        if (c.contains("answer")) {
          std::string answer;
          for (const bool is_target : found.is_target) answer += is_target ? '1' : '0';
          EXPECT_EQ(answer, c["answer"].get<std::string>());
          ++num_marked;
        }
        const Ids behind = c.value("behind", Ids{});
        expected.insert(expected.end(), behind.begin(), behind.end());
        EXPECT_EQ(encode_pieces(tokenizer, render_chat(format, turns, true)).ids, expected);
      });
  EXPECT_GE(count, 1000U);
  EXPECT_GE(num_marked, 200U);
}

// The prompt keeps its tokens whatever follows; the whole text's are taken where they allow it.
TEST(TextRows, TargetsFollowTheirPrompts) {
  size_t num_whole = 0;
  const size_t count =
      each_case("follow", [&](const Tokenizer& tokenizer, const Json&, const Json& c) {
        const Opening opening{c["prompt"], c["prompt_ids"]};
        const Ids whole = c["ids"];
        EXPECT_EQ(tokenizer.encode(opening.text, {.add_special = false}).ids, opening.ids);
        const bool begins_so = whole.size() >= opening.ids.size() &&
                               std::equal(opening.ids.begin(), opening.ids.end(), whole.begin());
        const Ids expected =
            begins_so
                ? Ids(whole.begin() + static_cast<std::ptrdiff_t>(opening.ids.size()), whole.end())
                : c["alone"].get<Ids>();
        EXPECT_EQ(continuation_ids(tokenizer, opening, c["target"]), expected);
        num_whole += begins_so ? 1U : 0U;
      });
  EXPECT_GE(count, 200U);
  EXPECT_GE(num_whole, 150U);
  EXPECT_LT(num_whole, count) << "some tokens reach over the border";
}

TEST(TextRows, CutsKeepWhatStandsAroundTheText) {
  const size_t count =
      each_case("cut", [&](const Tokenizer& tokenizer, const Json&, const Json& c) {
        EncodeOptions options{.max_length = c["max_length"]};
        options.side = c["side"] == "left" ? TruncationSide::kLeft : TruncationSide::kRight;
        const std::string text = c["text"],
                          pair = c["pair"].is_null() ? "" : c["pair"].get<std::string>();
        const std::optional<std::string_view> second =
            c["pair"].is_null() ? std::nullopt : std::optional<std::string_view>(pair);
        const Encoding found = tokenizer.encode(text, second, options);
        EXPECT_EQ(found.ids, c["ids"].get<Ids>());
        const size_t whole = tokenizer.encode(text, second).ids.size();
        EXPECT_EQ(found.num_truncated, static_cast<int64_t>(whole - found.ids.size()));
      });
  EXPECT_GE(count, 200U);
}

TEST(TextRows, MutedAnswersAreNeitherTargetNorPrompt) {
  const auto tokenizer = Tokenizer::load(kFolder / "families/smollm2/tokenizer.json");
  const std::vector<Turn> turns = {
      {"user", "a"}, {"assistant", "no", false}, {"user", "b"}, {"assistant", "yes"}};
  const PieceTokens found =
      encode_pieces(*tokenizer, render_chat(chat_format("chatml"), turns, false));
  std::string muted, target;
  for (size_t i = 0; i < found.ids.size(); ++i) {
    const std::string text =
        tokenizer->decode(std::vector<int64_t>{found.ids[i]}, SpecialTokens::kKeep);
    if (found.is_muted[i]) muted += text;
    if (found.is_target[i]) target += text;
    EXPECT_FALSE(found.is_muted[i] && found.is_target[i]);
  }
  EXPECT_EQ(muted, "no<|im_end|>");
  EXPECT_EQ(target, "yes<|im_end|>");
}

}  // namespace
}  // namespace graft::test_rows
