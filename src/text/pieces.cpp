#include "text/pieces.h"

#include <algorithm>

namespace graft {

int64_t num_chars(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

PieceTokens encode_pieces(const Tokenizer& tokenizer, const std::vector<Piece>& pieces) {
  std::string whole;
  for (const Piece& piece : pieces) whole += piece.text;
  Encoding encoding = tokenizer.encode(whole, {.add_special = false, .trims_offsets = false});
  std::vector<int64_t> ends;  // of the pieces, in code points
  for (const Piece& piece : pieces)
    ends.push_back((ends.empty() ? 0 : ends.back()) + num_chars(piece.text));
  PieceTokens out;
  for (const auto& [begin, end] : encoding.offsets) {
    bool is_target = false, is_muted = false;
    const auto first = std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
    for (auto i = static_cast<size_t>(first);
         i < pieces.size() && (i == static_cast<size_t>(first) || ends[i - 1] < end); ++i) {
      is_target = is_target || pieces[i].is_target;
      is_muted = is_muted || pieces[i].is_muted;
    }
    out.is_target.push_back(is_target);
    out.is_muted.push_back(is_muted && !is_target);
  }
  out.ids = std::move(encoding.ids);
  return out;
}

std::vector<int64_t> continuation_ids(const Tokenizer& tokenizer, const Opening& opening,
                                      const std::string& text) {
  std::vector<int64_t> whole = tokenizer.encode(opening.text + text, {.add_special = false}).ids;
  const auto length = static_cast<std::ptrdiff_t>(opening.ids.size());
  const bool begins_so = whole.size() >= opening.ids.size() &&
                         std::equal(opening.ids.begin(), opening.ids.end(), whole.begin());
  if (begins_so) return {whole.begin() + length, whole.end()};
  return tokenizer.encode(text, {.add_special = false, .continues = !opening.text.empty()}).ids;
}

}  // namespace graft
