// The choice that a stochastic mixture makes: which member of a bank a route takes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/random.h"

namespace graft {

// Uniform in 0..experts-1: a pure function of the route (seed, step, micro-batch, pass, edit), the
// site and the bank, and so the same for all rows of a lane, and independent between banks, sites
// and passes. Requires: experts > 0.
int64_t drawn_expert(RandomKey route, std::string_view site, std::string_view bank,
                     int64_t experts);

// "expert.2/enc.0.attn.q.lora_a" or "shared/..." -> "enc.0.attn.q.lora_a", at any depth: what the
// tensor is called once the experts are averaged.
std::string name_without_members(const std::string& name);

}  // namespace graft
