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
                                 // model's ReadRow or a mask
  bool reads_mean = false;  // the head reads sequence_means, which have the names of the first rows

  const Pack& last() const { return decoder ? *decoder : *texts; }
  ModelInput input(const ModelConfig& config) const;
};

// `texts` must live as long as the result. Throws InputError naming the example of a text without
// an end token where the model reads at one.
ClassifiedPack classified_pack(const Model& model, const Pack& texts);

// states: [T, C] of the pack's rows -> [N, C], the mean over each sequence's rows that are attended
// to: those of its tokens and of a prompt, not of padding. Differentiable.
at::Tensor sequence_means(const Pack& pack, const at::Tensor& states);

}  // namespace graft
