// Token positions that an edit acts on: the first and last tokens of each sequence.
//
// Wu et al. 2024 (arXiv:2404.03592) sec. 3.3: a prefix of p and a suffix of s positions, shortened
// for short sequences so that the two never share a token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "model/hooks.h"

namespace graft {

struct PositionChoice {
  int64_t first = 0, last = 0;  // p and s
  bool is_all = false;          // every token; then first and last are 0

  // An upper bound for the tokens that are edited, unless all are.
  int64_t most() const { return first + last; }
  bool is_two_sided() const { return first > 0 && last > 0; }
};

// Reads "f3", "l7", "f3+l2", "last" (one token) or "all". Throws InputError that says what is wrong
// and what to write instead.
PositionChoice parse_positions(const std::string& text);

// How many positions a sequence of n tokens really has.
//   kCode   p' = min(n/2, p), s' = min(n/2, s), rounded down, even if there is one side only (the
//           released code)
//   kPaper  s' = min(ceil(n/2), s): the middle token of an odd n counts as suffix
//   kLength s' = min(n, s), p' = min(n - s', p): as many as there are; a token that both claim
//           counts as suffix (AdapterHub)
enum class Clamp { kCode, kPaper, kLength };

// Tokens 0 .. prefix-1 and n-suffix .. n-1 of n; never overlapping.
struct EditedTokens {
  int64_t prefix = 0, suffix = 0;
};
EditedTokens edited_tokens(const PositionChoice& positions, int64_t tokens, Clamp clamp);

// The tokens of a prompt that an edit claims for itself at a site.
struct TokenClaim {
  Place site;
  PositionChoice positions;
  Clamp clamp = Clamp::kCode;
  bool skips_last = false;  // positions are counted as if a prompt of n tokens had n-1
};
// Whether two claims share a token of a prompt of some length.
bool share_a_token(const TokenClaim& a, const TokenClaim& b);

// The rows of a view that are edited, by side and in the order of the pack; counted from the view's
// first row. Two kinds of rows are left out: those without a token (fillers, padding, rows of a
// prompt), and those that the view does not hold (the last block may compute first rows only). With
// `is_all` the rows of all tokens are in `prefix`. `skips_last`: as in TokenClaim.
struct EditedRows {
  at::Tensor prefix, suffix;  // [P], [S] int64, distinct
  // Every row of every sequence is in `prefix`: an edit may act on the whole tensor instead.
  bool is_every_row = false;
};
EditedRows edited_rows(const SiteView& view, const PositionChoice& positions, Clamp clamp,
                       bool skips_last = false);

}  // namespace graft
