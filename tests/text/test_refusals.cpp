// What a tokenizer.json may not hold, and texts that cannot be encoded: each with its message.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/text/small_tokenizer.h"
#include "text/sentencepiece_tokenizer.h"

namespace graft::test_refusals {
namespace {

using Json = nlohmann::ordered_json;

// The message of the InputError, without "t.json:line:column: ".
std::string refusal(const Json& json) {
  try {
    make(json);
  } catch (const InputError& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("t.json:")) << message;
    const size_t pointer = message.find(": ");
    return message.substr(pointer + 2);
  }
  return "(accepted)";
}

struct Row {
  std::string base, pointer,
      value;  // value: JSON text put at the pointer; "" removes what is there
  std::string message;
};

const std::vector<Row> kRows = {
    // the whole
    {"wp", "/version", R"("2.0")", R"(/version: expected "1.0", found "2.0")"},
    {"wp", "/version", "", "/version: missing"},
    {"wp", "/speed", "1", "/speed: this field is not supported"},
    {"wp", "/model", "", "/model: missing"},
    {"wp", "/model", "[]", "/model: expected an object, found a list"},
    {"wp", "/truncation", R"({"max_length": 5, "strategy": "Best", "stride": 0})",
     R"(/truncation/strategy: expected LongestFirst, OnlyFirst or OnlySecond, found "Best")"},
    {"wp", "/truncation", R"({"max_length": 5, "strategy": "OnlyFirst", "step": 1})",
     "/truncation/step: this field is not supported"},
    // model
    {"wp", "/model/type", R"("WordLevel")",
     R"(/model/type: "WordLevel" is not supported; supported: WordPiece, BPE and Unigram)"},
    {"wp", "/model/type", "", "/model/type: missing"},
    {"wp", "/model/unk_token", R"("<u>")", R"(/model/unk_token: "<u>" is not in the vocabulary)"},
    {"wp", "/model/unk_token", "null", "/model/unk_token: expected a text, found null"},
    {"wp", "/model/max_input_chars_per_word", R"("ten")",
     R"(/model/max_input_chars_per_word: expected an integer in 0..1048576, found "ten")"},
    {"wp", "/model/vocab", "{}", "/model/vocab: expected 1..2097152 tokens, found 0"},
    {"wp", "/model/vocab", R"(["a"])",
     "/model/vocab: expected an object of tokens and ids, found a list"},
    {"wp", "/model/vocab/a", "-1",
     R"(/model/vocab: token "a": expected an id in 0..65663, found -1)"},
    {"wp", "/model/vocab/a", "1000000",
     R"(/model/vocab: token "a": expected an id in 0..65663, found 1000000)"},
    {"wp", "/model/vocab/a", "0.5",
     R"(/model/vocab: token "a": expected an id in 0..65663, found 0.5)"},
    {"wp", "/model/vocab/ab", "3", R"(/model/vocab: tokens "a" and "ab" have the same id 3)"},
    {"wp", "/model/subword", "1", "/model/subword: this field is not supported"},
    {"bpe", "/model/dropout", "0.1", "/model/dropout: merge dropout is not supported, found 0.1"},
    {"bpe", "/model/continuing_subword_prefix", R"("##")",
     R"(/model/continuing_subword_prefix: only null or "" is supported, found "##")"},
    {"bpe", "/model/end_of_word_suffix", R"("</w>")",
     R"(/model/end_of_word_suffix: only null or "" is supported, found "</w>")"},
    {"bpe", "/model",
     R"({"type": "BPE", "vocab": {"a": 0, "<0x61>": 1}, "merges": [], "byte_fallback": true})",
     "/model/byte_fallback: a vocabulary that has some of the tokens <0x00> to <0xFF> but not all "
     "of them is not supported"},
    {"bpe", "/model", R"({"type": "Unigram", "vocab": []})",
     "/model/vocab: expected at least one token"},
    {"bpe", "/model", R"({"type": "Unigram", "vocab": [["a", 0], ["b", "x"]]})",
     R"(/model/vocab: item 1: expected ["token", score], found a list)"},
    {"bpe", "/model", R"({"type": "Unigram", "vocab": [["a", 0], ["a", 1]]})",
     R"(/model/vocab: item 1: the token "a" appears twice)"},
    {"bpe", "/model", R"({"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1})",
     "/model/unk_id: expected an integer in 0..0, found 1"},
    {"bpe", "/model", R"({"type": "Unigram", "vocab": [["a", "-inf"]]})",
     R"(/model/vocab: item 0: expected ["token", score], found a list)"},
    {"bpe", "/model", R"({"type": "Unigram", "vocab": [["a", 0]], "alpha": 1})",
     "/model/alpha: this field is not supported"},
    {"bpe", "/model/unk_token", R"("<unk>")",
     R"(/model/unk_token: "<unk>" is not in the vocabulary)"},
    {"bpe", "/model/fuse_unk", "1", "/model/fuse_unk: expected true or false, found 1"},
    {"bpe", "/model/merges", R"([["a", "c"]])",
     R"(/model/merges: item 0: "c" is not in the vocabulary)"},
    {"bpe", "/model/merges", R"([["b", "a"]])",
     R"(/model/merges: item 0: "ba" is not in the vocabulary)"},
    {"bpe", "/model/merges", R"([["a", "b"], "a b"])",
     R"(/model/merges: item 1: the pair "a", "b" appears twice)"},
    {"bpe", "/model/merges", R"(["a b c"])",
     R"(/model/merges: item 0: expected "left right" or ["left", "right"], found "a b c")"},
    {"bpe", "/model/merges", R"([["a"]])",
     R"(/model/merges: item 0: expected "left right" or ["left", "right"], found a list)"},
    {"bpe", "/model/merges", "", "/model/merges: missing"},
    // normalizer
    {"wp", "/normalizer", R"({"type": "ByteLevel"})",
     R"(/normalizer/type: "ByteLevel" is not supported; supported: BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, )"
     "Prepend, Precompiled and Sequence"},
    {"wp", "/normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "AAA"})",
     "/normalizer/precompiled_charsmap: expected base64, found a text of 3 characters"},
    {"wp", "/normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "A-AA"})",
     R"(/normalizer/precompiled_charsmap: expected base64, found "-" at character 1)"},
    {"wp", "/normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "CAAAAAAAAAA="})",
     "/normalizer/precompiled_charsmap: expected a charsmap whose trie lies inside it, found 8 "
     "bytes with a trie of 8"},
    {"wp", "/normalizer/clean_text", "", "/normalizer/clean_text: missing"},
    {"wp", "/normalizer/upper", "true", "/normalizer/upper: this field is not supported"},
    {"wp", "/normalizer",
     R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})",
     R"(/normalizer/normalizers/1/type: "Nmt" is not supported; supported: BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, )"
     "Replace, Prepend, Precompiled and Sequence"},
    {"wp", "/normalizer", R"({"type": "Replace", "pattern": {"Regex": " *"}, "content": " "})",
     R"(/normalizer/pattern/Regex: a regular expression that matches nothing at all is not supported, found " *")"},
    {"wp", "/normalizer", R"({"type": "Replace", "pattern": {"String": ""}, "content": " "})",
     R"(/normalizer/pattern/String: expected a text of at least one character, found "")"},
    {"wp", "/normalizer", R"({"type": "Prepend", "prepend": ""})",
     R"(/normalizer/prepend: expected a text of at least one character, found "")"},
    // pre-tokenizer
    {"wp", "/pre_tokenizer", R"({"type": "UnicodeScripts"})",
     R"(/pre_tokenizer/type: "UnicodeScripts" is not supported; supported: BertPreTokenizer, ByteLevel, Whitespace, WhitespaceSplit, Punctuation, )"
     "Digits, Split, Metaspace and Sequence"},
    {"wp", "/pre_tokenizer", R"({"type": "Metaspace", "replacement": "__"})",
     R"(/pre_tokenizer/replacement: expected one character, found "__")"},
    {"wp", "/pre_tokenizer",
     R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})",
     R"(/pre_tokenizer/prepend_scheme: expected first, never or always, found "last")"},
    {"wp", "/pre_tokenizer",
     R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "add_prefix_space": false})",
     "/pre_tokenizer/add_prefix_space: false contradicts prepend_scheme, which is not never"},
    {"wp", "/pre_tokenizer", R"({"type": "Punctuation", "behavior": "Merged"})",
     R"(/pre_tokenizer/behavior: expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous, found "Merged")"},
    {"wp", "/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Regex": "a("}, "behavior": "Removed", "invert": false})",
     R"(/pre_tokenizer/pattern/Regex: not a valid regular expression: "a(" (at character 2: U_REGEX_MISMATCHED_PAREN))"},
    {"wp", "/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Regex": ""}, "behavior": "Removed", "invert": false})",
     "/pre_tokenizer/pattern/Regex: expected a regular expression of 1..4096 bytes, found 0"},
    {"wp", "/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Glob": "a"}, "behavior": "Removed", "invert": false})",
     "/pre_tokenizer/pattern/String: missing"},
    {"bpe", "/pre_tokenizer",
     R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}, {"type": "Whitespace"}]})",
     "/pre_tokenizer/pretokenizers/1/type: ByteLevel must be the last pre-tokenizer"},
    // added tokens
    {"wp", "/added_tokens/0/id", "5",
     R"(/added_tokens/0/id: token "[CLS]" has another id in the vocabulary; expected 0, found 5)"},
    {"wp", "/added_tokens/0/content", R"("new")",
     R"(/added_tokens/0/id: token "new" is not in the vocabulary, so it gets the next free id; expected 8, found 0)"},
    {"wp", "/added_tokens/0/content", R"("")",
     "/added_tokens/0/content: expected a text of 1..4096 bytes, found 0"},
    {"wp", "/added_tokens/0/color", "1", "/added_tokens/0/color: this field is not supported"},
    {"wp", "/added_tokens/0/special", "", "/added_tokens/0/special: missing"},
    // post-processor
    {"wp", "/post_processor/type", R"("Pad")",
     R"(/post_processor/type: "Pad" is not supported; supported: BertProcessing, RobertaProcessing, TemplateProcessing, ByteLevel and Sequence)"},
    {"wp", "/post_processor/sep", R"(["[SEP]", 99])",
     "/post_processor/sep: no token has the id 99"},
    {"wp", "/post_processor/sep", R"(["[SEP]"])", R"(/post_processor/sep: expected ["token", id])"},
    {"wp", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}})",
     "/post_processor/single: expected at least one piece"},
    {"wp", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}], "pair": [], "special_tokens": {}})",
     "/post_processor/special_tokens/x: missing, but a template uses it"},
    {"wp", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}], "pair": [], "special_tokens": {}})",
     "/post_processor/single/0/Sequence/id: the template for one text cannot use the second one"},
    {"wp", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
         "special_tokens": {}})",
     "/post_processor/pair: the template must use both texts"},
    {"bpe", "/post_processor",
     R"({"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["a", 0], "cls": ["a", 0]},
                                            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}]})",
     "/post_processor/processors/1/type: trimming offsets after a template is not supported; put "
     "ByteLevel first"},
    {"bpe", "/post_processor",
     R"({"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["a", 0], "cls": ["a", 0]},
                                            {"type": "BertProcessing", "sep": ["a", 0], "cls": ["a", 0]}]})",
     "/post_processor/processors/1/type: a second template in a Sequence is not supported"},
    // decoder
    {"wp", "/decoder/type", R"("BPEDecoder")",
     R"(/decoder/type: "BPEDecoder" is not supported; supported: WordPiece, ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip and Sequence)"},
    {"wp", "/decoder", R"({"type": "Sequence", "decoders": []})",
     "/decoder/decoders: expected at least one decoder"},
    {"wp", "/decoder",
     R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]})",
     R"(/decoder/decoders/1/type: "ByteFallback" after Fuse or ByteLevel is not supported; supported there: Strip and Fuse)"},
    {"wp", "/decoder", R"({"type": "Strip", "content": " ", "start": 1, "stop": 1})",
     "/decoder/stop: expected an integer in 0..0, found 1"},
    {"wp", "/decoder", R"({"type": "Strip", "content": "ab", "start": 1, "stop": 0})",
     R"(/decoder/content: expected one character, found "ab")"},
    {"wp", "/decoder", R"({"type": "Replace", "pattern": {"Regex": "a"}, "content": ""})",
     "/decoder/pattern/Regex: a regular expression is not supported here; supported: String"},
    {"wp", "/decoder/glue", "1", "/decoder/glue: this field is not supported"},
};

