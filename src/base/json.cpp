// Documents from and to JSON, by nlohmann's parser.
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/counting_iterator.h"
#include "base/document.h"
#include "base/document_limits.h"
#include "base/error.h"
#include "base/json_error.h"
#include "base/utf8.h"

namespace graft {

namespace {

// Builds a Node from nlohmann's events. Numbers keep the text they were written in, so nothing is
// rounded.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonBuilder(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  Node build() {
    nlohmann::json::sax_parse(CountingIterator(text_.data(), &num_read_),
                              CountingIterator(text_.data() + text_.size(), &num_read_), this);
    return std::move(root_);
  }

  bool null() override { return put({}, num_read_ - 4); }
  bool boolean(bool value) override {
    return put(Node::boolean(value), num_read_ - (value ? 4 : 5));
  }
  bool number_integer(number_integer_t) override { return put_number(); }
  bool number_unsigned(number_unsigned_t) override { return put_number(); }
  bool number_float(number_float_t, const string_t&) override { return put_number(); }
  bool string(string_t& value) override {
    return put(Node::text(std::move(value)), string_start());
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Node::map()); }
  bool start_array(std::size_t) override { return open(Node::list()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& key) override {
    if (!keys_.back().insert(key).second)
      throw InputError(here(string_start()) + "key " + quote(key) + " appears twice");
    key_ = std::move(key);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::json::exception& error) override {
    throw InputError(here(position == 0 ? 0 : position - 1) + "not valid JSON near " +
                     quote(last_token) + ": " + json_error_reason(error.what()));
  }

 private:
  // Line and column of byte `start`, which never lies before that of an earlier call by more than a
  // token.
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
  // The opening quote of the string that was just read: the nearest one to the left that no odd run
  // of backslashes escapes.
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
    const auto is_part = [](char c) {
      return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
    };
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
  std::vector<Node*>
      stack_;  // parents of the place being filled; stable, since only the last child grows
  std::vector<std::unordered_set<std::string>> keys_;  // those seen in each open object
  std::string key_;
};

bool is_plain_json(const std::string& text) {
  const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  return !value.is_discarded() && (value.is_number() || value.is_boolean());
}

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// By hand, since a number must keep its digits and nlohmann's tree would round it.
void emit_json(std::string& out, const Node& node, int indent, int level) {
  const auto new_line = [&](int to) {
    if (indent >= 0)
      out += '\n' + std::string(static_cast<size_t>(indent) * static_cast<size_t>(to), ' ');
  };
  switch (node.kind) {
    case Node::Kind::kNull: out += "null"; break;
    case Node::Kind::kScalar:
      out += !node.is_string && is_plain_json(node.scalar) ? node.scalar : json_text(node.scalar);
      break;
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

}  // namespace

Node parse_json(std::string_view text, const std::string& source) {
  check_size(text, source);
  return JsonBuilder(text, source).build();
}

std::string to_json(const Node& node, int indent) {
  std::string out;
  emit_json(out, node, indent, 0);
  return out + (indent < 0 ? "" : "\n");
}

}  // namespace graft
