// The learning-rate range test (Smith 2017, arXiv:1506.01186, sec. 3.3): a short training whose
// rate rises from step to step shows where the loss begins to fall and where it stops.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "train/inputs.h"

namespace graft {

struct RateTestOptions {
  double least = 1e-6, most = 1;  // rates of the first and the last step; between them the rate
                                  // grows by a constant factor
  int64_t steps = 100;
  std::function<void(int64_t done)> progress = {};  // after each step; may be empty
};

struct RateTest {
  std::vector<double> rates, losses;  // of each step; the losses smoothed
  std::optional<double> suggestion;   // nothing where the loss does not fall
};

// Trains from the run's initial values and on its first batches, and keeps nothing. Ends early
// where the loss is four times its least so far, or not finite.
RateTest test_rates(RunInputs inputs, const RateTestOptions& options = {});

// The rate in the middle of the longest stretch of ever lower losses ("valley" of fastai's
// lr_find): of the longest falling subsequence, steps between it left out. Nothing where the loss
// falls by less than 2 % along it.
std::optional<double> suggest_rate(const std::vector<double>& rates,
                                   const std::vector<double>& losses);

}  // namespace graft
