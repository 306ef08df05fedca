// The ids that a model's folder names as the ends of a text: what is refused.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/feed/feed_rig.h"
#include "tests/support/testing.h"

namespace graft::testing::test_end_tokens {
namespace {

// An object holds no items: it would pass for a list of none, and config.json would not be asked.
TEST(EndTokens, AreOneIdOrAListOfIds) {
  const TempFolder folder;
  std::filesystem::copy_file(golden_dir("text") / "families" / "smollm2" / "tokenizer.json",
                             folder / "tokenizer.json");
  write_file_atomically(folder / "config.json", R"({"eos_token_id": 0})");
  const auto message = [&](const std::string& ids) {
    write_file_atomically(folder / "generation_config.json", "{\"eos_token_id\": " + ids + "}");
    return message_of<InputError>([&] { load_model_text(folder.path()); });
  };
  const std::string expected =
      "generation_config.json: eos_token_id: expected a token id or a list of them, found ";
  for (const auto& [ids, found] :
       {std::pair{"{}", "{}"}, std::pair{"[0, [1]]", "[1]"}, std::pair{"[null]", "null"}}) {
    const std::string told = message(ids);
    EXPECT_TRUE(told.ends_with(expected + "\"" + found + "\"")) << ids << ": " << told;
  }
}

}  // namespace
}  // namespace graft::testing::test_end_tokens
