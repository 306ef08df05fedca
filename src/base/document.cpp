#include "base/document.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_set>

#include "base/counting_iterator.h"
#include "base/error.h"
#include "base/utf8.h"

namespace graft {

namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxBytes = size_t{64} << 20;

void check_size(std::string_view text, const std::string& source) {
  if (text.size() > kMaxBytes) throw InputError(source + ": expected at most 64 MiB of text, found " + std::to_string(text.size()) + " bytes");
}

std::string at(const std::string& source, const YAML::Mark& mark) {
  if (mark.is_null()) return source + ": ";
  return source + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) + ": ";
}

std::string too_deep() { return "nested deeper than " + std::to_string(kMaxDepth) + " levels"; }

// Number of nodes in a tree, and how many lists and maps lie inside each other.
size_t num_nodes(const Node& node) {
  size_t count = 1;
  for (const Node& item : node.items) count += num_nodes(item);
  for (const auto& member : node.members) count += num_nodes(member.second);
  return count;
}

size_t height(const Node& node) {
  if (node.kind != Node::Kind::kList && node.kind != Node::Kind::kMap) return 0;
  size_t most = 0;
  for (const Node& item : node.items) most = std::max(most, height(item));
  for (const auto& member : node.members) most = std::max(most, height(member.second));
  return most + 1;
}

// Builds a Node from yaml-cpp's events. (Its own loader would expand aliases without bound, drop all documents but the first, and some of its
// inputs never end.)
class YamlBuilder : public YAML::EventHandler {
 public:
  YamlBuilder(std::string_view text, const std::string& source) : nodes_left_(text.size() + 1), source_(source) {}

  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (num_documents_++ > 0) fail(mark, "expected one document, found a second");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add({}, mark, anchor); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    check_tag(mark, tag);
    // yaml-cpp turns two rare escapes into Latin-1.
    if (find_invalid_utf8(value) != std::string::npos) fail(mark, "the escapes \\_ and \\N are not supported; write \\u00a0 or \\u0085");
    Node node = Node::plain(value);
    node.is_string = tag == "!" || tag == kTextTag;   // "!" is yaml-cpp's mark of quoted and block text
    add(std::move(node), mark, anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(mark, "an alias inside of what it stands for");
    const Node* target = &root_;
    for (const size_t index : found->second.path) target = target->kind == Node::Kind::kList ? &target->items[index] : &target->members[index].second;
    Node copy = found->second.is_scalar ? found->second.scalar : *checked(*target, mark);
    add(std::move(copy), mark, 0);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(Node::list(), mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(Node::map(), mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  static constexpr const char* kPlainKey = "expected a plain key (is a bracket left open?)";
  static constexpr std::string_view kTextTag = "tag:yaml.org,2002:str";   // "!!str"

  // A node that an alias may name: a scalar itself, or the way from the root to a list or map (whose address changes while it grows).
  struct Anchored {
    bool is_scalar = true;
    Node scalar;
    std::vector<size_t> path;
  };
  struct Open {
    Node* node;
    YAML::anchor_t anchor;
    bool has_key = false;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const { throw InputError(at(source_, mark) + message); }

  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != kTextTag) fail(mark, "tag " + quote(tag) + " has no meaning here");
  }

  // Written out, every node costs a byte; only aliases of aliases make more, without bound.
  const Node* checked(const Node& target, const YAML::Mark& mark) {
    const size_t count = num_nodes(target);
    if (count > nodes_left_) fail(mark, "aliases expand to more nodes than the text has bytes");
    nodes_left_ -= count;
    if (stack_.size() + height(target) > kMaxDepth) fail(mark, too_deep());
    return &target;
  }

  void add(Node node, const YAML::Mark& mark, YAML::anchor_t anchor) {
    const bool is_scalar = node.kind == Node::Kind::kNull || node.kind == Node::Kind::kScalar;
    if (anchor != 0 && is_scalar) anchors_[anchor] = {true, node, {}};
    if (!stack_.empty() && stack_.back().node->kind == Node::Kind::kMap && !stack_.back().has_key) return add_key(std::move(node), mark);
    place(std::move(node), mark);
  }

  void add_key(Node node, const YAML::Mark& mark) {
    Open& top = stack_.back();
    if (node.kind != Node::Kind::kScalar) fail(mark, kPlainKey);
    if (!top.keys.insert(node.scalar).second) fail(mark, "key " + quote(node.scalar) + " appears twice");
    top.key = std::move(node.scalar);
    top.has_key = true;
  }

  Node* place(Node node, const YAML::Mark& mark) {
    if (!mark.is_null()) {
      node.line = mark.line + 1;
      node.column = mark.column + 1;
    }
    if (stack_.empty()) return &(root_ = std::move(node));
    Open& top = stack_.back();
    if (top.node->kind == Node::Kind::kList) return &top.node->items.emplace_back(std::move(node));
    top.has_key = false;
    return &top.node->members.emplace_back(std::move(top.key), std::move(node)).second;
  }

  void open(Node node, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    check_tag(mark, tag);
    if (tag == kTextTag) fail(mark, "tag !!str: expected a text");
    if (!stack_.empty() && stack_.back().node->kind == Node::Kind::kMap && !stack_.back().has_key) fail(mark, kPlainKey);
    if (stack_.size() >= kMaxDepth) fail(mark, too_deep());
    Node* const placed = place(std::move(node), mark);
    stack_.push_back({placed, anchor, false, {}, {}});
  }

  void close() {
    if (stack_.back().anchor != 0) {
      Anchored anchored{false, {}, {}};
      for (size_t i = 0; i + 1 < stack_.size(); ++i) anchored.path.push_back(stack_[i].node->items.size() + stack_[i].node->members.size() - 1);
      anchors_[stack_.back().anchor] = std::move(anchored);
    }
    stack_.pop_back();
  }

  size_t nodes_left_;
  const std::string& source_;
  int num_documents_ = 0;
  Node root_;
  std::vector<Open> stack_;   // nodes stay where they are while open: only the last child of each grows
  std::map<YAML::anchor_t, Anchored> anchors_;
};

// Builds a Node from nlohmann's events. Numbers keep the text they were written in, so nothing is rounded.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonBuilder(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  Node build() {
    nlohmann::json::sax_parse(CountingIterator(text_.data(), &num_read_), CountingIterator(text_.data() + text_.size(), &num_read_), this);
    return std::move(root_);
  }

