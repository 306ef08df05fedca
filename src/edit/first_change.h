// How much of a trunk an adapter leaves as it is.
#pragma once

#include "edit/adapter.h"
#include "model/trunk.h"

namespace graft {

// The first point of the trunk from which on something differs from the bare one, or is trained:
// what stands there is the bare trunk's. Behind the last block where only a head, a pooler or what
// else lies above the blocks is.
TrunkPoint first_change(const Adapter& adapter, const ModelConfig& config);

}  // namespace graft
