// Seconds on the clock of the machine, for what is told of speed.
#pragma once

#include <chrono>

namespace graft {

// Runs from where it is made.
class Timer {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace graft
