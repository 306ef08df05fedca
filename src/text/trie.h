// A trie over code points with an id at the end of each entry: longest match in one walk. Built
// once, then read from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/hash_table.h"

namespace graft {

class Trie {
 public:
  struct Match {
    int32_t id = -1;    // -1: nothing matches
    size_t length = 0;  // in code points
  };

  // An entry that is there already keeps its first id; returns false then. Requires: `entry` is not
  // empty.
  bool add(std::u32string_view entry, int32_t id) {
    uint32_t node = 0;
    for (const char32_t c : entry) {
      const auto [next, is_new] = edges_.insert(key(node, c), static_cast<uint32_t>(ids_.size()));
      node = *next;
      if (is_new) ids_.push_back(-1);
    }
    if (ids_[node] >= 0) return false;
    ids_[node] = id;
    is_empty_ = false;
    return true;
  }

  // The longest entry that `text` starts with. O(length of the longest shared path).
  Match longest(std::u32string_view text) const {
    Match best;
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t* next = edges_.find(key(node, text[i]));
      if (next == nullptr) break;
      node = *next;
      if (ids_[node] >= 0) best = {ids_[node], i + 1};
    }
    return best;
  }

  // Calls f(id, length) for every entry that `text` starts with, the shortest first.
  template <typename F>
  void each_prefix(std::u32string_view text, F f) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t* next = edges_.find(key(node, text[i]));
      if (next == nullptr) return;
      node = *next;
      if (ids_[node] >= 0) f(ids_[node], i + 1);
    }
  }

  bool is_empty() const { return is_empty_; }

 private:
  static uint64_t key(uint32_t node, char32_t c) { return uint64_t{node} << 21 | c; }

  HashTable<uint32_t> edges_;
  std::vector<int32_t> ids_ = {-1};  // per node
  bool is_empty_ = true;
};

}  // namespace graft
