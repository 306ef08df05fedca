// The learning rate at each step.
#pragma once

#include <cstdint>

namespace graft {

enum class Schedule { kLinear, kCosine, kConstant };

// Warm-up: a share of all steps (a number below 1), or a number of steps.
struct Warmup {
  double share = 0.06;
  int64_t steps = 0;  // used when share is 0
};

// Factor of the base rate at step k = 0, 1, ... of `total`: k/w during w warm-up steps, then
//   linear: (total - k)/(total - w);  cosine: (1 + cos(pi (k - w)/(total - w)))/2;  constant: 1.
double rate_factor(Schedule schedule, int64_t step, int64_t warmup_steps, int64_t total_steps);

// ceil(share * total), or the steps given.
int64_t warmup_steps(const Warmup& warmup, int64_t total_steps);

}  // namespace graft
