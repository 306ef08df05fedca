// The turns of a chat as data files write them: OpenAI's and trl's {role, content}, ShareGPT's
// {from, value}.
#include <algorithm>
#include <set>

#include "base/document.h"
#include "base/error.h"
#include "data/cells.h"

namespace graft::detail {

namespace {

// How files call the three sides.
const std::vector<std::pair<std::string, std::string>>& role_names() {
  static const std::vector<std::pair<std::string, std::string>> kNames = {
      {"system", "system"},       {"user", "user"},     {"human", "user"},
      {"assistant", "assistant"}, {"gpt", "assistant"}, {"model", "assistant"},
      {"chatgpt", "assistant"}};
  return kNames;
}

// What logs of chats tell of a turn (WildChat's keys, and an id): no format shows it, and it does
// not say what is learnt. Any other key might.
bool is_told_of_turn(const std::string& key) {
  static const std::set<std::string> kKeys = {
      "id",          "turn_identifier", "openai_id",
      "timestamp",   "created",         "model",
      "country",     "state",           "hashed_ip",
      "header",      "usage",           "language",
      "toxic",       "redacted",        "top_p",
      "temperature", "token_counter",   "system_fingerprint"};
  return kKeys.contains(key);
}

bool is_text(const Node& node) { return node.kind == Node::Kind::kScalar && node.is_string; }

// What other software writes for a key that says nothing.
bool is_nothing(const Node& node) {
  const bool is_holder = node.kind == Node::Kind::kList || node.kind == Node::Kind::kMap;
  return node.kind == Node::Kind::kNull ||
         (is_holder && node.items.empty() && node.members.empty());
}

// One turn; `at` opens messages.
class TurnReader {
 public:
  TurnReader(const Node& item, std::string at) : item_(item), at_(std::move(at)) {}

  Turn read() const {
    if (item_.kind != Node::Kind::kMap)
      fail("expected an object with role and content, or from and value");
    const bool is_sharegpt = item_.find("from") != nullptr || item_.find("value") != nullptr;
    const char *role_key = is_sharegpt ? "from" : "role",
               *content_key = is_sharegpt ? "value" : "content";
    Turn turn;
    turn.role = role(role_key);
    part(content_key);  // that it is missing is told before what stands in its place
    for (const auto& [key, value] : item_.members) {
      if (key == role_key || key == content_key || is_told_of_turn(key) || is_nothing(value))
        continue;
      if (key == "weight") turn.is_learnt = is_learnt(value, turn.role);
      else if (key != "name" || !is_text(value))
        fail("a turn has " + std::string(role_key) + " and " + content_key + ", found the key " +
             quote(key) + ", which no chat format here can show");
    }
    turn.content = content(content_key);
    return turn;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const { throw InputError(at_ + why); }

  const Node& part(const char* key) const {
    const Node* found = item_.find(key);
    if (found == nullptr) fail("expected the key " + quote(key) + ", found none");
    return *found;
  }

  std::string role(const char* key) const {
    const Node& node = part(key);
    if (!is_text(node)) fail(std::string(key) + ": expected a text");
    std::vector<std::string> known;
    for (const auto& [name, role] : role_names()) {
      if (name == node.scalar) return role;
      known.push_back(name);
    }
    if (node.scalar == "tool" || node.scalar == "function")
      fail("a turn of a tool, which no chat format here can show; leave such conversations out");
    fail("expected the role system, user or assistant, found " + quote(node.scalar) +
         did_you_mean(node.scalar, known));
  }

  // A text, or a list of parts that are texts and follow each other.
  std::string content(const char* key) const {
    const Node& node = part(key);
    if (is_text(node)) return node.scalar;
    if (node.kind != Node::Kind::kList || node.items.empty())
      fail(std::string(key) + ": expected a text, or a list of parts {type: text, text}");
    std::string out;
    for (size_t i = 0; i < node.items.size(); ++i) {
      const Node& item = node.items[i];
      const std::string where = std::string(key) + ": part " + std::to_string(i + 1) + ": ";
      const Node *type = item.kind == Node::Kind::kMap ? item.find("type") : nullptr,
                 *text = nullptr;
      if (type == nullptr || !is_text(*type)) fail(where + "expected an object with type and text");
      if (type->scalar != "text")
        fail(where + "expected the type text, found " + quote(type->scalar) +
             ", which no model here reads");
      for (const auto& [name, value] : item.members) {
        if (name == "text") text = &value;
        else if (name != "type" && !is_nothing(value))
          fail(where + "expected type and text, found the key " + quote(name));
      }
      if (text == nullptr || !is_text(*text))
        fail(where + "expected a text under the key \"text\"");
      out += text->scalar;
    }
    return out;
  }

  // OpenAI's weight: 0 or 1, of an assistant's turn.
  bool is_learnt(const Node& node, const std::string& role) const {
    const std::optional<int64_t> weight = node.as_integer();
    if (weight != 0 && weight != 1)
      fail("weight: expected the number 0 or 1" +
           (node.kind == Node::Kind::kScalar ? ", found " + quote(node.scalar) : ""));
    if (role != "assistant" && weight == 1)
      fail("weight: only what the assistant says is learnt, and this turn is the " + role +
           "'s; give it no weight");
    return role != "assistant" || weight == 1;  // of other turns it says nothing
  }

  const Node& item_;
  std::string at_;
};

}  // namespace

std::vector<Turn> turns_cell(const Table& table, size_t row, size_t column) {
  std::vector<Turn> turns;
  for (const Node& item : list_cell(table, row, column, "a list of {role, content}").items) {
    const std::string at =
        cell_at(table, row, column) + "turn " + std::to_string(turns.size() + 1) + ": ";
    turns.push_back(TurnReader(item, at).read());
  }
  if (turns.empty())
    throw InputError(cell_at(table, row, column) +
                     "expected at least one turn, found an empty list");
  return turns;
}

}  // namespace graft::detail