TEST(TextRefusals, NameTheFieldAndTheReason) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.pointer + " = " + row.value);
    Json json = row.base == "wp" ? small_wordpiece() : small_bpe();
    const Json::json_pointer pointer(row.pointer);
    if (row.value.empty()) json[pointer.parent_pointer()].erase(pointer.back());
    else json[pointer] = Json::parse(row.value);
    EXPECT_EQ(refusal(json), row.message);
  }
}

TEST(TextRefusals, RegularExpressionsThatEnginesReadDifferently) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {R"(\w+)", R"(\w)"},
      {R"(a\b)", R"(\b)"},
      {"^a", "^"},
      {"a$", "$"},
      {"(?m)a", "(?m"},
      {"a{1,2}+", "a possessive count"},
      {"a{2}?", "a lazy fixed count"},
      {"[a--b]", "-- in a set"},
      {"[[:alpha:]]", "[: in a set"},
      {R"(\1)", R"(\1)"},
      {R"(\p{^L})", R"(\p{^L} (only L and N are known))"},
      {R"(\p{Lu}+)", R"(\p{Lu} (only L and N are known))"},
      {R"(\pL)", R"(\pL (only L and N are known))"},
      {R"(\d)", R"(\d)"},
      {"a\\", "a backslash at the end"}};
  for (const auto& [pattern, construct] : rows) {
    Json json = small_wordpiece();
    json["pre_tokenizer"] = {{"type", "Split"},
                             {"pattern", {{"Regex", pattern}}},
                             {"behavior", "Removed"},
                             {"invert", false}};
    EXPECT_EQ(refusal(json), "/pre_tokenizer/pattern/Regex: the regular expression " +
                                 quote(pattern) + " uses " + construct +
                                 ", which is not supported");
  }
}

