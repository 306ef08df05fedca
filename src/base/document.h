// A document: the tree that a YAML or JSON text holds, with the line and column of every node.
//
// One form for run files, presets, tasks, model configs and adapter.json, so that one reader
// (options.h) checks them all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;       // kScalar: the text, unescaped
  bool is_string = false;   // kScalar: quoted, so never a number or a truth value
  std::vector<Node> items;  // kList
  std::vector<std::pair<std::string, Node>> members;  // kMap, in file order
  int64_t line = 0, column = 0;                       // from 1; 0 = not from a file

  const Node* find(std::string_view key) const;  // kMap only; null when absent
  Node& operator[](
      std::string_view key);  // kMap (a null node becomes one): adds the key when absent

  // What an unquoted scalar says by its whole text. None for other text, for a number that the type
  // cannot hold, and for what is no scalar. A number that is not finite is none behind to_json,
  // which can only quote it.
  std::optional<double> as_number() const;    // "8", "-1.5e3", "nan"
  std::optional<int64_t> as_integer() const;  // "8"; neither "8.0" nor "1e3"
  std::optional<bool> as_bool() const;        // "true", "false"
  // The same of a member; none when it is absent.
  std::optional<double> find_number(std::string_view key) const;
  std::optional<int64_t> find_integer(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;

  static Node null() { return {}; }
  static Node text(std::string value);   // a quoted string
  static Node plain(std::string value);  // an unquoted scalar: number, truth value or word
  static Node integer(int64_t value);
  static Node number(double value);  // shortest text that reads back equal
  static Node number_or_null(const std::optional<double>& value);
  static Node boolean(bool value);
  static Node list(std::vector<Node> items = {});
  static Node texts(const std::vector<std::string>& values);  // a list of quoted strings
  static Node integers(const std::vector<int64_t>& values);
  static Node map(std::vector<std::pair<std::string, Node>> members = {});

  // By content: positions do not count, nor do the quotes of a word that could not be a number or a
  // truth value.
  friend bool operator==(const Node& a, const Node& b);
};

// Both throw InputError "source:line:column: ...". Caps: depth 64, 64 MiB of text; a repeated key
// is an error.
Node parse_yaml(std::string_view text, const std::string& source);
Node parse_json(std::string_view text, const std::string& source);

// Canonical text; parsing it gives an equal tree.
std::string to_yaml(const Node& node);
std::string to_json(const Node& node, int indent = 2);  // indent < 0: one line

// Sets root["a"]["b"] to the YAML value in `value` for the dotted path "a.b". Throws InputError if
// a step is not a map.
void set_path(Node& root, std::string_view dotted_path, std::string_view value);

// {"epochs", "5"} of "epochs=5": the sides of its first '='; nothing where there is none, or no key
// before it.
std::optional<std::pair<std::string, std::string>> key_and_value(std::string_view setting);

}  // namespace graft
