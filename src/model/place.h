// Places: where something stands in a trunk, as a small value. A place may be a site
// (model/sites.h), hold tensors, or both.
//
// Code compares places and looks things up by them. Their names ("enc.3.attn.q",
// "enc.3.attn.q.weight") are for people and files; `to_name` and `parse_...` are inverse to each
// other, and nothing else makes or reads a name.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/config.h"

namespace graft {

enum class Part : uint8_t {
  // Of a block: attention to the stack's own rows, attention to an encoder's, the FFN, and the
  // block as a whole.
  kAttnQ,
  kAttnK,
  kAttnV,
  kAttn,
  kAttnMid,
  kAttnO,
  kAttnOut,
  kAttnNorm,
  kAttnQNorm,
  kAttnKNorm,
  kCrossQ,
  kCrossK,
  kCrossV,
  kCross,
  kCrossMid,
  kCrossO,
  kCrossOut,
  kCrossNorm,
  kFfnGate,
  kFfnAct,
  kFfnUp,
  kFfnMid,
  kFfnDown,
  kFfnOut,
  kFfnNorm,
  kOut,
  // Of a stack: its last norm, and its table of biases by distance.
  kNorm,
  kDistance,
  // Of the trunk; an encoder-decoder's decoder has a position table and norm of its own.
  kEmbedPosition,
  kEmbedNorm,
  // Of the trunk.
  kEmbedWord,
  kEmbed,
  kEmbedType,
  kPooler,
  kLm,
  kMaskDense,
  kMaskNorm,
  kMask,
};
inline constexpr size_t kBlockParts = static_cast<size_t>(Part::kOut) + 1;
inline constexpr size_t kParts = static_cast<size_t>(Part::kMask) + 1;

struct Place {
  StackId stack = StackId::kNone;  // kNone: of the trunk
  int16_t layer = -1;              // from 0 in each stack; -1: of no block
  Part part{};

  friend auto operator<=>(const Place&, const Place&) = default;
};

enum class TensorKind : uint8_t { kWeight, kBias };

// A tensor of the trunk.
struct TensorId {
  Place place;
  TensorKind kind = TensorKind::kWeight;

  friend auto operator<=>(const TensorId&, const TensorId&) = default;
};

constexpr TensorId weight_of(const Place& place) { return {place, TensorKind::kWeight}; }
constexpr TensorId bias_of(const Place& place) { return {place, TensorKind::kBias}; }

inline constexpr Place kPoolerPlace{.part = Part::kPooler};
inline constexpr Place kMaskDensePlace{.part = Part::kMaskDense};
inline constexpr TensorId kWordTable = weight_of({.part = Part::kEmbedWord});
// The output layer over the vocabulary, where it is not the word table.
inline constexpr TensorId kOutputTable = weight_of({.part = Part::kLm});

std::string to_name(const Place& place);
std::string to_name(const TensorId& tensor);
// Nothing for what no place, or no tensor, is called.
std::optional<Place> parse_place(std::string_view name);
std::optional<TensorId> parse_tensor(std::string_view name);

// "attn.q": the name without stack and layer.
std::string_view part_name(Part part);

// Attention to the stack's own rows, or to an encoder's: the same parts.
struct AttentionParts {
  Part q, k, v, whole, mid, o, out, norm;
};
inline constexpr AttentionParts kOwnAttention = {Part::kAttnQ,   Part::kAttnK,   Part::kAttnV,
                                                 Part::kAttn,    Part::kAttnMid, Part::kAttnO,
                                                 Part::kAttnOut, Part::kAttnNorm};
inline constexpr AttentionParts kCrossAttention = {Part::kCrossQ,   Part::kCrossK,   Part::kCrossV,
                                                   Part::kCross,    Part::kCrossMid, Part::kCrossO,
                                                   Part::kCrossOut, Part::kCrossNorm};

constexpr bool is_of_block(Part part) { return static_cast<size_t>(part) < kBlockParts; }
constexpr bool is_queries(Part part) { return part == Part::kAttnQ || part == Part::kCrossQ; }
constexpr bool is_keys_or_values(Part part) {
  return part == Part::kAttnK || part == Part::kAttnV || part == Part::kCrossK ||
         part == Part::kCrossV;
}
constexpr bool is_attention_output(Part part) {
  return part == Part::kAttnO || part == Part::kCrossO;
}
constexpr bool is_ffn_layer(Part part) {
  return part == Part::kFfnUp || part == Part::kFfnGate || part == Part::kFfnDown;
}
constexpr bool is_cross(Part part) { return part >= Part::kCrossQ && part <= Part::kCrossNorm; }
// Of the parts of a block that read the same rows, the first: queries, keys and values do, what
// enters both halves of a gated feed-forward, and both parts of what attention reads of an encoder.
constexpr Part first_reader(Part part) {
  switch (part) {
    case Part::kAttnK:
    case Part::kAttnV: return Part::kAttnQ;
    case Part::kCrossV: return Part::kCrossK;
    case Part::kFfnGate: return Part::kFfnUp;
    default: return part;
  }
}
constexpr bool is_norm(Part part) {
  return part == Part::kAttnNorm || part == Part::kAttnQNorm || part == Part::kAttnKNorm ||
         part == Part::kCrossNorm || part == Part::kFfnNorm || part == Part::kNorm ||
         part == Part::kEmbedNorm || part == Part::kMaskNorm;
}
// The layers of a model that a classifier reads, on one row of each text: BERT's pooler, the first
// layer of ModernBERT's head for masks.
constexpr bool is_under_classifier(Part part) {
  return part == Part::kPooler || part == Part::kMaskDense;
}
constexpr bool is_of_mask_head(Part part) { return part >= Part::kMaskDense; }
// What stands under the first block of the trunk: tables, and the norm of what they give.
constexpr bool is_embedding(const Place& place) {
  return place.stack == StackId::kNone && place.part >= Part::kEmbedPosition &&
         place.part <= Part::kEmbedType;
}

// Of a place with a norm.
const NormConfig& norm_at(const Place& place, const ModelConfig& config);

// Numbers the places that a trunk may have, for tables.
class PlaceIndex {
 public:
  explicit PlaceIndex(const ModelConfig& config)
      : encoder_layers_(static_cast<size_t>(config.encoder_layers())),
        decoder_layers_(static_cast<size_t>(config.decoder_layers())) {}

  size_t size() const { return (encoder_layers_ + decoder_layers_) * kBlockParts + 3 * kParts; }
  // Below size(); nothing for a layer that the trunk does not have.
  std::optional<size_t> of(const Place& place) const {
    const auto part = static_cast<size_t>(place.part);
    if (place.layer < 0)
      return (encoder_layers_ + decoder_layers_) * kBlockParts +
             static_cast<size_t>(place.stack) * kParts + part;
    const bool is_decoder = place.stack == StackId::kDecoder;
    const auto layer = static_cast<size_t>(place.layer);
    if (layer >= (is_decoder ? decoder_layers_ : encoder_layers_)) return std::nullopt;
    return ((is_decoder ? encoder_layers_ : 0) + layer) * kBlockParts + part;
  }

 private:
  size_t encoder_layers_, decoder_layers_;
};

}  // namespace graft