TEST(TextRefusals, RegularExpressionsOfManySets) {
  Json json = small_wordpiece();
  std::string pattern;
  for (int i = 0; i < 33; ++i) pattern += R"(\p{L})";
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", pattern}}},
                           {"behavior", "Removed"},
                           {"invert", false}};
  EXPECT_EQ(
      refusal(json),
      R"(/pre_tokenizer/pattern/Regex: more than 32 uses of \p{L} or \p{N} are not supported)");
}

TEST(TextRefusals, AddedTokensThatClash) {
  Json json = small_wordpiece();
  json["added_tokens"].push_back(json["added_tokens"][0]);
  EXPECT_EQ(refusal(json), R"(/added_tokens/1/content: the token "[CLS]" appears twice)");
  json = small_wordpiece();
  json["model"]["vocab"]["far"] = 9;  // leaves 8 free, but the next id counts tokens: 9
  json["added_tokens"].push_back({{"id", 9},
                                  {"content", "x"},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", false},
                                  {"special", false}});
  EXPECT_EQ(refusal(json), R"(/added_tokens/1/id: the id 9 belongs to "far")");
  json = small_wordpiece();
  json["added_tokens"].push_back({{"id", 8},
                                  {"content", "\xCC\x81"},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", true},
                                  {"special", false}});
  EXPECT_EQ(refusal(json), "/added_tokens: the token \"\xCC\x81\" is empty after normalization");
}

