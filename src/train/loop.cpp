#include "train/loop.h"

#include <csignal>

namespace graft {

namespace {

volatile std::sig_atomic_t g_signal = 0;  // written by the handler below and nowhere else

void note_signal(int number) {
  g_signal = number;
  std::signal(number, SIG_DFL);
}

class SignalGuard {
 public:
  SignalGuard()
      : interrupt_(std::signal(SIGINT, note_signal)),
        terminate_(std::signal(SIGTERM, note_signal)) {
    g_signal = 0;
  }
  ~SignalGuard() {
    std::signal(SIGINT, interrupt_);
    std::signal(SIGTERM, terminate_);
  }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

 private:
  void (*interrupt_)(int);
  void (*terminate_)(int);
};

}  // namespace

LoopEnd drive(std::vector<std::unique_ptr<Run>>& runs, int& signal) {
  const SignalGuard guard;
  for (auto& run : runs) {  // one that stopped between its last step and its end
    if (run->is_done()) run->finish();
  }
  for (bool is_working = true; is_working;) {
    is_working = false;
    for (auto& run : runs) {
      if (run->is_done()) continue;
      is_working = true;
      run->step();
      if (run->is_done()) run->finish();
      if (g_signal == 0) continue;
      bool is_left = false;
      for (auto& other : runs) {
        if (other->is_done()) continue;
        is_left = true;
        other->checkpoint();
      }
      if (!is_left) return LoopEnd::kDone;  // the signal came with the last step
      signal = g_signal;
      return LoopEnd::kInterrupted;
    }
  }
  return LoopEnd::kDone;
}

}  // namespace graft
