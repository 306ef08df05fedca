// Ids, offsets, type ids, special flags and decoded texts equal what Hugging Face `tokenizers` and
// `sentencepiece` gave (tools/golden/text.py, tools/golden/text_families.py), decoded at once or as
// a stream.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

namespace graft::test_golden {
namespace {

using Json = nlohmann::ordered_json;

const Path kFolder = Path(GRAFT_SOURCE_DIR) / "tests/golden/text";

Json read_json(const Path& path) { return Json::parse(read_file(path)); }

EncodeOptions options_of(const Json& c) {
  EncodeOptions options;
  options.add_special = c.value("add_special", true);
  options.max_length = c.value("max_length", 0);
  const std::string strategy = c.value("strategy", "longest_first");
  options.strategy = strategy == "only_first"    ? TruncationStrategy::kOnlyFirst
                     : strategy == "only_second" ? TruncationStrategy::kOnlySecond
                                                 : TruncationStrategy::kLongestFirst;
  return options;
}

// Every part ends at a whole character, and all of them are the text.
void expect_stream(const std::shared_ptr<const Tokenizer>& tokenizer,
                   const std::vector<int64_t>& ids, const std::string& expected) {
  StreamDecoder stream(tokenizer);
  for (int round = 0; round < 2; ++round) {  // a stream can be used again
    std::string all;
    for (const int64_t id : ids) {
      const std::string part = stream.push(id);
      EXPECT_EQ(find_invalid_utf8(part), std::string::npos);
      all += part;
      EXPECT_TRUE(expected.starts_with(all)) << all;
    }
    all += stream.finish();
    EXPECT_EQ(all, expected);
  }
}

void expect_case(const std::shared_ptr<const Tokenizer>& shared, const Json& c,
                 const std::string& name) {
  SCOPED_TRACE(name + ": " + c.dump());
  const Tokenizer& tokenizer = *shared;
  const std::string text = c["text"];
  const bool has_pair = c.contains("pair") && !c["pair"].is_null();
  const std::string pair = has_pair ? c["pair"].get<std::string>() : "";
  const std::optional<std::string_view> second =
      has_pair ? std::optional<std::string_view>(pair) : std::nullopt;
  if (c.contains("refused")) {
    EXPECT_THROW(tokenizer.encode(text, second, options_of(c)), InputError);
    return;
  }
  const Encoding encoding = tokenizer.encode(text, second, options_of(c));
  const size_t size = encoding.ids.size();
  EXPECT_EQ(encoding.ids, c["ids"].get<std::vector<int64_t>>());
  EXPECT_EQ(tokenizer.decode(encoding.ids), c["decoded"].get<std::string>());
  expect_stream(shared, encoding.ids, c["decoded"].get<std::string>());
  if (c.contains("ids_only")) return;
  std::vector<int64_t> offsets;
  for (const auto& [begin, end] : encoding.offsets) offsets.insert(offsets.end(), {begin, end});
  EXPECT_EQ(offsets, c["offsets"].get<std::vector<int64_t>>());
  EXPECT_EQ(encoding.type_ids, c.contains("type_ids") ? c["type_ids"].get<std::vector<int64_t>>()
                                                      : std::vector<int64_t>(size, 0));
  std::vector<bool> special(size, false);
  if (c.contains("special")) {
    for (const size_t i : c["special"].get<std::vector<size_t>>()) special[i] = true;
  }
  EXPECT_EQ(encoding.special, special);
}

void expect_folder(const std::string& name, size_t least) {
  const auto tokenizer = Tokenizer::load(kFolder / name);
  const Json cases = read_json(kFolder / name / "cases.json");
  EXPECT_GE(cases.size(), least);
  for (const Json& c : cases) {
    expect_case(tokenizer, c, name);
    if (testing::Test::HasFailure()) return;  // one is enough to read
  }
}

TEST(TextGolden, WordPiece) { expect_folder("wordpiece", 340); }
TEST(TextGolden, ByteLevelBpe) { expect_folder("bpe", 290); }

TEST(TextGolden, Families) {
  for (const char* name :
       {"gpt-2", "llama-3", "qwen2", "smollm2", "modernbert", "llama-2", "llama-2-new", "t5"})
    expect_folder(std::string("families/") + name, 40);
}
TEST(TextGolden, SentencePieceFiles) {
  for (const char* name : {"t5-sp", "llama-sp"}) expect_folder(std::string("families/") + name, 40);
}

void expect_variants(const Path& folder, size_t least) {
  const Json variants = read_json(folder / "variants.json");
  EXPECT_GE(variants.size(), least);
  for (const Json& variant : variants) {
    Json file = read_json(folder / variant["base"].get<std::string>() / "tokenizer.json");
    for (const auto& [key, section] : variant["sections"].items()) {
      if (key == "model" && !section.contains("vocab")) file["model"].update(section);
      else file[key] = section;
    }
    const std::string name = variant["name"];
    const auto tokenizer = Tokenizer::parse(file.dump(), name);
    for (const Json& c : variant["cases"]) expect_case(tokenizer, c, name);
  }
}

TEST(TextGolden, Variants) { expect_variants(kFolder, 60); }
TEST(TextGolden, VariantsOfFamilies) { expect_variants(kFolder / "families", 18); }

}  // namespace
}  // namespace graft::test_golden
