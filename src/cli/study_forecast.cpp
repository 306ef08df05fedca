#include "cli/study_forecast.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "train/plan.h"
#include "train/step_timing.h"

namespace graft {

namespace {

constexpr double kForwardShare = 1.0 / 3;

// How often rows that choose are scored before the end.
int64_t evaluations_between(const RunInputs& inputs, const Epochs& epochs) {
  int64_t out = 0;
  for (int64_t step = 1; step <= epochs.total_steps(); ++step) {
    if (step == epochs.total_steps() || epochs.falls_due(inputs.config.evaluate_every, step)) ++out;
  }
  return out;
}

}  // namespace

MemberWork work_of(const RunInputs& inputs) {
  const Epochs epochs = epochs_of(inputs);
  double choosing = 0;  // tokens of the rows that choose
  if (inputs.eval != nullptr) choosing += static_cast<double>(inputs.eval->rows.num_tokens);
  for (const EvalTaskData& each : inputs.eval_tasks)
    choosing += static_cast<double>(each.data->rows.num_tokens);
  const double judging =
      inputs.test != nullptr ? static_cast<double>(inputs.test->rows.num_tokens) : 0;
  const auto trained =
      static_cast<double>(inputs.train->num_tokens) * epochs.epochs_done(epochs.total_steps());
  const auto between = static_cast<double>(evaluations_between(inputs, epochs));
  return {trained + kForwardShare * between * choosing, kForwardShare * (choosing + judging)};
}

void StudyForecast::add(const PlannedMember& member) {
  const RunInputs inputs = inputs_.load(config_of(member, "-"));
  Member own{member, make_plan(inputs).memory, work_of(inputs)};
  if (const int64_t bytes = own.footprint.peak(); bytes > limits_.memory) {
    throw InputError("about " + bytes_text(bytes) + " are needed at the peak, and " +
                     option_name("memory") + " has " + bytes_text(limits_.memory) +
                     ": lower batch_size, token_budget or max_length, raise accumulate instead, "
                     "or set save_memory: true or precision: bf16");
  }
  members_.push_back(std::move(own));
}

double StudyForecast::seconds_per_token(const Member& member) {
  const std::string* method = member.planned.factor("method");
  const std::string* task = member.planned.factor("task");
  const std::string key =
      (method != nullptr ? *method : "") + "\n" + (task != nullptr ? *task : "");
  const auto [known, is_new] = seconds_per_token_.emplace(key, 0);
  if (!is_new) return known->second;
  return known->second = graft::seconds_per_token(inputs_.load(config_of(member.planned, "-")));
}

// As StudyMembers takes them when members that begin together end together.
std::string StudyForecast::text() {
  size_t groups = 0, most = 0;
  int64_t peak = 0;
  double seconds = 0;
  std::vector<Footprint> group;
  for (const Member& member : members_) {
    const double a_token = seconds_per_token(member);
    seconds += a_token * (member.work.steps + member.work.last);
    group.push_back(member.footprint);
    const bool fits = group.size() <= limits_.together &&
                      peak_bytes_together(group, Members::kPassTokens) <= limits_.memory;
    if (!fits || group.size() == 1) ++groups;
    if (!fits) group = {member.footprint};
    most = std::max(most, group.size());
    peak = std::max(peak, peak_bytes_together(group, Members::kPassTokens));
  }
  if (members_.empty()) return "";
  return "together: " + std::to_string(most) + " at most, in " +
         counted(static_cast<int64_t>(groups), "group") + ", about " + bytes_text(peak) + " of " +
         bytes_text(limits_.memory) + " at the peak\ntime: about " + duration_text(seconds) +
         ", one after another and without what the cache saves\n";
}

}  // namespace graft
