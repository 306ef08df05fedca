#include "feed/chat_rows.h"

#include <algorithm>

namespace graft {

namespace {

// The turns from `first` on, and those of the system before it.
std::vector<Turn> turns_from(const std::vector<Turn>& turns, size_t first) {
  std::vector<Turn> out;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (i >= first || turns[i].role == "system") out.push_back(turns[i]);
  }
  return out;
}

// Where a shortened conversation may begin: at each turn of the user.
std::vector<size_t> beginnings(const std::vector<Turn>& turns) {
  std::vector<size_t> out;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role == "user") out.push_back(i);
  }
  return out;
}

}  // namespace

ChatTokens encode_chat(const ChatFormat& format, const Tokenizer& tokenizer,
                       const std::vector<Turn>& turns, bool asks, int64_t max_length) {
  const auto from = [&](size_t first) {
    return encode_pieces(tokenizer, render_chat(format, turns_from(turns, first), asks));
  };
  const auto is_long = [&](const PieceTokens& tokens) {
    return max_length > 0 && static_cast<int64_t>(tokens.ids.size()) > max_length;
  };
  ChatTokens out{from(0)};
  const std::vector<size_t> begins = beginnings(turns);
  if (!is_long(out.tokens) || begins.empty()) return out;
  const auto whole = static_cast<int64_t>(out.tokens.ids.size());
  const auto begin =  // the longest of the conversations that fit, or the shortest of all
      std::partition_point(begins.begin(), begins.end() - 1,
                           [&](size_t first) { return is_long(from(first)); });
  out.tokens = from(*begin);
  out.cut_tokens = whole - static_cast<int64_t>(out.tokens.ids.size());
  out.cut_turns = static_cast<int64_t>(turns.size() - turns_from(turns, *begin).size());
  return out;
}

}  // namespace graft