  bool null() override { return put({}, num_read_ - 4); }
  bool boolean(bool value) override { return put(Node::boolean(value), num_read_ - (value ? 4 : 5)); }
  bool number_integer(number_integer_t) override { return put_number(); }
  bool number_unsigned(number_unsigned_t) override { return put_number(); }
  bool number_float(number_float_t, const string_t&) override { return put_number(); }
  bool string(string_t& value) override { return put(Node::text(std::move(value)), string_start()); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Node::map()); }
  bool start_array(std::size_t) override { return open(Node::list()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& key) override {
    if (!keys_.back().insert(key).second) throw InputError(here(string_start()) + "key " + quote(key) + " appears twice");
    key_ = std::move(key);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& last_token, const nlohmann::json::exception& error) override {
    std::string reason = error.what();   // "[json.exception.parse_error.101] parse error at line 1, column 4: syntax error ..."
    if (const size_t cut = reason.find("] "); cut != std::string::npos) reason = reason.substr(cut + 2);
    if (const size_t cut = reason.find(": "); reason.starts_with("parse error at") && cut != std::string::npos) reason = reason.substr(cut + 2);
    throw InputError(here(position == 0 ? 0 : position - 1) + "not valid JSON near " + quote(last_token) + ": " + reason);
  }

 private:
  // Line and column of byte `start`, which never lies before that of an earlier call by more than a token.
  void locate(size_t start, Node& node) {
    start = std::min(start, text_.size());
    for (; line_scanned_ < start; ++line_scanned_) {
      if (text_[line_scanned_] != '\n') continue;
      ++line_;
      line_start_ = line_scanned_ + 1;
    }
    node.line = line_;
    node.column = static_cast<int64_t>(start - line_start_) + 1;
  }
  std::string here(size_t start) {
    Node place;
    locate(start, place);
    return source_ + ":" + std::to_string(place.line) + ":" + std::to_string(place.column) + ": ";
  }
  // The opening quote of the string that was just read: the nearest one to the left that no odd run of backslashes escapes.
  size_t string_start() const {
    for (size_t i = num_read_ - 1; i-- > 0;) {
      if (text_[i] != '"') continue;
      size_t num_backslashes = 0;
      while (num_backslashes < i && text_[i - 1 - num_backslashes] == '\\') ++num_backslashes;
      if (num_backslashes % 2 == 0) return i;
    }
    return 0;
  }
  // The lexer has read one character past a number unless the text ends there.
  bool put_number() {
    const auto is_part = [](char c) { return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'; };
    const size_t end = is_part(text_[num_read_ - 1]) ? num_read_ : num_read_ - 1;
    size_t start = end;
    while (start > 0 && is_part(text_[start - 1])) --start;
    return put(Node::plain(std::string(text_.substr(start, end - start))), start);
  }
  bool put(Node node, size_t start) {
    place(std::move(node), start);
    return true;
  }
  Node* place(Node node, size_t start) {
    locate(start, node);
    if (stack_.empty()) return &(root_ = std::move(node));
    Node& parent = *stack_.back();
    if (parent.kind == Node::Kind::kList) return &parent.items.emplace_back(std::move(node));
    return &parent.members.emplace_back(std::move(key_), std::move(node)).second;
  }
  bool open(Node node) {
    if (stack_.size() >= kMaxDepth) throw InputError(here(num_read_ - 1) + too_deep());
    stack_.push_back(place(std::move(node), num_read_ - 1));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& source_;
  size_t num_read_ = 0;
  size_t line_scanned_ = 0, line_start_ = 0;
  int64_t line_ = 1;
  Node root_;
  std::vector<Node*> stack_;   // parents of the place being filled; stable, since only the last child grows
  std::vector<std::unordered_set<std::string>> keys_;   // those seen in each open object
  std::string key_;
};

bool is_plain_json(const std::string& text) {
  const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  return !value.is_discarded() && (value.is_number() || value.is_boolean());
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

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
        out << YAML::Key;
        if (std::any_of(key.begin(), key.end(), is_control)) out << YAML::DoubleQuoted;   // which the emitter would write as it is
        out << key << YAML::Value;
        emit(out, value);
      }
      out << YAML::EndMap;
      break;
  }
}

