// How a stochastic mixture draws: which member of a bank a route takes.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/random.h"

namespace graft {

// Uniform in 0..experts-1. A pure function of the route (seed, step, micro-batch, pass, edit), of
// who draws (a site, or a layer whose sites draw together) and of the bank. So all rows of a lane
// draw the same, and banks, sites and passes draw independently. Requires: experts > 0.
int64_t drawn_expert(RandomKey route, std::string_view place, std::string_view bank,
                     int64_t experts);

// Uniform among all experts but the one that the route `first` draws. Requires: experts > 1.
int64_t drawn_other_expert(RandomKey route, RandomKey first, std::string_view place,
                           std::string_view bank, int64_t experts);

}  // namespace graft