TEST(TextRefusals, FileFaults) {
  EXPECT_THROW(Tokenizer::load("/nowhere/tokenizer.json"), InputError);
  EXPECT_THROW(Tokenizer::parse("{", "t.json"), InputError);
  EXPECT_EQ(refusal(Json::array()), "expected an object, found a list");
}

TEST(TextRefusals, TextsThatAreNotUtf8) {
  const auto tokenizer = make(small_wordpiece());
  EXPECT_EQ(message_of([&] { tokenizer->encode("ab\xFF"); }),
            "text: byte 2: not valid UTF-8, found byte value 255; convert the text to UTF-8");
  EXPECT_EQ(
      message_of([&] { tokenizer->encode("a", "\xC3\xA9\xED\xA0\x80"); }),
      "second text: byte 2: not valid UTF-8, found byte value 237; convert the text to UTF-8");
  for (const char* bad : {"\x80", "\xC0\x80", "\xC3", "\xE2\x82", "\xF4\x90\x80\x80",
                          "\xED\xBF\xBF", "\xF0\x80\x80\x80", "a\xFE"}) {
    EXPECT_THROW(tokenizer->encode(bad), InputError) << bad;
  }
  EXPECT_NO_THROW(tokenizer->encode(
      std::string_view("\0\xEF\xBF\xBF\xF4\x8F\xBF\xBF", 8)));  // noncharacters are characters
}

TEST(TextRefusals, TruncationThatCannotBeDone) {
  const auto tokenizer = make(small_wordpiece());
  const auto cut = [&](std::optional<std::string_view> pair, int64_t max_length,
                       TruncationStrategy strategy) {
    return message_of([&] { tokenizer->encode("a a a", pair, {true, max_length, strategy}); });
  };
  EXPECT_EQ(cut({}, 1, TruncationStrategy::kLongestFirst),
            "max_length 1: the special tokens alone are 2");
  EXPECT_EQ(cut({}, -1, TruncationStrategy::kLongestFirst),
            "max_length -1: expected 0 (no bound) or more");
  EXPECT_NO_THROW(tokenizer->encode("a a a", {}, {true, 5, TruncationStrategy::kOnlySecond}))
      << "nothing to cut";
  EXPECT_EQ(cut({}, 4, TruncationStrategy::kOnlySecond),
            "max_length 4: only_second needs a second text");
  EXPECT_EQ(cut("a", 4, TruncationStrategy::kOnlySecond),
            "max_length 4: the second text has 1 tokens and would have to lose 3; use "
            "longest_first or a larger max_length");
  EXPECT_EQ(cut("a a a a", 6, TruncationStrategy::kOnlyFirst),
            "max_length 6: the first text has 3 tokens and would have to lose 4; use longest_first "
            "or a larger max_length");
}

