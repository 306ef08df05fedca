#include "base/document.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace graft {

namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxBytes = size_t{64} << 20;

void check_size(std::string_view text, const std::string& source) {
  if (text.size() > kMaxBytes) throw InputError(source + ": expected at most 64 MiB of text, found " + std::to_string(text.size()) + " bytes");
}

std::string at(const std::string& source, const YAML::Mark& mark) {
  if (mark.is_null()) return source + ": ";
  return source + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) + ": ";
}

// yaml-cpp recurses over nested brackets; bound them before it sees the text.
void check_nesting(std::string_view text, const std::string& source) {
  int depth = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kMaxDepth) throw InputError(source + ": nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }
  size_t deepest = 0, indent_run = 0;
  for (size_t i = 0; i < text.size(); ++i) {  // "- - - -" and deep indentation
    if (text[i] == '\n') indent_run = 0;
    else if (text[i] == '-' || text[i] == '?' || text[i] == ':') deepest = std::max(deepest, ++indent_run);
    else if (text[i] != ' ') indent_run = 0;
  }
  if (deepest > 4 * kMaxDepth) throw InputError(source + ": nested deeper than " + std::to_string(kMaxDepth) + " levels");
}

Node from_yaml(const YAML::Node& yaml, const std::string& source, int depth) {
  if (depth > kMaxDepth) throw InputError(at(source, yaml.Mark()) + "nested deeper than " + std::to_string(kMaxDepth) + " levels");
  Node node;
  if (!yaml.Mark().is_null()) {
    node.line = yaml.Mark().line + 1;
    node.column = yaml.Mark().column + 1;
  }
  switch (yaml.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      break;
    case YAML::NodeType::Scalar:
      node.kind = Node::Kind::kScalar;
      node.scalar = yaml.Scalar();
      node.is_string = yaml.Tag() == "!";
      break;
    case YAML::NodeType::Sequence:
      node.kind = Node::Kind::kList;
      for (const YAML::Node& item : yaml) node.items.push_back(from_yaml(item, source, depth + 1));
      break;
    case YAML::NodeType::Map: {
      node.kind = Node::Kind::kMap;
      std::set<std::string> seen;
      for (const auto& member : yaml) {
        if (!member.first.IsScalar()) throw InputError(at(source, member.first.Mark()) + "expected a plain key");
        const std::string key = member.first.Scalar();
        if (!seen.insert(key).second) throw InputError(at(source, member.first.Mark()) + "key " + quote(key) + " appears twice");
        node.members.emplace_back(key, from_yaml(member.second, source, depth + 1));
      }
      break;
    }
  }
  return node;
}

