#include "edit/first_change.h"

#include <algorithm>

namespace graft {

namespace {

// Of a tensor of the trunk: the first point behind which it is read.
TrunkPoint first_use(const Place& place, const ModelConfig& config) {
  const StackId first = config.has_encoder() ? StackId::kEncoder : StackId::kDecoder;
  const TrunkPoint end{config.last_stack(), config.last().layers};
  if (place.layer >= 0) return {place.stack, place.layer};
  if (is_embedding(place)) return {first, 0};
  if (place.stack == StackId::kNone) return end;  // pooler, output layer, head for masks
  return {place.stack, place.part == Part::kNorm ? config.stack(place.stack).layers : 0};
}

}  // namespace

TrunkPoint first_change(const Adapter& adapter, const ModelConfig& config) {
  TrunkPoint first{config.last_stack(), config.last().layers};
  for (const Adapter::Part& part : adapter.parts()) {
    const EditSpec& spec = part.spec();
    for (const Site& site : spec.sites) first = std::min(first, first_use(site, config));
    if (spec.traits.acts != Acts::kReplacesWeights) continue;
    for (const ParamSpec& param : spec.params)
      first = std::min(first, first_use(param.replaces.value().place, config));
  }
  return first;
}

}  // namespace graft
