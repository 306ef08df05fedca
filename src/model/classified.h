// What a classifier's trunk reads of a pack, and which row of each sequence its head reads.
#pragma once

#include <optional>
#include <vector>

#include "model/config.h"
#include "model/trunk.h"

namespace graft {

struct ClassifiedPack {
  const Pack* texts = nullptr;
  // In an encoder-decoder what the decoder reads: the tokens of each text behind the start token,
  // without the last.
  std::optional<Pack> decoder;
  std::vector<RowRange> wanted;  // [N] of the last stack's pack: one row a sequence, by the
                                 // family's ReadRow or a mask

  const Pack& last() const { return decoder ? *decoder : *texts; }
  ModelInput input(const ModelConfig& config) const;
};

// `texts` must live as long as the result. Throws InputError naming the example of a text without
// an end token where the family reads at one.
ClassifiedPack classified_pack(const Model& model, const Pack& texts);

}  // namespace graft