TEST(TextRefusals, CharactersAndIdsWithoutToken) {
  const auto tokenizer = make(small_bpe());
  EXPECT_EQ(message_of([&] { tokenizer->encode("ac"); }),
            R"(the character "c" has no token, and the model has no unk_token to stand for it)");
  EXPECT_EQ(message_of([&] { tokenizer->decode(std::vector<int64_t>{5}); }),
            "no token has the id 5; ids are below 5");
  EXPECT_EQ(message_of([&] { tokenizer->decode(std::vector<int64_t>{-1}); }),
            "no token has the id -1; ids are below 5");
}

TEST(TextRefusals, WorkWithoutBound) {
  Json json = small_wordpiece();
  const Json doubling = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaaaaaa"}};
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  for (int i = 0; i < 30; ++i) json["normalizer"]["normalizers"].push_back(doubling);
  json["added_tokens"] = nullptr;
  EXPECT_EQ(message_of([&] { make(json)->encode("a"); }),
            "the normalizer makes more than 65568 characters of the text");
  json = small_wordpiece();
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", "(?:a|aa)+b"}}},
                           {"behavior", "Removed"},
                           {"invert", false}};
  const std::string message = message_of([&] { make(json)->encode(std::string(60, 'a')); });
  EXPECT_EQ(
      message,
      R"(the regular expression "(?:a|aa)+b" takes too many steps on a text of 60 characters (U_REGEX_TIME_OUT))");
}

TEST(TextRefusals, SentencePieceFiles) {
  const Path folder = Path(GRAFT_SOURCE_DIR) / "tests/golden/text/families";
  const std::string t5 = read_file(folder / "t5-sp/spiece.model");
  const auto parse = [&](std::string_view bytes, const char* config) {
    return message_of([&] {
      Tokenizer::parse_sentencepiece(bytes, "m.model",
                                     read_sentencepiece_settings(config, "c.json"));
    });
  };
  const char* const own =
      R"({"tokenizer_class": "T5TokenizerFast", "added_tokens_decoder": {"1": {"content": "</s>"}}})";
  EXPECT_NO_THROW(
      Tokenizer::parse_sentencepiece(t5, "m.model", read_sentencepiece_settings(own, "c.json")));
  EXPECT_EQ(parse("", "{}"), "m.model: not a SentencePiece model: it has no pieces");
  EXPECT_EQ(
      parse("{}", "{}"),
      "m.model: byte 0: not a SentencePiece model: expected a field of kind 0, 1, 2 or 5, found 3");
  EXPECT_EQ(parse(std::string_view(t5).substr(0, 10), "{}"),
            "m.model: byte 0: not a SentencePiece model: a field of 14 bytes where 8 are left");
  EXPECT_EQ(parse(t5, R"({"tokenizer_class": "LlamaTokenizer"})"),
            "m.model: a LlamaTokenizer whose model is Unigram is not supported; save the tokenizer "
            "as tokenizer.json instead");
  EXPECT_EQ(parse(t5, R"({"added_tokens_decoder": {"1": {"content": "<s>"}}})"),
            "m.model: the config gives the id 1 to \"<s>\", where the file has \"</s>\"; save the "
            "tokenizer as tokenizer.json instead");
  EXPECT_EQ(parse(t5, R"({"add_bos_token": true})"),
            "m.model: \"<s>\" stands around a text, but is not a piece");
  EXPECT_NE(parse(t5, R"({"tokenizer_class": "AlbertTokenizer"})")
                .find("/tokenizer_class: expected T5Tokenizer, T5TokenizerFast, LlamaTokenizer or "
                      "LlamaTokenizerFast, found \"AlbertTokenizer\""),
            std::string::npos);
  // <extra_id_0> is the last id.
  const auto tokenizer = Tokenizer::parse_sentencepiece(
      t5, "m.model", read_sentencepiece_settings(R"({"extra_ids": 3})", "c.json"));
  EXPECT_EQ(tokenizer->token_to_id("<extra_id_0>"), tokenizer->size() - 1);
  EXPECT_EQ(tokenizer->token_to_id("<extra_id_2>"), tokenizer->size() - 3);
}

}  // namespace
}  // namespace graft::test_refusals
