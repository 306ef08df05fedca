// Unigram (Kudo 2018, arXiv:1804.10959): the way to cut a word whose tokens have the largest sum of
// scores (log-probabilities).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/token_model.h"

namespace graft {

struct UnigramOptions {
  std::optional<int32_t> unknown;
  bool byte_fallback =
      false;  // an unknown stretch becomes <0x..> tokens where the vocabulary has all that it needs
  bool single_precision =
      false;               // sums as SentencePiece has them, in float; `tokenizers` adds in double
  double least_score = 0;  // what is unknown costs 10 more than that
};

std::unique_ptr<const TokenModel> make_unigram(Vocabulary vocabulary,
                                               const std::vector<ScoredPiece>& pieces,
                                               const UnigramOptions& options);

}  // namespace graft
