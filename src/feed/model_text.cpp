#include "feed/model_text.h"

#include <algorithm>

#include "base/document.h"
#include "base/error.h"
#include "model/gguf_model.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

// A member of a JSON file, or null where file or member is missing.
Node member_of(const Path& file, const char* key) {
  if (!fs::exists(file)) return {};
  const Node json = parse_json(read_file(file), file.string());
  const Node* member = json.find(key);
  return member == nullptr ? Node{} : *member;
}

int64_t id_of(const Node& node, const Path& file) {
  if (const std::optional<int64_t> id = node.as_integer(); id && *id >= 0) return *id;
  throw InputError(file.string() + ": eos_token_id: expected a token id or a list of them, found " +
                   quote(node.kind == Node::Kind::kScalar ? node.scalar : to_json(node, -1)));
}

std::vector<int64_t> end_ids_of(const Path& dir) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const Path file = dir / name;
    const Node ids = member_of(file, "eos_token_id");
    if (ids.kind == Node::Kind::kNull) continue;
    if (ids.kind != Node::Kind::kList) return {id_of(ids, file)};
    std::vector<int64_t> out;
    for (const Node& id : ids.items) out.push_back(id_of(id, file));
    return out;
  }
  return {};
}

std::optional<std::string> chat_template_of(const Path& dir) {
  if (const Path file = dir / "chat_template.jinja"; fs::exists(file)) return read_file(file);
  const Node chat = member_of(dir / "tokenizer_config.json", "chat_template");
  if (chat.kind == Node::Kind::kScalar) return chat.scalar;
  for (const Node& named : chat.items) {  // several of them: {name, template}
    const Node *name = named.find("name"), *text = named.find("template");
    if (name != nullptr && text != nullptr && name->scalar == "default") return text->scalar;
  }
  return std::nullopt;
}

Path tokenizer_file(const Path& dir) {
  for (const char* name : {"tokenizer.json", "spiece.model", "tokenizer.model"}) {
    if (fs::exists(dir / name)) return dir / name;
  }
  throw InputError("'" + dir.string() +
                   "' has no tokenizer: expected tokenizer.json, spiece.model or tokenizer.model");
}

}  // namespace

int64_t ModelText::end_id() const {
  if (end_ids.empty())
    throw InputError(
        source +
        " names no token that ends a text: set eos_token_id in its generation_config.json");
  return end_ids.front();
}

std::vector<int64_t> ModelText::ends_of(const std::string& name) const {
  std::vector<int64_t> ends = end_ids;
  if (const ChatFormat* format = chat(name)) {
    const int64_t end = tokenizer->token_to_id(end_of_turn(*format)).value();
    if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(end);
  }
  return ends;
}

std::string ModelText::mask_token() const {
  for (const char* token : {"[MASK]", "<mask>"}) {
    if (const std::optional<int64_t> id = tokenizer->token_to_id(token);
        id && tokenizer->is_special(*id))
      return token;
  }
  throw InputError(source +
                   ": the tokenizer has no mask token ([MASK] or <mask>), which a cloze needs");
}

const ChatFormat* ModelText::chat(const std::string& name) const {
  if (name == "none") return nullptr;
  if (name == "model" && !chat_template) {
    throw InputError(source + " has no chat template: name a format in the task (chat: " +
                     chat_format_names().front() + "), or chat: none");
  }
  const ChatFormat& format =
      name == "model" ? recognise_chat(*chat_template, source) : chat_format(name);
  check_chat(format, *tokenizer);
  return &format;
}

ModelText load_model_text(const Path& model) {
  if (is_gguf(model)) {
    const GgufFile file(gguf_file(model));
    const GgufMetadata& metadata = file.metadata();
    return {file.source(), Tokenizer::parse(gguf_tokenizer_json(metadata), file.source()),
            gguf_special_tokens(metadata).eos, gguf_chat_template(metadata)};
  }
  return {model.string(), Tokenizer::load(tokenizer_file(model)), end_ids_of(model),
          chat_template_of(model)};
}

}  // namespace graft
