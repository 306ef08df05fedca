#include "base/document.h"

#include <charconv>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"

namespace graft {

namespace {

// Whether an unquoted scalar would be read as a number or a truth value.
bool is_value(const std::string& text) {
  double number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return text == "true" || text == "false" ||
         (error != std::errc::invalid_argument && stop == text.data() + text.size());
}

bool is_plain_scalar(const Node& node) {
  return node.kind == Node::Kind::kScalar && !node.is_string;
}

void forget_positions(Node& node) {
  node.line = node.column = 0;
  for (Node& item : node.items) forget_positions(item);
  for (auto& member : node.members) forget_positions(member.second);
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  for (const auto& [name, value] : members) {
    if (name == key) return &value;
  }
  return nullptr;
}

Node& Node::operator[](std::string_view key) {
  if (kind == Kind::kNull) kind = Kind::kMap;
  ensure(kind == Kind::kMap, "Node::operator[] on a node that is not a map");
  for (auto& [name, value] : members) {
    if (name == key) return value;
  }
  return members.emplace_back(std::string(key), Node{}).second;
}

std::optional<double> Node::as_number() const {
  if (!is_plain_scalar(*this)) return std::nullopt;
  double value = 0;
  const char* const end = scalar.data() + scalar.size();
  const auto [stop, error] = std::from_chars(scalar.data(), end, value);
  return error == std::errc{} && stop == end ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> Node::as_integer() const {
  return is_plain_scalar(*this) ? whole_number(scalar) : std::nullopt;
}

std::optional<bool> Node::as_bool() const {
  if (!is_plain_scalar(*this)) return std::nullopt;
  if (scalar == "true") return true;
  if (scalar == "false") return false;
  return std::nullopt;
}

std::optional<double> Node::find_number(std::string_view key) const {
  const Node* member = find(key);
  return member == nullptr ? std::nullopt : member->as_number();
}

std::optional<int64_t> Node::find_integer(std::string_view key) const {
  const Node* member = find(key);
  return member == nullptr ? std::nullopt : member->as_integer();
}

std::optional<bool> Node::find_bool(std::string_view key) const {
  const Node* member = find(key);
  return member == nullptr ? std::nullopt : member->as_bool();
}

Node Node::text(std::string value) {
  Node node = plain(std::move(value));
  node.is_string = true;
  return node;
}

Node Node::plain(std::string value) {
  Node node;
  node.kind = Kind::kScalar;
  node.scalar = std::move(value);
  return node;
}

Node Node::integer(int64_t value) { return plain(std::to_string(value)); }

Node Node::number(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return plain(std::string(buffer, end));
}

Node Node::number_or_null(const std::optional<double>& value) {
  return value ? number(*value) : null();
}

Node Node::boolean(bool value) { return plain(value ? "true" : "false"); }

Node Node::list(std::vector<Node> items) {
  Node node;
  node.kind = Kind::kList;
  node.items = std::move(items);
  return node;
}

Node Node::texts(const std::vector<std::string>& values) {
  Node node = list();
  for (const std::string& value : values) node.items.push_back(text(value));
  return node;
}

Node Node::integers(const std::vector<int64_t>& values) {
  Node node = list();
  for (const int64_t value : values) node.items.push_back(integer(value));
  return node;
}

Node Node::map(std::vector<std::pair<std::string, Node>> members) {
  Node node;
  node.kind = Kind::kMap;
  node.members = std::move(members);
  return node;
}

bool operator==(const Node& a, const Node& b) {
  if (a.kind != b.kind || a.scalar != b.scalar || a.items != b.items || a.members != b.members)
    return false;
  return a.is_string == b.is_string || !is_value(a.scalar);
}

void set_path(Node& root, std::string_view dotted_path, std::string_view value) {
  Node* place = &root;
  std::string_view rest = dotted_path;
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view step = rest.substr(0, dot);
    if (step.empty())
      throw InputError(setting_text(quote(dotted_path)) +
                       ": expected a key such as 'optimizer' or 'adapter.rank'");
    if (place->kind != Node::Kind::kMap && place->kind != Node::Kind::kNull) {
      throw InputError(setting_text(quote(dotted_path)) + ": " + quote(step) +
                       " lies below a value, not below a section");
    }
    place = &(*place)[step];
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  *place = parse_yaml(value, setting_text(dotted_path));
  forget_positions(*place);  // a message about it would cite a line of no file
}

std::optional<std::pair<std::string, std::string>> key_and_value(std::string_view setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string_view::npos || equals == 0) return std::nullopt;
  return std::pair(std::string(setting.substr(0, equals)), std::string(setting.substr(equals + 1)));
}

}  // namespace graft
