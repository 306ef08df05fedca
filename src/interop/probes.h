// Made-up rows on which two forms of an adapter are compared when there is no data.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/pack.h"

namespace graft {

// `count` sequences of random ids, 4 to 64 tokens or as many as the model serves beside `reserved` positions; the same at every call.
std::vector<Sequence> made_up_probes(const ModelConfig& config, int64_t count, int64_t reserved = 0);

}  // namespace graft
