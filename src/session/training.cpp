// Training runs for a program: graft/run.h.
#include <filesystem>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "graft/run.h"
#include "session/public_errors.h"
#include "session/run_request.h"
#include "train/lengthen.h"
#include "train/loop.h"
#include "train/members.h"

namespace graft {

namespace fs = std::filesystem;

namespace {

RunEnd drive_one(RunInputs inputs, StartMode mode, Observer* observer) {
  Run run(std::move(inputs), mode, observer);
  return drive(run);
}

// Each run has a folder of its own, in which no run is.
void check_folders(const std::vector<RunConfig>& configs) {
  std::set<Path> taken;
  for (const RunConfig& config : configs) {
    check_no_run(config.out);
    if (!taken.insert(fs::weakly_canonical(Path(config.out) / "run.yaml")).second)
      throw InputError(option_name("out") + ": '" + config.out +
                       "' is the folder of two of the runs; give each its own");
  }
}

// All that the runs read; the model of the first is that of the others.
std::vector<RunInputs> load_together(const std::vector<RunRequest>& requests, const Share& share) {
  std::vector<RunConfig> configs;
  for (const RunRequest& request : requests) configs.push_back(resolve_run(request, share));
  check_folders(configs);
  std::vector<RunInputs> out;
  SharedRows rows;
  for (const RunConfig& config : configs)
    out.push_back(
        load_inputs(config, share.tasks(), out.empty() ? nullptr : out.front().model, &rows));
  return out;
}

std::string lower_memory_together() {
  return std::string(kLowerMemory) + ", or train fewer runs at once";
}

// A run among others: its place in the list of members, or why it could not begin.
struct Joined {
  std::string out;  // its folder
  std::optional<size_t> place = {};
  std::string failure = {};
};

// What goes wrong while one begins (its folder cannot be made) is that run's own, as it is later:
// those that have begun go on.
Joined join(Members& members, RunInputs inputs, Observer* observer) {
  Joined joined{.out = inputs.config.out};
  try {
    joined.place = with_public_errors(lower_memory_together(), [&] {
      return members.join(std::move(inputs), StartMode::kFresh, observer);
    });
  } catch (const InputError& error) {
    joined.failure = error.what();
  } catch (const IoError& error) {
    joined.failure = error.what();
  }
  return joined;
}

RunOutcome outcome_of(const Members& members, const Joined& joined) {
  if (!joined.place) return {.out = joined.out, .end = RunEnd::kStopped, .failure = joined.failure};
  const Members::Status& status = members.status(*joined.place);
  return {.out = status.out,
          .end = status.state == Members::State::kDone ? RunEnd::kDone : RunEnd::kStopped,
          .failure = status.failure,
          .steps_done = status.steps_done,
          .total_steps = status.total_steps};
}

std::vector<RunOutcome> drive_together(std::vector<RunInputs> inputs,
                                       const std::vector<Observer*>& observers) {
  const auto observer_of = [&](size_t i) { return observers.empty() ? nullptr : observers[i]; };
  Members members;
  std::vector<Joined> all;
  for (size_t i = 0; i < inputs.size(); ++i)
    all.push_back(join(members, std::move(inputs[i]), observer_of(i)));
  const auto stops = [&](size_t i) {
    const bool trains =
        all[i].place && members.status(*all[i].place).state == Members::State::kTraining;
    return trains && observer_of(i) != nullptr && observer_of(i)->wants_stop();
  };
  while (!members.is_done()) {
    members.step();
    for (size_t i = 0; i < all.size(); ++i) {
      if (stops(i)) members.leave(*all[i].place);
    }
  }
  std::vector<RunOutcome> out;
  for (const Joined& joined : all) out.push_back(outcome_of(members, joined));
  return out;
}

}  // namespace

RunEnd train(const RunRequest& request, const std::string& share, Observer* observer) {
  return with_public_errors(kLowerMemory, [&] {
    const Share ready{share};
    return drive_one(load_inputs(resolve_run(request, ready), ready.tasks()), StartMode::kFresh,
                     observer);
  });
}

std::vector<RunOutcome> train_together(const std::vector<RunRequest>& requests,
                                       const std::string& share,
                                       const std::vector<Observer*>& observers) {
  if (!observers.empty() && observers.size() != requests.size())
    throw InputError("observers: expected none or one a run, found " +
                     counted(std::ssize(observers), "observer") + " for " +
                     counted(std::ssize(requests), "run"));
  return with_public_errors(lower_memory_together(), [&] {
    return drive_together(load_together(requests, Share{share}), observers);
  });
}

RunEnd resume(const std::string& out, const std::string& share, Observer* observer) {
  return with_public_errors(kLowerMemory, [&] {
    const RunConfig config = read_run(out);
    if (Run::is_finished(out)) {
      Run::clear_finished(config, out);
      return RunEnd::kDone;
    }
    check_paths(config);
    return drive_one(load_inputs(config, Share{share}.tasks()), StartMode::kResume, observer);
  });
}

}  // namespace graft
