#include "text/json_fields.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"

namespace graft {

namespace {

// RFC 6901: '~' and '/' inside a key are escaped.
std::string pointer_step(std::string_view key) {
  std::string out = "/";
  for (const char c : key) {
    if (c == '~') out += "~0";
    else if (c == '/') out += "~1";
    else out += c;
  }
  return out;
}

}  // namespace

std::string shown(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: return "null";
    case Node::Kind::kScalar: return node.is_string ? quote(node.scalar) : node.scalar;
    case Node::Kind::kList: return "a list";
    case Node::Kind::kMap: return "an object";
  }
  return "";
}

FieldMap::FieldMap(const Node& node, std::string source, std::string pointer)
    : node_(&node), source_(std::move(source)), pointer_(std::move(pointer)) {
  if (node.kind != Node::Kind::kMap) fail("", "expected an object, found " + shown(node));
}

const Node* FieldMap::find(std::string_view key) const {
  known_.emplace_back(key);
  return node_->find(key);
}

void FieldMap::fail(std::string_view key, const std::string& message) const {
  const std::string pointer = key.empty() ? pointer_ : pointer_ + pointer_step(key);
  const Node* found = key.empty() || node_->kind != Node::Kind::kMap ? nullptr : node_->find(key);
  const Node& place = found == nullptr ? *node_ : *found;
  const std::string position =
      place.line > 0 ? ":" + std::to_string(place.line) + ":" + std::to_string(place.column) : "";
  throw InputError(source_ + position + ": " + (pointer.empty() ? "" : pointer + ": ") + message);
}

bool FieldMap::has(std::string_view key) const { return find(key) != nullptr; }

bool FieldMap::is_null(std::string_view key) const {
  const Node* found = find(key);
  return found == nullptr || found->kind == Node::Kind::kNull;
}

const Node& FieldMap::raw(std::string_view key) const {
  const Node* found = find(key);
  if (found == nullptr) fail(key, "missing");
  return *found;
}

bool FieldMap::boolean(std::string_view key) const {
  const Node& found = raw(key);
  if (const std::optional<bool> value = found.as_bool()) return *value;
  fail(key, "expected true or false, found " + shown(found));
}

int64_t FieldMap::integer(std::string_view key, int64_t least, int64_t most) const {
  const Node& found = raw(key);
  const std::optional<int64_t> value = found.as_integer();
  if (!value || *value < least || *value > most) {
    fail(key, "expected an integer in " + std::to_string(least) + ".." + std::to_string(most) +
                  ", found " + shown(found));
  }
  return *value;
}

const std::string& FieldMap::text(std::string_view key) const {
  const Node& found = raw(key);
  if (found.kind != Node::Kind::kScalar || !found.is_string)
    fail(key, "expected a text, found " + shown(found));
  return found.scalar;
}

std::u32string FieldMap::chars(std::string_view key) const {
  const std::string& found = text(key);
  if (found.empty()) fail(key, "expected a text of at least one character, found \"\"");
  return decode_utf8(found, source_ + ": " + pointer_ + pointer_step(key));
}

std::string FieldMap::choice(std::string_view key, const std::vector<std::string>& choices) const {
  const std::string& found = text(key);
  if (std::find(choices.begin(), choices.end(), found) == choices.end()) {
    fail(key, "expected " + joined(choices, "or") + ", found " + quote(found) +
                  did_you_mean(found, choices));
  }
  return found;
}

std::string FieldMap::type(const std::vector<std::string>& supported) const {
  const std::string& found = text("type");
  if (std::find(supported.begin(), supported.end(), found) == supported.end()) {
    fail("type", quote(found) + " is not supported; supported: " + joined(supported));
  }
  return found;
}

std::u32string FieldMap::string_pattern(std::string_view key) const {
  const FieldMap pattern = map(key);
  if (pattern.has("Regex"))
    pattern.fail("Regex", "a regular expression is not supported here; supported: String");
  std::u32string out = pattern.chars("String");
  pattern.finish();
  return out;
}

FieldMap FieldMap::map(std::string_view key) const {
  return {raw(key), source_, pointer_ + pointer_step(key)};
}

const Node& FieldMap::list(std::string_view key, size_t most) const {
  const Node& found = raw(key);
  if (found.kind != Node::Kind::kList) fail(key, "expected a list, found " + shown(found));
  if (found.items.size() > most)
    fail(key, "expected at most " + std::to_string(most) + " items, found " +
                  std::to_string(found.items.size()));
  return found;
}

std::vector<FieldMap> FieldMap::maps(std::string_view key) const {
  const Node& found = list(key, kMaxItems);
  std::vector<FieldMap> out;
  for (size_t i = 0; i < found.items.size(); ++i) {
    out.emplace_back(found.items[i], source_,
                     pointer_ + pointer_step(key) + "/" + std::to_string(i));
  }
  return out;
}

void FieldMap::ignore(std::string_view key) const { find(key); }

void FieldMap::finish() const {
  for (const auto& [key, value] : node_->members) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
      fail(key, "this field is not supported" + did_you_mean(key, known_));
    }
  }
}

}  // namespace graft
