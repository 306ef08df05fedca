// One training run: an adapter, its data, optimizer, schedule and stop rule, and the folder that it
// writes.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "edit/adapter_file.h"
#include "edit/bound_adapter.h"
#include "feed/dataset.h"
#include "graft/run.h"
#include "infer/predict.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/epochs.h"
#include "train/inputs.h"
#include "train/log.h"
#include "train/step_work.h"
#include "train/train_state.h"

namespace graft {

enum class StartMode { kFresh, kResume, kLengthen };

// How the adapter that was kept does at the end.
struct FinalEvaluations {
  std::optional<Evaluation> eval, test;
};

// Throws InputError where `dir` holds a run.
void check_no_run(const Path& dir);

class Run {
 public:
  // kFresh: `config.out` must not hold a run yet. kResume: continues from its newest checkpoint, or
  // begins if there is none. kLengthen: the same after lengthen(), and a checkpoint must be there;
  // run.yaml gets the new length. `observer` may be null, and must outlive the run.
  Run(RunInputs inputs, StartMode mode, Observer* observer = nullptr);
  // Whether `dir` holds a run that has ended: metrics.json is written last.
  static bool is_finished(const Path& dir);
  // Takes away what a process that was killed behind metrics.json left. Requires: is_finished.
  static void clear_finished(const RunConfig& config, const Path& dir);

  bool is_done() const;
  // Whether its observer wants to stop.
  bool wants_stop() const { return observer_.wants_stop(); }
  // One optimizer update: draw, passes, update. Throws InputError if loss or gradients are not
  // finite; the run is then as it was before the step.
  void step();
  // The work of the next step, for a driver that lets several runs share passes.
  StepWork draw();
  // Completes a step that was drawn, after its passes: clips gradients, moves the tensors, writes
  // the log, and makes the evaluation and the checkpoint that are due. `seconds`: the run's share
  // of the time of the passes. Throws as step().
  void update(StepWork& work, double seconds);
  void checkpoint();
  // Scores the adapter that is kept on the evaluation and test data, ends the log, writes
  // metrics.json and removes the checkpoints; the last one stays if the run can be made longer
  // (keeps_last_state).
  FinalEvaluations finish();

  // Whether its adapter replaces tensors of the trunk. Such a run shares no pass.
  bool rewrites_trunk() const { return adapter_.rewrites_trunk(); }
  const RunConfig& config() const { return inputs_.config; }
  int64_t steps_done() const { return step_; }
  int64_t total_steps() const { return epochs_.total_steps(); }

 private:
  // What metrics.json, records.json and the user are told at the end.
  struct FinalReport {
    Node metrics, recorded;
    std::vector<std::string> warnings;
  };

  void open_folder(StartMode mode);
  void take_new_length(const std::optional<Checkpoint>& newest);
  void log_start();
  void restore(const Checkpoint& checkpoint);
  const std::map<std::string, std::string>& input_digests();
  void check_first_gradients() const;
  void name_still_tensors();
  void check_finite(double loss, double norm, double rate);
  void evaluate(bool is_due);
  EvaluateOptions evaluate_options() const;
  bool has_eval() const { return inputs_.eval || !inputs_.eval_tasks.empty(); }
  void save_adapter_folder();
  void end_training(bool has_best);
  FinalEvaluations score(const BoundAdapter& bound, FinalReport& report) const;
  void report_course(FinalReport& report);
  Provenance provenance() const;

  RunInputs inputs_;
  Observer& observer_;
  Path dir_;
  const Adapter& adapter_;
  TrainState state_;
  Epochs epochs_;
  std::unique_ptr<EventLog> log_;
  int64_t step_ = 0, tokens_ = 0;
  double seconds_ = 0;
  BestSoFar best_;
  std::map<std::string, std::string> digests_;  // of the inputs; made when first needed
};

}  // namespace graft
