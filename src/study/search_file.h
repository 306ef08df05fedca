// The section `search` of a STUDY.yaml:
//
//   search:
//     kind: random                # or grid
//     tries: 12
//     seed: [100, 101]            # of the trials; none that a member has
//     settings: {learning_rate: {low: 1e-4, high: 1e-2, scale: log}, batch_size: [8, 32]}
//     halving: {setting: epochs, from: 1, to: 9, factor: 3}
#pragma once

#include <optional>

#include "base/options.h"
#include "study/search.h"

namespace graft {

// None where the study has no such section. Faults go into `options`.
std::optional<SearchPlan> read_search(Options& options);

}  // namespace graft