// Builds a Node from nlohmann's events; positions are those of the parser when the event fires.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonBuilder(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  Node take() { return std::move(root_); }

  bool null() override { return put({}); }
  bool boolean(bool value) override { return put(Node::boolean(value)); }
  bool number_integer(number_integer_t value) override { return put(Node::integer(value)); }
  bool number_unsigned(number_unsigned_t value) override { return put(Node::plain(std::to_string(value))); }
  bool number_float(number_float_t, const string_t& text) override { return put(Node::plain(text)); }
  bool string(string_t& value) override { return put(Node::text(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Node::map()); }
  bool start_array(std::size_t) override { return open(Node::list()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& key) override {
    if (stack_.back()->find(key) != nullptr) throw InputError(source_ + ": key " + quote(key) + " appears twice");
    key_ = std::move(key);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& last_token, const nlohmann::json::exception& error) override {
    const std::string_view before = text_.substr(0, position == 0 ? 0 : std::min(position - 1, text_.size()));
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t line_start = before.rfind('\n');
    const size_t column = before.size() - (line_start == std::string_view::npos ? 0 : line_start + 1) + 1;
    std::string reason = error.what();
    if (const size_t cut = reason.find("] "); cut != std::string::npos) reason = reason.substr(cut + 2);
    throw InputError(source_ + ":" + std::to_string(line) + ":" + std::to_string(column) + ": not valid JSON near " +
                     quote(last_token) + ": " + reason);
  }

 private:
  bool put(Node node) {
    place(std::move(node));
    return true;
  }
  Node* place(Node node) {
    if (stack_.empty()) return &(root_ = std::move(node));
    Node& parent = *stack_.back();
    if (parent.kind == Node::Kind::kList) return &parent.items.emplace_back(std::move(node));
    return &parent.members.emplace_back(std::move(key_), std::move(node)).second;
  }
  bool open(Node node) {
    if (stack_.size() >= kMaxDepth) throw InputError(source_ + ": nested deeper than " + std::to_string(kMaxDepth) + " levels");
    stack_.push_back(place(std::move(node)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& source_;
  Node root_;
  std::vector<Node*> stack_;   // parents of the place being filled; stable, since only the last child grows
  std::string key_;
};

bool is_plain_json(const std::string& text) {
  const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  return !value.is_discarded() && (value.is_number() || value.is_boolean());
}

void emit(YAML::Emitter& out, const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: out << YAML::Null; break;
    case Node::Kind::kScalar:
      if (node.is_string) out << YAML::DoubleQuoted << node.scalar;
      else out << node.scalar;
      break;
    case Node::Kind::kList: {
      const bool flat = std::all_of(node.items.begin(), node.items.end(), [](const Node& item) { return item.kind == Node::Kind::kScalar; });
      out << (flat ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
      for (const Node& item : node.items) emit(out, item);
      out << YAML::EndSeq;
      break;
    }
    case Node::Kind::kMap:
      out << YAML::BeginMap;
      for (const auto& [key, value] : node.members) {
        out << YAML::Key << key << YAML::Value;
        emit(out, value);
      }
      out << YAML::EndMap;
      break;
  }
}

nlohmann::ordered_json to_nlohmann(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: break;
    case Node::Kind::kScalar:
      if (!node.is_string && is_plain_json(node.scalar)) return nlohmann::ordered_json::parse(node.scalar);
      return node.scalar;
    case Node::Kind::kList: {
      auto out = nlohmann::ordered_json::array();
      for (const Node& item : node.items) out.push_back(to_nlohmann(item));
      return out;
    }
    case Node::Kind::kMap: {
      auto out = nlohmann::ordered_json::object();
      for (const auto& [key, value] : node.members) out[key] = to_nlohmann(value);
      return out;
    }
  }
  return nullptr;
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

Node Node::boolean(bool value) { return plain(value ? "true" : "false"); }

Node Node::list(std::vector<Node> items) {
  Node node;
  node.kind = Kind::kList;
  node.items = std::move(items);
  return node;
}

Node Node::map(std::vector<std::pair<std::string, Node>> members) {
  Node node;
  node.kind = Kind::kMap;
  node.members = std::move(members);
  return node;
}

bool operator==(const Node& a, const Node& b) {
  return a.kind == b.kind && a.scalar == b.scalar && a.is_string == b.is_string && a.items == b.items && a.members == b.members;
}

Node parse_yaml(std::string_view text, const std::string& source) {
  check_size(text, source);
  check_nesting(text, source);
  try {
    return from_yaml(YAML::Load(std::string(text)), source, 0);
  } catch (const YAML::Exception& e) {
    throw InputError(at(source, e.mark) + "not valid YAML: " + e.msg);
  }
}

Node parse_json(std::string_view text, const std::string& source) {
  check_size(text, source);
  JsonBuilder builder(text, source);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string to_yaml(const Node& node) {
  YAML::Emitter out;
  emit(out, node);
  return std::string(out.c_str()) + "\n";
}

std::string to_json(const Node& node, int indent) {
  return to_nlohmann(node).dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + (indent < 0 ? "" : "\n");
}

void set_path(Node& root, std::string_view dotted_path, std::string_view value) {
  Node* place = &root;
  std::string_view rest = dotted_path;
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view step = rest.substr(0, dot);
    if (step.empty()) throw InputError("--set " + quote(dotted_path) + ": expected a key such as 'optimizer' or 'adapter.rank'");
    if (place->kind != Node::Kind::kMap && place->kind != Node::Kind::kNull) {
      throw InputError("--set " + quote(dotted_path) + ": " + quote(step) + " lies below a value, not below a section");
    }
    place = &(*place)[step];
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  *place = parse_yaml(value, "--set " + std::string(dotted_path));
}

}  // namespace graft
