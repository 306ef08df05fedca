// The choice that a stochastic mixture makes: which member of a bank a route takes.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/random.h"

namespace graft {

// Uniform in 0..experts-1: a pure function of the route (seed, step, micro-batch, pass, edit), of
// who draws (a site, or a layer whose sites draw together) and the bank, and so the same for all
// rows of a lane, and independent between banks, sites and passes. Requires: experts > 0.
int64_t drawn_expert(RandomKey route, std::string_view place, std::string_view bank,
                     int64_t experts);

// Uniform among those that the route `first` does not draw there. Requires: experts > 1.
int64_t drawn_other_expert(RandomKey route, RandomKey first, std::string_view place,
                           std::string_view bank, int64_t experts);

}  // namespace graft
