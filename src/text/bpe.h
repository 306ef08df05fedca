// Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909): start from single characters, merge
// the adjacent pair of lowest rank until none is left.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "text/token_model.h"

namespace graft {

struct BpeOptions {
  std::optional<int32_t> unknown;  // for a character without a token
  bool fuse_unknown = false;       // one for a run of such characters
  bool ignore_merges = false;  // a word that is a token stays whole, even if no merges lead there
  bool byte_fallback =
      false;  // such a character becomes its bytes <0x..>; requires has_byte_tokens
};

bool has_byte_tokens(const Vocabulary& vocabulary);  // all 256 of them

// BPE as SentencePiece has it: two tokens may be merged if they make a token, that of the highest
// score first. pieces: by id, one for every token; those that are not matched take no part.
std::unique_ptr<const TokenModel> make_bpe_by_score(Vocabulary vocabulary,
                                                    const std::vector<ScoredPiece>& pieces,
                                                    const BpeOptions& options);

}  // namespace graft
