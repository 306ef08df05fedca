#include "train/epochs.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace graft {

Epochs::Epochs(std::vector<int64_t> lengths, BatchOptions options, int64_t accumulate,
               double epochs, int64_t max_steps)
    : lengths_(std::move(lengths)),
      options_(std::move(options)),
      accumulate_(accumulate),
      first_step_{0} {
  ensure(!lengths_.empty(), "a run has at least one training row");
  const bool is_bounded_by_steps = max_steps > 0;
  for (int64_t epoch = 0;
       is_bounded_by_steps ? first_step_.back() < max_steps : static_cast<double>(epoch) < epochs;
       ++epoch) {
    first_step_.push_back(first_step_.back() + steps_in(epoch));
  }
  if (is_bounded_by_steps) {
    total_steps_ = max_steps;
  } else if (first_step_.size() > 1) {
    const double part = epochs - std::floor(epochs);
    const int64_t last = first_step_[first_step_.size() - 2];
    // 1.1 - 1 is a little above a tenth.
    const double steps = part * static_cast<double>(first_step_.back() - last) - 1e-9;
    total_steps_ = part == 0 ? first_step_.back() : last + static_cast<int64_t>(std::ceil(steps));
  }
}

int64_t Epochs::steps_in(int64_t epoch) const {
  // Batches of rows are as many in every epoch; those of tokens depend on the order.
  const int64_t batches =
      options_.token_budget > 0
          ? static_cast<int64_t>(plan_epoch(lengths_, options_, epoch).size())
          : (epoch_rows(lengths_, options_) + options_.batch_size - 1) / options_.batch_size;
  return (batches + accumulate_ - 1) / accumulate_;
}

std::pair<int64_t, int64_t> Epochs::place_of(int64_t step) const {
  const auto after = std::upper_bound(first_step_.begin(), first_step_.end(), step);
  const int64_t epoch = after - first_step_.begin() - 1;
  return {epoch, step - first_step_[static_cast<size_t>(epoch)]};
}

std::vector<Batch> Epochs::batches_of(int64_t step) {
  ensure(step >= 0 && step < total_steps_, "a step of this run");
  const auto [epoch, within] = place_of(step);
  if (epoch != planned_epoch_) {
    plan_ = plan_epoch(lengths_, options_, epoch);
    planned_epoch_ = epoch;
  }
  const auto begin = plan_.begin() + within * accumulate_;
  return {begin, begin + std::min<int64_t>(accumulate_, plan_.end() - begin)};
}

double Epochs::epochs_done(int64_t steps) const {
  const auto [epoch, within] = place_of(steps);
  if (static_cast<size_t>(epoch) + 1 >= first_step_.size()) return static_cast<double>(epoch);
  const int64_t length =
      first_step_[static_cast<size_t>(epoch) + 1] - first_step_[static_cast<size_t>(epoch)];
  return static_cast<double>(epoch) + static_cast<double>(within) / static_cast<double>(length);
}

bool Epochs::falls_due(const Period& period, int64_t steps) const {
  if (period.unit == Period::Unit::kNever) return false;
  const auto borders_passed = [&](int64_t done) {
    const double units =
        period.unit == Period::Unit::kSteps ? static_cast<double>(done) : epochs_done(done);
    return std::floor(units / period.count + 1e-9);
  };
  return borders_passed(steps) > borders_passed(steps - 1);
}

}  // namespace graft
