// What must hold for any text: offsets in order and inside it, lossless byte-level decoding,
// the same result from several threads.
#include <gtest/gtest.h>

#include <unistd.h>

#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "cli/inspect_tokens.h"
#include "tests/text/small_tokenizer.h"
#include "text/unicode.h"

namespace graft::test_properties {
namespace {

const Path kFolder = Path(GRAFT_SOURCE_DIR) / "tests/golden/text";
constexpr uint64_t kSeed = 7;

// Any code points but surrogates, with a leaning to the first planes' alphabets.
std::string random_text(Random& random) {
  std::string out;
  const uint64_t length = random.below(60);
  for (uint64_t i = 0; i < length; ++i) {
    constexpr uint64_t kBounds[] = {0x80, 0x80, 0x250, 0x800, 0x3000, 0xD800, 0x20000, 0x110000};
    char32_t c = static_cast<char32_t>(random.below(kBounds[random.below(8)]));
    if (c >= 0xD800 && c < 0xE000) c = ' ';
    append_utf8(out, c);
  }
  return out;
}

TEST(TextProperties, OffsetsAreInOrderAndInsideTheText) {
  Random random(RandomKey{kSeed});
  for (const char* name : {"wordpiece", "bpe"}) {
    const auto tokenizer = Tokenizer::load(kFolder / name / "tokenizer.json");
    for (int round = 0; round < 500; ++round) {
      const std::string text = random_text(random);
      SCOPED_TRACE("seed " + std::to_string(kSeed) + ", " + name + ", " + quote(text));
      const Encoding encoding = tokenizer->encode(text);
      const auto length = static_cast<int64_t>(decode_utf8(text, "text").size());
      int64_t last = 0;
      for (size_t i = 0; i < encoding.ids.size(); ++i) {
        const auto [begin, end] = encoding.offsets[i];
        ASSERT_LE(begin, end);
        ASSERT_LE(end, length);
        if (encoding.special[i]) continue;
        ASSERT_GE(begin, last);
        last = begin;
      }
    }
  }
}

TEST(TextProperties, ByteLevelDecodingIsLossless) {
  Random random(RandomKey{kSeed});
  const auto tokenizer = Tokenizer::load(kFolder / "bpe/tokenizer.json");
  for (int round = 0; round < 1000; ++round) {
    const std::string text = random_text(random);
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(text).ids), text) << "seed " << kSeed;
  }
}

// Byte-pair encoding as it is defined: merge the pair of the lowest rank, leftmost first, until
// none is left. Requires: merged tokens have their ids in the order of their ranks.
std::vector<int64_t> merged_by_definition(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::string> parts;
  for (const char c : text) parts.emplace_back(1, c);
  for (;;) {
    size_t best = parts.size();
    int64_t best_id = INT64_MAX;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto id = tokenizer.token_to_id(parts[i] + parts[i + 1]);
      if (id && *id < best_id) best = i, best_id = *id;
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  std::vector<int64_t> ids;
  for (const std::string& part : parts) ids.push_back(*tokenizer.token_to_id(part));
  return ids;
}

// Past forty characters another algorithm takes over, so lengths lie on both sides.
void expect_merges(const Tokenizer& tokenizer, const std::string& letters) {
  Random random(RandomKey{kSeed});
  for (int round = 0; round < 300; ++round) {
    std::string text(1 + random.below(80), ' ');
    for (char& c : text) c = letters[random.below(letters.size())];
    ASSERT_EQ(tokenizer.encode(text, {.add_special = false}).ids,
              merged_by_definition(tokenizer, text))
        << "seed " << kSeed << ", " << text;
  }
}

TEST(TextProperties, WordsMergeAsDefined) {
  expect_merges(*Tokenizer::load(kFolder / "bpe/tokenizer.json"), "theandrivst");
  auto json = small_bpe();  // pairs that overlap themselves and each other
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"aa", 2}, {"ab", 3}, {"ba", 4}, {"baa", 5}};
  json["model"]["merges"] = {"a a", "a b", "b a", "b aa"};
  expect_merges(*make(json), "ab");
  expect_merges(*make(json), "aaab");
}

TEST(TextProperties, CuttingKeepsTheBeginning) {
  const auto tokenizer = Tokenizer::load(kFolder / "wordpiece/tokenizer.json");
  const std::string text =
      "The river rose in the night, and by morning the lower road was under water.";
  const Encoding whole = tokenizer->encode(text);
  const auto size = static_cast<int64_t>(whole.ids.size());
  for (int64_t length = 2; length <= size + 1; ++length) {
    const Encoding cut = tokenizer->encode(text, {.max_length = length});
    ASSERT_EQ(static_cast<int64_t>(cut.ids.size()), std::min(length, size));
    ASSERT_EQ(cut.num_truncated, std::max<int64_t>(0, size - length));
    for (size_t i = 0; i + 1 < cut.ids.size(); ++i) ASSERT_EQ(cut.ids[i], whole.ids[i]);
    ASSERT_EQ(cut.ids.back(), whole.ids.back());
  }
}

