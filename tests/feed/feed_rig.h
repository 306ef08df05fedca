// Tokenizers, configs and rows: what the tests of rows as token ids share.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "feed/dataset.h"
#include "tests/support/models.h"

namespace graft::testing {

using Ids = std::vector<int64_t>;

inline ModelText text_of(const std::string& family, const std::string& end) {
  ModelText text{"tests",
                 Tokenizer::load(golden_dir("text") / "families" / family / "tokenizer.json")};
  text.end_ids = {*text.tokenizer->token_to_id(end)};
  return text;
}

// A config whose vocabulary holds the tokenizer's ids.
inline ModelConfig config_of(const std::string& model_type, const ModelText& text) {
  return parse_config(
      tiny_config(model_type,
                  Node::map({{"vocab_size", Node::integer(text.tokenizer->id_bound())}})),
      "tiny");
}

inline Task task_of(const std::string& text) { return parse_task(yaml(text), "task"); }

// Of a file "f.jsonl".
inline std::vector<Example> rows_of(const Task& task, const std::string& jsonl,
                                    LabelUse use = LabelUse::kOptional) {
  return to_examples(parse_table(jsonl, TableFormat::kJsonl, "f.jsonl"), task, use);
}

// Without what stands around a text.
inline Ids plain(const ModelText& text, const std::string& words) {
  return text.tokenizer->encode(words, {.add_special = false}).ids;
}

inline Ids joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace graft::testing
