// The text side of a model folder or GGUF file: its tokenizer, the tokens that end a text, and the
// format of its chats.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace graft {

struct ModelText {
  std::string source;  // for messages
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<int64_t> end_ids =
      {};  // of eos_token_id, the first is what training appends; may be empty
  std::optional<std::string> chat_template = {};  // the model's own, as it stands there

  // The first of end_ids. Throws InputError where the model names none.
  int64_t end_id() const;
  // What ends a text that answers in a chat format, named as in chat(): end_ids, and the token that
  // ends the format's turns.
  std::vector<int64_t> ends_of(const std::string& chat) const;
  // The token that stands for a hidden word: "[MASK]" or "<mask>". Throws InputError where the
  // tokenizer has none.
  std::string mask_token() const;
  // "none": null; "model": by the model's own template; else by name, whose marks must be tokens.
  // Throws InputError.
  const ChatFormat* chat(const std::string& name) const;
};

// tokenizer.json, or spiece.model or tokenizer.model where there is none; eos_token_id of
// generation_config.json, else of config.json; chat_template of chat_template.jinja, else of
// tokenizer_config.json. Of a GGUF file: its metadata.
ModelText load_model_text(const Path& model);

}  // namespace graft
