// What a person sees of a training run, and how a signal stops it.
#pragma once

#include <array>
#include <csignal>
#include <optional>

#include "cli/progress.h"
#include "graft/run.h"

namespace graft {

// While one exists SIGINT, SIGTERM and, where it is not ignored, SIGHUP are noted instead of ending
// the process; a second one of the kind ends it at once.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The number of the signal that came last, or 0.
  static int caught();

 private:
  static constexpr std::array kNumbers{SIGINT, SIGTERM, SIGHUP};

  void (*before_[kNumbers.size()])(int);  // what the process did about each
};

// Draws the run's bar and notes, and wants to stop when a signal was caught.
class TrainingProgress final : public Observer {
 public:
  explicit TrainingProgress(Verbosity verbosity) : verbosity_(verbosity) {}

  void started(int64_t steps_done, int64_t total_steps) override;
  void stepped(const StepReport& report) override;
  void evaluated(const EvaluationReport& report) override;
  void warned(const std::string& warning) override;
  void finished(const std::vector<std::string>& warnings) override;
  bool wants_stop() override;

 private:
  Verbosity verbosity_;
  std::optional<Progress> bar_;
};

}  // namespace graft
