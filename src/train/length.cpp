#include "train/length.h"

#include <algorithm>

namespace graft {

LengthRule length_rule(bool is_answered_in_words) {
  LengthRule rule;
  if (is_answered_in_words) rule.least_steps = 100;
  return rule;
}

int64_t auto_epochs(const LengthRule& rule, int64_t steps_per_epoch) {
  const int64_t enough = (rule.least_steps + steps_per_epoch - 1) / steps_per_epoch;
  return std::clamp(enough, rule.least_epochs, rule.most_epochs);
}

void settle_length(const LengthRule& rule, int64_t steps_per_epoch, RunConfig& config) {
  constexpr int64_t kTimes = 10;
  Period period{Period::Unit::kEpochs, 1};
  if (!config.epochs) {
    const int64_t epochs = auto_epochs(rule, steps_per_epoch);
    config.epochs = static_cast<double>(epochs);
    const bool counts_evaluations = config.early_stop > 0;
    if (config.max_steps == 0 && !counts_evaluations)
      period.count = static_cast<double>((epochs + kTimes - 1) / kTimes);
  }
  for (Period* each : {&config.evaluate_every, &config.checkpoint_every}) {
    if (each->unit == Period::Unit::kAuto) *each = period;
  }
}

}  // namespace graft
