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
  bool is_all = false;          // every token; first and last are 0 then

  // Every token that is edited is one of the first or last `most()`, unless all are.
  int64_t most() const { return first + last; }
  bool is_two_sided() const { return first > 0 && last > 0; }
};

// "f3", "l7", "f3+l2", "last" (one token) or "all". Throws InputError saying what is wrong and what
// to write instead.
PositionChoice parse_positions(const std::string& text);

// How many positions a sequence of n tokens really has.
//   kCode   p' = min(n/2, p), s' = min(n/2, s), both rounded down and also when there is one side
//           only: the released code
//   kPaper  s' = min(ceil(n/2), s): the middle token of an odd n counts as suffix
//   kLength s' = min(n, s), p' = min(n - s', p): as many as there are, and a token that both sides
//           claim is suffix (AdapterHub)
enum class Clamp { kCode, kPaper, kLength };

// Tokens 0 .. prefix-1 and n-suffix .. n-1 of n; never overlapping.
struct EditedTokens {
  int64_t prefix = 0, suffix = 0;
};
EditedTokens edited_tokens(const PositionChoice& positions, int64_t tokens, Clamp clamp);

// What an edit takes for itself of the prompt's tokens at a site.
struct TokenClaim {
  Place site;
  PositionChoice positions;
  Clamp clamp = Clamp::kCode;
  bool skips_last = false;  // counts a prompt of n tokens as one of n-1
};
// Whether there is a length of prompts for which two claims share a token.
bool share_a_token(const TokenClaim& a, const TokenClaim& b);

// Rows of the view, counted from its first, by side and in the order of the pack. Rows of no token
// (fillers, padding, a prompt) and rows that are not there (the last block may hold first rows
// only) are left out. With `is_all` every token's row is `prefix`. `skips_last`: of prompts of n
// tokens the first n-1 count.
struct EditedRows {
  at::Tensor prefix, suffix;  // [P], [S] int64, distinct
  bool is_every_row = false;  // every row of every sequence is in `prefix`: an edit may act on the
                              // whole tensor instead
};
EditedRows edited_rows(const SiteView& view, const PositionChoice& positions, Clamp clamp,
                       bool skips_last = false);

}  // namespace graft