std::string json_text(const std::string& text) { return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); }

// By hand, since a number must keep its digits and nlohmann's tree would round it.
void emit_json(std::string& out, const Node& node, int indent, int level) {
  const auto new_line = [&](int to) {
    if (indent >= 0) out += '\n' + std::string(static_cast<size_t>(indent) * static_cast<size_t>(to), ' ');
  };
  switch (node.kind) {
    case Node::Kind::kNull: out += "null"; break;
    case Node::Kind::kScalar: out += !node.is_string && is_plain_json(node.scalar) ? node.scalar : json_text(node.scalar); break;
    case Node::Kind::kList:
      out += '[';
      for (const Node& item : node.items) {
        if (&item != &node.items.front()) out += ',';
        new_line(level + 1);
        emit_json(out, item, indent, level + 1);
      }
      if (!node.items.empty()) new_line(level);
      out += ']';
      break;
    case Node::Kind::kMap:
      out += '{';
      for (const auto& member : node.members) {
        if (&member != &node.members.front()) out += ',';
        new_line(level + 1);
        out += json_text(member.first) + (indent >= 0 ? ": " : ":");
        emit_json(out, member.second, indent, level + 1);
      }
      if (!node.members.empty()) new_line(level);
      out += '}';
      break;
  }
}

// Whether an unquoted scalar would be read as a number or a truth value.
bool is_value(const std::string& text) {
  double number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return text == "true" || text == "false" || (error != std::errc::invalid_argument && stop == text.data() + text.size());
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
  if (a.kind != b.kind || a.scalar != b.scalar || a.items != b.items || a.members != b.members) return false;
  return a.is_string == b.is_string || !is_value(a.scalar);
}

Node parse_yaml(std::string_view text, const std::string& source) {
  check_size(text, source);
  if (const size_t wrong = find_invalid_utf8(text); wrong != std::string_view::npos) {
    throw InputError(source + ": not valid UTF-8 at byte " + std::to_string(wrong));
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_line_end = text[i] == '\n' || (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
    if (!is_control(text[i]) || is_line_end || text[i] == '\t') continue;
    throw InputError(source + ": control character " + quote(text.substr(i, 1)) + " at byte " + std::to_string(i) +
                     "; write it as an escape in double quotes");
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    YamlBuilder builder(text, source);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.take();
  } catch (const YAML::DeepRecursion& e) {
    throw InputError(at(source, e.mark) + too_deep());
  } catch (const YAML::Exception& e) {
    throw InputError(at(source, e.mark) + "not valid YAML: " + e.msg);
  }
}

Node parse_json(std::string_view text, const std::string& source) {
  check_size(text, source);
  return JsonBuilder(text, source).build();
}

std::string to_yaml(const Node& node) {
  YAML::Emitter out;
  emit(out, node);
  return std::string(out.c_str()) + "\n";
}

std::string to_json(const Node& node, int indent) {
  std::string out;
  emit_json(out, node, indent, 0);
  return out + (indent < 0 ? "" : "\n");
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
