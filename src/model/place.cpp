#include "model/place.h"

#include <array>
#include <charconv>

#include "base/error.h"

namespace graft {

namespace {

// To what a part belongs, and so what its name begins with.
enum class Within : uint8_t { kBlock, kStack, kTrunkOrDecoder, kTrunk };
enum class Holds : uint8_t { kNothing, kWeight, kBias, kBoth };

struct PartRow {
  std::string_view name;
  Within within;
  Holds holds;
};

// In the order of Part.
constexpr std::array<PartRow, kParts> kTable = {{
    {"attn.q", Within::kBlock, Holds::kBoth},
    {"attn.k", Within::kBlock, Holds::kBoth},
    {"attn.v", Within::kBlock, Holds::kBoth},
    {"attn", Within::kBlock, Holds::kNothing},
    {"attn.mid", Within::kBlock, Holds::kNothing},
    {"attn.o", Within::kBlock, Holds::kBoth},
    {"attn.out", Within::kBlock, Holds::kNothing},
    {"attn.norm", Within::kBlock, Holds::kBoth},
    {"attn.q_norm", Within::kBlock, Holds::kWeight},
    {"attn.k_norm", Within::kBlock, Holds::kWeight},
    {"cross.q", Within::kBlock, Holds::kBoth},
    {"cross.k", Within::kBlock, Holds::kBoth},
    {"cross.v", Within::kBlock, Holds::kBoth},
    {"cross", Within::kBlock, Holds::kNothing},
    {"cross.mid", Within::kBlock, Holds::kNothing},
    {"cross.o", Within::kBlock, Holds::kBoth},
    {"cross.out", Within::kBlock, Holds::kNothing},
    {"cross.norm", Within::kBlock, Holds::kBoth},
    {"ffn.gate", Within::kBlock, Holds::kBoth},
    {"ffn.act", Within::kBlock, Holds::kNothing},
    {"ffn.up", Within::kBlock, Holds::kBoth},
    {"ffn.mid", Within::kBlock, Holds::kNothing},
    {"ffn.down", Within::kBlock, Holds::kBoth},
    {"ffn.out", Within::kBlock, Holds::kNothing},
    {"ffn.norm", Within::kBlock, Holds::kBoth},
    {"out", Within::kBlock, Holds::kNothing},
    {"norm", Within::kStack, Holds::kBoth},
    {"distance", Within::kStack, Holds::kWeight},
    {"embed.position", Within::kTrunkOrDecoder, Holds::kWeight},
    {"embed.norm", Within::kTrunkOrDecoder, Holds::kBoth},
    {"embed.word", Within::kTrunk, Holds::kWeight},
    {"embed", Within::kTrunk, Holds::kNothing},
    {"embed.type", Within::kTrunk, Holds::kWeight},
    {"pooler", Within::kTrunk, Holds::kBoth},
    {"lm", Within::kTrunk, Holds::kWeight},
    {"mask.dense", Within::kTrunk, Holds::kBoth},
    {"mask.norm", Within::kTrunk, Holds::kBoth},
    {"mask", Within::kTrunk, Holds::kBias},
}};

constexpr std::array<std::string_view, 3> kStackNames = {"", "enc", "dec"};
constexpr std::array<std::string_view, 2> kKindNames = {".weight", ".bias"};

const PartRow& row_of(Part part) { return kTable[static_cast<size_t>(part)]; }

bool is_place(const Place& place) {
  const bool has_stack = place.stack != StackId::kNone, has_layer = place.layer >= 0;
  switch (row_of(place.part).within) {
    case Within::kBlock: return has_stack && has_layer;
    case Within::kStack: return has_stack && !has_layer;
    case Within::kTrunkOrDecoder: return place.stack != StackId::kEncoder && !has_layer;
    case Within::kTrunk: return !has_stack && !has_layer;
  }
  return false;
}

bool holds(Part part, TensorKind kind) {
  const Holds held = row_of(part).holds;
  return held == Holds::kBoth ||
         held == (kind == TensorKind::kWeight ? Holds::kWeight : Holds::kBias);
}

// Takes "<layer>." off the front of `rest`; nothing where no number stands there.
std::optional<int16_t> take_layer(std::string_view& rest) {
  int16_t layer = 0;
  const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  const auto digits = static_cast<size_t>(stop - rest.data());
  const bool is_number =
      error == std::errc{} && layer >= 0 && digits < rest.size() && rest[digits] == '.';
  if (!is_number || rest.front() == '-' || (rest.front() == '0' && digits > 1))
    return std::nullopt;  // one spelling a number
  rest.remove_prefix(digits + 1);
  return layer;
}

}  // namespace

std::string_view part_name(Part part) { return row_of(part).name; }

std::string to_name(const Place& place) {
  ensure(is_place(place), "a place that has a name");
  std::string name(kStackNames[static_cast<size_t>(place.stack)]);
  if (place.stack != StackId::kNone) name += '.';
  if (place.layer >= 0) name += std::to_string(place.layer) + '.';
  return name.append(part_name(place.part));
}

std::string to_name(const TensorId& tensor) {
  return to_name(tensor.place).append(kKindNames[static_cast<size_t>(tensor.kind)]);
}

const NormConfig& norm_at(const Place& place, const ModelConfig& config) {
  if (place.part == Part::kMaskNorm) return config.mask_head.value().norm;
  const StackConfig& stack =
      config.stack(place.stack == StackId::kNone ? config.first_stack() : place.stack);
  switch (place.part) {
    case Part::kEmbedNorm: return stack.embed_norm.value();
    case Part::kNorm: return stack.final_norm.value();
    case Part::kAttnQNorm:
    case Part::kAttnKNorm: return stack.head_norm.value();
    default: return stack.norm;
  }
}

std::optional<Place> parse_place(std::string_view name) {
  Place place;
  for (const StackId stack : {StackId::kEncoder, StackId::kDecoder}) {
    const std::string_view own = kStackNames[static_cast<size_t>(stack)];
    if (!name.starts_with(own) || name.size() == own.size() || name[own.size()] != '.') continue;
    place.stack = stack;
    name.remove_prefix(own.size() + 1);
    break;
  }
  if (place.stack != StackId::kNone) place.layer = take_layer(name).value_or(-1);
  for (size_t part = 0; part < kParts; ++part) {
    place.part = static_cast<Part>(part);
    if (part_name(place.part) == name) return is_place(place) ? std::optional(place) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<TensorId> parse_tensor(std::string_view name) {
  for (const TensorKind kind : {TensorKind::kWeight, TensorKind::kBias}) {
    const std::string_view own = kKindNames[static_cast<size_t>(kind)];
    if (!name.ends_with(own)) continue;
    name.remove_suffix(own.size());
    const std::optional<Place> place = parse_place(name);
    return place && holds(place->part, kind) ? std::optional(TensorId{*place, kind}) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace graft
