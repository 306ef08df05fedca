#include "cli/study_forecast.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "train/optimizer.h"
#include "train/plan.h"
#include "train/start_from.h"
#include "train/step_work.h"

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
  Member own{member};
  try {
    const RunInputs inputs = inputs_.load(config_of(member, "-"));
    own.footprint = make_plan(inputs).memory;
    own.work = work_of(inputs);
  } catch (const InputError& error) {
    refused_.push_back({member.name, error.what()});
    return;
  }
  if (const int64_t bytes = own.footprint.peak(); bytes > limits_.memory) {
    throw InputError("about " + bytes_text(bytes) + " are needed at the peak, and " +
                     option_name("memory") + " has " + bytes_text(limits_.memory) +
                     ": lower batch_size, token_budget or max_length, raise accumulate instead, "
                     "or set save_memory: true or precision: bf16");
  }
  members_.push_back(std::move(own));
}

double StudyForecast::seconds_per_token(const Member& member) {
  constexpr int64_t kWarmup = 2, kTimed = 4;
  const std::string* method = member.planned.factor("method");
  const std::string* task = member.planned.factor("task");
  const std::string key =
      (method != nullptr ? *method : "") + "\n" + (task != nullptr ? *task : "");
  const auto [known, is_new] = seconds_per_token_.emplace(key, 0);
  if (!is_new) return known->second;
  const RunInputs inputs = inputs_.load(config_of(member.planned, "-"));
  const Adapter adapter(inputs.config.adapter, "adapter " + inputs.config.adapter_name,
                        {inputs.model->config, inputs.model->sites}, inputs.task);
  NamedTensors tensors = start_values(inputs, adapter);
  const auto optimizer = make_optimizer(adapter.params(), inputs.config);
  Epochs epochs = epochs_of(inputs);
  double seconds = 0;
  int64_t tokens = 0;
  for (int64_t step = 0; step < kWarmup + kTimed; ++step) {
    const auto start = std::chrono::steady_clock::now();
    const StepLoss loss = step_gradients(inputs, adapter, tensors,
                                         epochs.batches_of(step % epochs.total_steps()), step);
    clip_gradients(tensors, gradient_norm(tensors), inputs.config.clip);
    optimizer->step(tensors, 0);
    if (step < kWarmup) continue;
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    tokens += loss.tokens;
  }
  return known->second = seconds / static_cast<double>(std::max<int64_t>(tokens, 1));
}

void StudyForecast::check_rows() const {
  if (refused_.empty()) return;
  const auto& [name, reason] = refused_.front();
  const size_t others = refused_.size() - 1;
  throw InputError("member " + quote(name) +
                   (others == 0 ? "" : " and " + std::to_string(others) + " more") +
                   " cannot be trained: " + reason);
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
