// SentencePiece's table of replaced strings ("precompiled charsmap", such as nmt_nfkc):
// a double-array trie from UTF-8 keys to UTF-8 texts.
//
// Layout, little-endian: the trie's size in bytes as u32; its units, u32 each, as darts-clone packs
// them; the texts, each ended by a zero byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

class Charsmap {
 public:
  // Throws InputError "where: ..." when the sizes do not fit. A damaged trie shows up while texts
  // are looked up.
  Charsmap(std::string_view bytes, const std::string& where);

  struct Match {
    size_t length;           // bytes of the text that the key takes
    std::u32string content;  // what stands in its place
  };
  // The shortest or longest key that `text` starts with. Throws InputError if the trie points
  // outside of the table.
  std::optional<Match> shortest(std::string_view text) const { return find(text, true); }
  std::optional<Match> longest(std::string_view text) const { return find(text, false); }

  static constexpr size_t kMaxBytes = size_t{16} << 20;

 private:
  std::optional<Match> find(std::string_view text, bool stop_at_first) const;
  uint32_t unit(size_t at) const;

  std::vector<uint32_t> units_;
  std::string texts_;
  std::string where_;
};

}  // namespace graft
