// One training run: an adapter, its data stream, optimizer, schedule and stop rule, and the folder
// it writes.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "edit/adapter_file.h"
#include "edit/lanes.h"
#include "graft/run.h"
#include "infer/dataset.h"
#include "infer/predict.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/epochs.h"
#include "train/inputs.h"
#include "train/log.h"
#include "train/optimizer.h"
#include "train/step_work.h"

namespace graft {

enum class StartMode { kFresh, kResume, kLengthen };

// How the adapter that was kept does at the end.
struct FinalEvaluations {
  std::optional<Evaluation> eval, test;
};

class Run {
 public:
  // kFresh: `config.out` must not hold a run yet. kResume: goes on from its newest checkpoint,
  // or from the start when there is none. kLengthen: the same after lengthen(), from a checkpoint
  // that must be there; run.yaml takes the new length. `observer`: may be null, and must outlive
  // the run.
  Run(RunInputs inputs, StartMode mode, Observer* observer = nullptr);
  // True when `dir` holds a run that came to its end: metrics.json is written last.
  static bool is_finished(const Path& dir);

  bool is_done() const;
  // Its observer asks for the end.
  bool wants_stop() const { return observer_.wants_stop(); }
  // One optimizer update: draw, passes, update. Throws InputError when loss or gradients are not
  // finite; the run is then as it was before the step.
  void step();
  // What the next step reads: for a driver that lets several runs share passes.
  StepWork draw();
  // Ends a step that was drawn, once its passes are done: clipping, optimizer, log, and the
  // evaluation and the checkpoint that fall due. `seconds`: the run's share of the passes. Throws
  // as step().
  void update(StepWork& work, double seconds);
  void checkpoint();
  // Scores the evaluation and test data with the adapter kept, ends the log, writes metrics.json,
  // removes the checkpoints but for the last one of a run that can be made longer
  // (keeps_last_state).
  FinalEvaluations finish();

  // Whether its adapter puts trained tensors in the place of the trunk's: such a run shares no
  // pass.
  bool rewrites_trunk() const { return adapter_.rewrites_trunk(); }
  const RunConfig& config() const { return inputs_.config; }
  int64_t steps_done() const { return step_; }
  int64_t total_steps() const { return epochs_.total_steps(); }

 private:
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
  Provenance provenance() const;

  RunInputs inputs_;
  Observer& observer_;
  Path dir_;
  Adapter adapter_;
  NamedTensors tensors_;
  std::unique_ptr<Optimizer> optimizer_;
  Epochs epochs_;
  std::unique_ptr<EventLog> log_;
  int64_t step_ = 0, tokens_ = 0;
  double seconds_ = 0;
  BestSoFar best_;
  std::map<std::string, std::string> digests_;  // of the inputs; made when first needed
};

}  // namespace graft
