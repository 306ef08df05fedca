// Training runs for a program: graft/run.h.
#include "base/error.h"
#include "base/wording.h"
#include "graft/run.h"
#include "session/run_request.h"
#include "train/lengthen.h"
#include "train/loop.h"
#include "train/members.h"

namespace graft {

namespace {

RunEnd drive_one(RunInputs inputs, StartMode mode, Observer* observer) {
  Run run(std::move(inputs), mode, observer);
  return drive(run);
}

// All that the runs read; the model of the first is that of the others.
std::vector<RunInputs> load_together(const std::vector<RunRequest>& requests, const Share& share) {
  std::vector<RunInputs> out;
  SharedRows rows;
  for (const RunRequest& request : requests) {
    const RunConfig config = resolve_run(request, share);
    out.push_back(
        load_inputs(config, share.tasks(), out.empty() ? nullptr : out.front().model, &rows));
  }
  return out;
}

RunOutcome outcome_of(const Members::Status& status) {
  return {.out = status.out,
          .end = status.state == Members::State::kDone ? RunEnd::kDone : RunEnd::kStopped,
          .failure = status.failure,
          .steps_done = status.steps_done,
          .total_steps = status.total_steps};
}

}  // namespace

RunEnd train(const RunRequest& request, const std::string& share, Observer* observer) {
  const Share ready{share};
  return drive_one(load_inputs(resolve_run(request, ready), ready.tasks()), StartMode::kFresh,
                   observer);
}

std::vector<RunOutcome> train_together(const std::vector<RunRequest>& requests,
                                       const std::string& share,
                                       const std::vector<Observer*>& observers) {
  if (!observers.empty() && observers.size() != requests.size())
    throw InputError("observers: expected none or one a run, found " +
                     plural(static_cast<int64_t>(observers.size()), "observer") + " of " +
                     plural(static_cast<int64_t>(requests.size()), "run"));
  const auto observer_of = [&](size_t i) { return observers.empty() ? nullptr : observers[i]; };
  Members members;
  std::vector<RunInputs> inputs = load_together(requests, Share{share});
  for (size_t i = 0; i < inputs.size(); ++i)
    members.join(std::move(inputs[i]), StartMode::kFresh, observer_of(i));
  while (!members.is_done()) {
    members.step();
    for (size_t i = 0; i < members.size(); ++i) {
      const bool trains = members.status(i).state == Members::State::kTraining;
      if (trains && observer_of(i) != nullptr && observer_of(i)->wants_stop()) members.leave(i);
    }
  }
  std::vector<RunOutcome> out;
  for (size_t i = 0; i < members.size(); ++i) out.push_back(outcome_of(members.status(i)));
  return out;
}

RunEnd resume(const std::string& out, const std::string& share, Observer* observer) {
  const RunConfig config = read_run(out);
  if (Run::is_finished(out)) {
    Run::clear_finished(config, out);
    return RunEnd::kDone;
  }
  return drive_one(load_inputs(config, Share{share}.tasks()), StartMode::kResume, observer);
}

}  // namespace graft
