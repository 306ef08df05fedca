// Documents from and to YAML, by yaml-cpp.
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <unordered_set>

#include "base/document.h"
#include "base/document_limits.h"
#include "base/error.h"
#include "base/printable.h"
#include "base/utf8.h"

namespace graft {

namespace {

std::string at(const std::string& source, const YAML::Mark& mark) {
  if (mark.is_null()) return source + ": ";
  return source + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) +
         ": ";
}

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

// Builds a Node from yaml-cpp's events. (Its own loader would expand aliases without bound, drop
// all documents but the first, and some of its inputs never end.)
class YamlBuilder : public YAML::EventHandler {
 public:
  YamlBuilder(std::string_view text, const std::string& source)
      : nodes_left_(text.size() + 1), source_(source) {}

  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (num_documents_++ > 0) fail(mark, "expected one document, found a second");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add({}, mark, anchor); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    // yaml-cpp turns two rare escapes into Latin-1.
    if (find_invalid_utf8(value) != std::string::npos)
      fail(mark, "the escapes \\_ and \\N are not supported; write \\u00a0 or \\u0085");
    Node node = Node::plain(value);
    node.is_string =
        tag == "!" || tag == kTextTag;  // "!" is yaml-cpp's mark of quoted and block text
    add(std::move(node), mark, anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(mark, "an alias inside of what it stands for");
    const Node* target = &root_;
    for (const size_t index : found->second.path)
      target = target->kind == Node::Kind::kList ? &target->items[index]
                                                 : &target->members[index].second;
    Node copy = found->second.is_scalar ? found->second.scalar : *checked(*target, mark);
    add(std::move(copy), mark, 0);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::list(), mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::map(), mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  static constexpr const char* kPlainKey = "expected a plain key (is a bracket left open?)";
  static constexpr std::string_view kTextTag = "tag:yaml.org,2002:str";  // "!!str"

  // A node that an alias may name: a scalar itself, or the way from the root to a list or map
  // (whose address changes while it grows).
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

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw InputError(at(source_, mark) + message);
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != kTextTag)
      fail(mark, "tag " + quote(tag) + " has no meaning here");
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
    if (!stack_.empty() && stack_.back().node->kind == Node::Kind::kMap && !stack_.back().has_key)
      return add_key(std::move(node), mark);
    place(std::move(node), mark);
  }

  void add_key(Node node, const YAML::Mark& mark) {
    Open& top = stack_.back();
    if (node.kind != Node::Kind::kScalar) fail(mark, kPlainKey);
    if (!top.keys.insert(node.scalar).second)
      fail(mark, "key " + quote(node.scalar) + " appears twice");
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
    if (!stack_.empty() && stack_.back().node->kind == Node::Kind::kMap && !stack_.back().has_key)
      fail(mark, kPlainKey);
    if (stack_.size() >= kMaxDepth) fail(mark, too_deep());
    Node* const placed = place(std::move(node), mark);
    stack_.push_back({placed, anchor, false, {}, {}});
  }

  void close() {
    if (stack_.back().anchor != 0) {
      Anchored anchored{false, {}, {}};
      for (size_t i = 0; i + 1 < stack_.size(); ++i)
        anchored.path.push_back(stack_[i].node->items.size() + stack_[i].node->members.size() - 1);
      anchors_[stack_.back().anchor] = std::move(anchored);
    }
    stack_.pop_back();
  }

  size_t nodes_left_;
  const std::string& source_;
  int num_documents_ = 0;
  Node root_;
  std::vector<Open>
      stack_;  // nodes stay where they are while open: only the last child of each grows
  std::map<YAML::anchor_t, Anchored> anchors_;
};

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Escaped, what no YAML may hold or what would steer the terminal that shows it: the emitter leaves
// DEL and marks of direction as they are, even in quotes.
void emit_text(YAML::Emitter& out, const std::string& text, bool is_quoted) {
  const bool is_escaped = has_steering_marks(text);
  if (is_escaped) out << YAML::EscapeNonAscii;
  if (is_escaped || is_quoted) out << YAML::DoubleQuoted;
  out << text;
}

void emit(YAML::Emitter& out, const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: out << YAML::Null; break;
    case Node::Kind::kScalar: emit_text(out, node.scalar, node.is_string); break;
    case Node::Kind::kList: {
      const bool flat = std::all_of(node.items.begin(), node.items.end(), [](const Node& item) {
        return item.kind == Node::Kind::kScalar;
      });
      out << (flat ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
      for (const Node& item : node.items) emit(out, item);
      out << YAML::EndSeq;
      break;
    }
    case Node::Kind::kMap:
      out << YAML::BeginMap;
      for (const auto& [key, value] : node.members) {
        out << YAML::Key;
        emit_text(out, key, std::any_of(key.begin(), key.end(), is_control));
        out << YAML::Value;
        emit(out, value);
      }
      out << YAML::EndMap;
      break;
  }
}

}  // namespace

Node parse_yaml(std::string_view text, const std::string& source) {
  check_size(text, source);
  if (const size_t wrong = find_invalid_utf8(text); wrong != std::string_view::npos) {
    throw InputError(source + ": not valid UTF-8 at byte " + std::to_string(wrong));
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_line_end =
        text[i] == '\n' || (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
    if (!is_control(text[i]) || is_line_end || text[i] == '\t') continue;
    throw InputError(source + ": control character " + quote(text.substr(i, 1)) + " at byte " +
                     std::to_string(i) + "; write it as an escape in double quotes");
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

std::string to_yaml(const Node& node) {
  YAML::Emitter out;
  emit(out, node);
  return std::string(out.c_str()) + "\n";
}

}  // namespace graft
