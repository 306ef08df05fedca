// Strict reading of the nested maps of tokenizer.json: each field is read, or listed as harmless,
// or refused with its JSON pointer.
//
// Every method throws InputError "source:line:column: /pointer: expected ..., found ..." on a
// fault. Not for our own configs: those use base/options.h, which lists all faults at once; in a
// foreign file the first one already says that the file is not for us.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/document.h"

namespace graft {

class FieldMap {
 public:
  // `node` must outlive the object. Throws if it is not a map.
  FieldMap(const Node& node, std::string source, std::string pointer);

  bool has(std::string_view key) const;      // present, null included
  bool is_null(std::string_view key) const;  // absent or null; marks the key as read
  bool boolean(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t least, int64_t most) const;
  const std::string& text(std::string_view key) const;
  std::u32string chars(
      std::string_view key) const;  // a text of at least one character, as code points
  std::string choice(std::string_view key, const std::vector<std::string>& choices) const;
  std::string type(const std::vector<std::string>& supported)
      const;  // of "type"; another one is refused by name
  std::u32string string_pattern(
      std::string_view key) const;  // {"String": "..."}; {"Regex": ...} is refused
  FieldMap map(std::string_view key) const;
  std::vector<FieldMap> maps(std::string_view key) const;  // a list of maps, at most kMaxItems
  const Node& list(std::string_view key, size_t most) const;
  const Node& raw(std::string_view key) const;  // throws when absent
  void ignore(std::string_view key) const;      // known and harmless

  void finish() const;  // refuses every field that was not read
  [[noreturn]] void fail(std::string_view key,
                         const std::string& message) const;  // "" = the map itself
  const std::string& source() const { return source_; }
  const std::string& pointer() const { return pointer_; }

  static constexpr size_t kMaxItems = 256;

 private:
  const Node* find(std::string_view key) const;

  const Node* node_;
  std::string source_, pointer_;
  mutable std::vector<std::string> known_;
};

// "a list", "the text "x"", ...: a node in a message.
std::string shown(const Node& node);

}  // namespace graft
