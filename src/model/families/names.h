// How the checkpoints of families name tensors: pieces for the tables in this folder.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/families.h"

namespace graft {

using Layers = std::vector<std::pair<Place, std::string>>;

constexpr Place trunk(Part part) { return {.part = part}; }
// In the first block, where the part is one of blocks.
constexpr Place in_stack(StackId stack, Part part) {
  return {stack, static_cast<int16_t>(is_of_block(part) ? 0 : -1), part};
}
constexpr Place enc(Part part) { return in_stack(StackId::kEncoder, part); }
constexpr Place dec(Part part) { return in_stack(StackId::kDecoder, part); }

void append(CheckpointNames& names, const CheckpointNames& more);
CheckpointNames with_biases(const Layers& layers);  // weight and bias of each
CheckpointNames without_biases(const Layers& layers);

// Each stack of an encoder-decoder may hold the one word table under a name of its own.
CheckpointNames stack_tables();

// Heads of classifiers beside a decoder: a score for every label, or RoBERTa's two layers under
// another name.
using HeadNames = std::vector<std::pair<std::string, std::string>>;
HeadNames score_alone();
HeadNames dense_of_encoder_decoder();

}  // namespace graft