TEST(TextProperties, ThreadsDoNotDisturbEachOther) {
  const auto tokenizer = Tokenizer::load(kFolder / "bpe/tokenizer.json");
  Random random(RandomKey{kSeed});
  std::vector<std::string> texts;
  for (int i = 0; i < 100; ++i) texts.push_back(random_text(random));
  std::vector<std::vector<int64_t>> expected;
  for (const std::string& text : texts) expected.push_back(tokenizer->encode(text).ids);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < texts.size(); ++i)
        wrong[t] += tokenizer->encode(texts[i]).ids == expected[i] ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(TextTokenizer, TellsWhatTheFileHolds) {
  auto json = small_wordpiece();
  json["truncation"] = {
      {"max_length", 128}, {"strategy", "OnlySecond"}, {"stride", 0}, {"direction", "Right"}};
  json["padding"] = {{"strategy", {{"Fixed", 128}}}};
  json["added_tokens"].push_back({{"id", 8},
                                  {"content", "<x>"},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", false},
                                  {"special", false}});
  const auto tokenizer = make(json);
  EXPECT_EQ(tokenizer->encode("a").ids, (std::vector<int64_t>{0, 3, 1}));  // neither cut nor padded
  EXPECT_EQ(tokenizer->size(), 9);
  EXPECT_EQ(tokenizer->id_bound(), 9);
  EXPECT_EQ(tokenizer->num_added(false), 2);
  EXPECT_EQ(tokenizer->num_added(true), 3);
  EXPECT_EQ(tokenizer->token_to_id("<x>"), 8);
  EXPECT_EQ(tokenizer->token_to_id("ab"), 6);
  EXPECT_EQ(tokenizer->token_to_id("zz"), std::nullopt);
  EXPECT_EQ(tokenizer->id_to_token(8), "<x>");
  EXPECT_EQ(tokenizer->id_to_token(9), std::nullopt);
  EXPECT_TRUE(tokenizer->is_special(0));
  EXPECT_FALSE(tokenizer->is_special(8));
  EXPECT_EQ(tokenizer->digest().size(), 64U);
  const std::vector<int64_t> ids = {0, 3, 5, 8, 7, 1};
  EXPECT_EQ(tokenizer->decode(ids), "ab <x>! [SEP]");  // [SEP] is not declared special in this file
  EXPECT_EQ(tokenizer->decode(ids, SpecialTokens::kKeep), "[CLS] ab <x>! [SEP]");
}

TEST(TextInspect, PrintsALineOfJsonPerLine) {
  const Path folder = Path(::testing::TempDir()) / ("inspect_tokens_" + std::to_string(::getpid()));
  make_directories(folder);
  write_file_atomically(folder / "tokenizer.json", small_wordpiece().dump());
  write_file_atomically(folder / "lines.txt", "ab a\r\n\n!");
  testing::internal::CaptureStdout();
  EXPECT_EQ(inspect_tokens(*Tokenizer::load(folder), folder / "lines.txt", true), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "{\"ids\": [0, 6, 3, 1], \"offsets\": [[0, 0], [0, 2], [3, 4], [0, 0]]}\n"
            "{\"ids\": [0, 1], \"offsets\": [[0, 0], [0, 0]]}\n"
            "{\"ids\": [0, 7, 1], \"offsets\": [[0, 0], [0, 1], [0, 0]]}\n");
  testing::internal::CaptureStdout();
  EXPECT_EQ(inspect_tokens(*Tokenizer::load(folder), folder / "lines.txt", false), 0);
  EXPECT_TRUE(testing::internal::GetCapturedStdout().starts_with(
      "1: \"ab a\\x0d\"  (4 tokens)\n         0       0..0      \"[CLS]\"  (added)\n"));
  write_file_atomically(folder / "bad.txt", "ab\na\xFF\n");
  testing::internal::CaptureStdout();
  try {
    inspect_tokens(*Tokenizer::load(folder), folder / "bad.txt", true);
    ADD_FAILURE() << "accepted";
  } catch (const InputError& error) {
    EXPECT_EQ(
        std::string(error.what()),
        (folder / "bad.txt").string() +
            ":2: text: byte 1: not valid UTF-8, found byte value 255; convert the text to UTF-8");
  }
  testing::internal::GetCapturedStdout();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace graft::test_properties
