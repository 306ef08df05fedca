// A vocabulary: tokens and their ids, both ways. Built once, then read from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/json_fields.h"

namespace graft {

class Vocabulary {
 public:
  static constexpr int64_t kMaxTokens = int64_t{1}
                                        << 21;         // five times the largest vocabulary in use
  static constexpr int64_t kMaxId = int64_t{1} << 22;  // ids may have gaps
  static constexpr size_t kMaxTokenBytes = 4096;

  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  // Reads {"token": id, ...} at `key`. Throws InputError on a bad id, an id used twice or a size
  // over the caps above.
  static Vocabulary read(const FieldMap& map, std::string_view key);

  // Requires: neither the token nor the id is there yet.
  void add(std::string token, int64_t id);
  std::optional<int64_t> id_of(std::string_view token) const;
  const std::string* token_of(int64_t id) const;  // null when no token has that id
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int64_t id_bound() const {
    return static_cast<int64_t>(tokens_.size());
  }  // one more than the largest id

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // by id; points at the keys of ids_, which never move
};

}  // namespace graft
