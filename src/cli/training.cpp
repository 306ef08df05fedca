#include "cli/training.h"

#include <csignal>

#include "base/wording.h"

namespace graft {

namespace {

volatile std::sig_atomic_t g_signal = 0;  // written by the handler below and nowhere else

void note_signal(int number) {
  g_signal = number;
  std::signal(number, SIG_DFL);
}

}  // namespace

StopSignals::StopSignals() {
  g_signal = 0;
  for (size_t i = 0; i < kNumbers.size(); ++i) {
    before_[i] = std::signal(kNumbers[i], note_signal);
    // nohup has it ignored: the job is to outlive its terminal.
    if (kNumbers[i] == SIGHUP && before_[i] == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
  }
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < kNumbers.size(); ++i) std::signal(kNumbers[i], before_[i]);
}

int StopSignals::caught() { return g_signal; }

void TrainingProgress::started(int64_t steps_done, int64_t total_steps) {
  bar_.emplace("step", total_steps, steps_done, verbosity_);
}

void TrainingProgress::stepped(const StepReport& report) {
  const auto rate = static_cast<int64_t>(static_cast<double>(report.tokens) / report.seconds);
  bar_->update(report.step,
               "loss " + number_text(report.loss) + "  " + count_text(rate) + " tok/s");
}

void TrainingProgress::evaluated(const EvaluationReport& report) {
  bar_->note("evaluated at step " + count_text(report.step) + ": " + report.text);
}

void TrainingProgress::warned(const std::string& warning) { bar_->warn(warning); }

// What metrics.json warns of stands behind the summary.
void TrainingProgress::finished(const std::vector<std::string>&) { bar_->finish(); }

bool TrainingProgress::wants_stop() { return StopSignals::caught() != 0; }

}  // namespace graft
