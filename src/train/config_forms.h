// Settings whose values have a form of their own, such as "500 steps". Internal to src/train.
#pragma once

#include <vector>

#include "base/option_visitor.h"
#include "train/config.h"

namespace graft::detail {

constexpr int64_t kMostSteps = int64_t{1} << 40, kMostRows = int64_t{1} << 40;
constexpr double kMostEpochs = 1e6;

OptionForm period_form(const char* key, Period& value);
OptionForm warmup_form(Warmup& value);
OptionForm cache_form(std::optional<int64_t>& value);
OptionForm mixture_form(std::vector<MixturePart>& value);
OptionForm eval_tasks_form(std::vector<EvalTask>& value);
OptionForm lengths_form(std::vector<RunLength>& value);

}  // namespace graft::detail
