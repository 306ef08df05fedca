#include "edit/positions.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"

namespace graft {

namespace {

constexpr int64_t kMost = 4096;
constexpr const char* kGrammar = "expected fN, lN, fN+lM, last or all";

[[noreturn]] void refuse(const std::string& text, const std::string& reason) {
  throw InputError(std::string(kGrammar) + ", found " + quote(text) + reason);
}

// "f3" with side 'f' -> 3; nothing when `part` is not of that form.
std::optional<int64_t> count_of(const std::string& part, char side) {
  if (part.size() < 2 || part.size() > 6 || part[0] != side) return std::nullopt;
  if (!std::all_of(part.begin() + 1, part.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  return std::stoll(part.substr(1));
}

}  // namespace

PositionChoice parse_positions(const std::string& text) {
  if (text == "all") return {.is_all = true};
  if (text == "last") return {.last = 1};
  const size_t plus = text.find('+');
  const std::string left = text.substr(0, plus),
                    right = plus == std::string::npos ? "" : text.substr(plus + 1);
  if (plus != std::string::npos && count_of(left, 'l') && count_of(right, 'f'))
    refuse(text, ": the first tokens stand first, write " + right + "+" + left);
  const std::optional<int64_t> first = count_of(left, 'f'),
                               last = count_of(plus == std::string::npos ? left : right, 'l');
  if (count_of("f" + text, 'f')) refuse(text, ": say which side, f" + text + " or l" + text);
  if (plus == std::string::npos ? !first && !last : !first || !last) refuse(text, "");
  for (const std::optional<int64_t>& count : {first, last}) {
    if (count && (*count < 1 || *count > kMost))
      refuse(text, ": a count is in 1.." + std::to_string(kMost));
  }
  return {.first = first.value_or(0), .last = last.value_or(0)};
}

EditedTokens edited_tokens(const PositionChoice& positions, int64_t tokens, Clamp clamp) {
  if (positions.is_all) return {tokens, 0};
  if (clamp == Clamp::kLength) {
    const int64_t suffix = std::min(tokens, positions.last);
    return {std::min(tokens - suffix, positions.first), suffix};
  }
  const int64_t half = tokens / 2;
  return {std::min(half, positions.first),
          std::min(clamp == Clamp::kCode ? half : tokens - half, positions.last)};
}

namespace {

// Tokens [begin, end).
struct Tokens {
  int64_t begin = 0, end = 0;
};

// What a claim takes of a prompt of so many tokens, by side.
std::array<Tokens, 2> claimed(const TokenClaim& claim, int64_t tokens) {
  const int64_t counted = tokens - (claim.skips_last ? 1 : 0);
  const EditedTokens own = edited_tokens(claim.positions, counted, claim.clamp);
  return {Tokens{0, own.prefix}, Tokens{counted - own.suffix, counted}};
}

}  // namespace

bool share_a_token(const TokenClaim& a, const TokenClaim& b) {
  if (a.site != b.site) return false;
  if (a.positions.is_all || b.positions.is_all) return true;
  // Longer prompts keep the two sides apart.
  const int64_t longest = 2 * (a.positions.most() + b.positions.most()) + 2;
  for (int64_t tokens = 1; tokens <= longest; ++tokens) {
    for (const Tokens& one : claimed(a, tokens)) {
      for (const Tokens& other : claimed(b, tokens)) {
        if (std::max(one.begin, other.begin) < std::min(one.end, other.end)) return true;
      }
    }
  }
  return false;
}

EditedRows edited_rows(const SiteView& view, const PositionChoice& positions, Clamp clamp,
                       bool skips_last) {
  std::vector<int64_t> prefix, suffix;
  int64_t rows = 0;
  for (int64_t n = view.lane.first_sequence; n < view.lane.first_sequence + view.lane.num_sequences;
       ++n) {
    const auto sequence = static_cast<size_t>(n);
    const int64_t tokens = view.pack.prompts[sequence] - (skips_last ? 1 : 0);
    const EditedTokens edited = edited_tokens(positions, tokens, clamp);
    const RowRange& own = view.pack.sequences[sequence];
    for (int64_t row = own.begin; row < own.end; ++row, ++rows) {
      const int64_t token = view.pack.token[static_cast<size_t>(row)];
      if (token < 0) continue;
      if (token < edited.prefix || positions.is_all) prefix.push_back(row - view.lane.first_row);
      else if (token >= tokens - edited.suffix && token < tokens)
        suffix.push_back(row - view.lane.first_row);  // what follows a prompt stays as it is
    }
  }
  const bool is_every_row = static_cast<int64_t>(prefix.size()) == rows;
  return {at::tensor(prefix, at::kLong), at::tensor(suffix, at::kLong), is_every_row};
}

}  // namespace graft
