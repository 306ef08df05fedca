// A few-token tokenizer.json for tests, as a tree whose parts a test replaces, and what a call is
// refused with.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "text/tokenizer.h"

namespace graft {

// What `f` is refused with; a test failure and "" if it is not.
template <typename F>
std::string message_of(F f) {
  try {
    f();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an InputError";
  return "";
}

inline nlohmann::ordered_json small_wordpiece() {
  return nlohmann::ordered_json::parse(R"json({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 10,
              "vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "a": 3, "##a": 4, "##b": 5, "ab": 6, "!": 7}}})json");
}

inline nlohmann::ordered_json small_bpe() {
  return nlohmann::ordered_json::parse(R"json({
    "version": "1.0", "added_tokens": [],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4}, "merges": [["a", "b"], ["Ġ", "ab"]]}})json");
}

inline std::shared_ptr<const Tokenizer> make(const nlohmann::ordered_json& json) {
  return Tokenizer::parse(json.dump(), "t.json");
}

}  // namespace graft
