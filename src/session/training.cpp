// Training runs for a program: graft/run.h.
#include "base/error.h"
#include "graft/run.h"
#include "session/run_request.h"
#include "train/lengthen.h"
#include "train/loop.h"

namespace graft {

namespace {

RunEnd drive_one(RunInputs inputs, StartMode mode, Observer* observer) {
  std::vector<std::unique_ptr<Run>> runs;
  runs.push_back(std::make_unique<Run>(std::move(inputs), mode, observer));
  return drive(runs);
}

}  // namespace

RunEnd train(const RunRequest& request, const std::string& share, Observer* observer) {
  const Share ready{share};
  return drive_one(load_inputs(resolve_run(request, ready), ready.tasks()), StartMode::kFresh,
                   observer);
}

RunEnd resume(const std::string& out, const std::string& share, Observer* observer) {
  if (Run::is_finished(out)) return RunEnd::kDone;
  return drive_one(load_inputs(read_run(out), Share{share}.tasks()), StartMode::kResume, observer);
}

}  // namespace graft
