// Models in GGUF files: ggml's metadata and tensor names as a config, tensors and a tokenizer of
// ours. doc/gguf.md says what is read.
//
// Architectures: those that a family lists (model/families.h): llama (LLaMA 1 to 3, Mistral without
// a window, SmolLM2 ...), qwen2 and qwen3. Quantised weights are turned into plain numbers when
// they are loaded: a trunk knows nothing of them.
//
// In all functions `model` is a .gguf file, or a folder that holds one and no config.json. All
// throw InputError for a file that is not valid or says something that would change what the model
// computes and is not supported, IoError if the system refuses.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "model/config.h"
#include "model/families.h"
#include "tensor/gguf.h"
#include "tensor/named_tensors.h"

namespace graft {

// Whether `model` is meant to be read by this file's functions. Looks at names only.
bool is_gguf(const Path& model);

// The file itself. Throws InputError for a folder with several.
Path gguf_file(const Path& model);

struct GgufModel {
  ModelConfig config;
  NamedTensors
      tensors;  // by canonical names; READ-ONLY memory where the file holds them in `dtype`
  std::vector<std::shared_ptr<const MappedFile>> files;  // what those are views into
};

// Every tensor of the trunk in `dtype` (float32 or bfloat16). Queries and keys come in the order of
// rows that our rotary positions expect. Beside the result no more than one tensor is in memory at
// a time.
GgufModel load_gguf_model(const Path& model, at::ScalarType dtype, const IgnoredKeys& ignored = {});

// The fingerprint of every tensor of the trunk, by canonical name: of its numbers in float32, where
// every type of a GGUF file is exact. `after_tensor` is called after each.
std::map<std::string, std::string> gguf_fingerprints(const GgufFile& file,
                                                     const ModelConfig& config,
                                                     const std::function<void()>& after_tensor);

ModelConfig read_gguf_config(const Path& model, const IgnoredKeys& ignored = {});

// The family and form of the file's architecture.
std::pair<const Family&, const GgufForm&> gguf_form(const GgufMetadata& metadata);

// The same as the config.json that a folder of this model would have.
Node gguf_config_json(const Path& model);

// The same of a file that is open. `ignored`: keys of the metadata; `passed_over` becomes the list
// of those that are passed over.
Node gguf_config_json(const GgufFile& file, const IgnoredKeys& ignored = {},
                      std::vector<std::string>* passed_over = nullptr);

// The tokenizer as the text of a tokenizer.json, for Tokenizer::parse.
std::string gguf_tokenizer_json(const GgufMetadata& metadata);

// The tokenizer's files that a folder of this model would have, by name: tokenizer.json, and
// tokenizer_config.json with the chat template. None of a file without a tokenizer.
std::map<std::string, std::string> gguf_tokenizer_files(const GgufMetadata& metadata);

// The template by which a conversation becomes text, in Jinja; nothing if the file has none.
std::optional<std::string> gguf_chat_template(const GgufMetadata& metadata);

struct GgufTokens {
  std::optional<int64_t> bos, pad;
  std::vector<int64_t> eos;  // any of them ends a text: of the text, of a turn (eot), of a message
                             // (eom); no id twice
};
GgufTokens gguf_special_tokens(const GgufMetadata& metadata);

}  // namespace graft
