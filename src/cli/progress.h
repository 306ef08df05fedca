// What a person sees while a run goes on: a bar that redraws itself on a terminal, a plain line now
// and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace graft {

enum class Verbosity { kQuiet, kNormal };

class Progress {
 public:
  // `total` units of `what` ("step", "row"). Writes to standard error. `parts`: in how many parts
  // of a unit all counts are given.
  Progress(std::string what, int64_t total, int64_t done, Verbosity verbosity, int64_t parts = 1);

  // After each unit. `detail` is shown behind the bar: "loss 0.412  12,300 tok/s".
  void update(int64_t done, const std::string& detail);
  // A line that stays: an evaluation, a checkpoint.
  void note(const std::string& line);
  // One that something is wrong, also where all else is quiet.
  void warn(const std::string& warning);
  // Clears the bar.
  void finish();

 private:
  void draw(const std::string& detail);

  std::string what_;
  int64_t total_, done_, first_, parts_;
  bool is_quiet_, is_terminal_;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace graft
