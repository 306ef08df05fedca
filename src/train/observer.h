// What a run tells while it goes on. The run draws nothing and knows no terminal: whoever wants to
// see something, or to stop it, is an observer.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace graft {

struct StepReport {
  int64_t step = 0;  // done, this one included
  int64_t total_steps = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  int64_t tokens = 0;        // of this step
  double seconds = 0;        // of this step
};

struct EvaluationReport {
  int64_t step = 0;
  double epoch = 0;
  // The loss and every metric on the evaluation rows; "mean" of data sets with tasks of their own.
  std::vector<std::pair<std::string, double>> scores;
  bool is_best = false;  // so far: the adapter that is kept, where the best is
  std::string text;      // the scores in a line
};

// Called from the thread that steps the run, between its steps: a call that takes long delays it,
// and an exception ends it as an error of its own would.
class Observer {
 public:
  virtual ~Observer() = default;

  // Before the first step, and when a run goes on from a checkpoint.
  virtual void started(int64_t /*steps_done*/, int64_t /*total_steps*/) {}
  virtual void stepped(const StepReport& /*report*/) {}
  virtual void evaluated(const EvaluationReport& /*report*/) {}
  // A checkpoint of this step is whole on the disk.
  virtual void checkpointed(int64_t /*step*/) {}
  // Something is wrong that does not stop the run.
  virtual void warned(const std::string& /*warning*/) {}
  // The adapter and metrics.json are written. `warnings`: those of metrics.json.
  virtual void finished(const std::vector<std::string>& /*warnings*/) {}
  // Asked after every step: true ends the run with a checkpoint to go on from.
  virtual bool wants_stop() { return false; }
};

}  // namespace graft
