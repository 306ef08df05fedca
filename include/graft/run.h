// Training runs: what is asked of one, and what it tells while it goes on. A run draws nothing and
// knows no terminal: whoever wants to see something, or to stop it, is an observer.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace graft {

// Empty strings are not given; what is given wins over `file`. A plain value.
struct RunRequest {
  std::string file;              // a run.yaml with any of the settings (doc/run_folder.md)
  std::string model, task, out;  // a folder or GGUF file; a task by name or file; the run's folder
  std::string adapter;           // what to train: a preset, or a YAML file
  std::string definition;        // instead of it the text of one: "edits: [{lora: {rank: 4}}]"
  std::string data, eval, test;  // rows; data may be a folder with train.* and dev.*
  std::vector<std::string> settings = {};      // "epochs=5", "adapter.rank=4"
  std::vector<std::string> ignored_keys = {};  // of the model's config.json
  bool ignores_model_generation = false;       // texts are written without the model's own settings
  std::string source = "request";              // what messages call it
};

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
  std::vector<std::pair<std::string, double>> scores = {};
  bool is_best = false;   // so far: the adapter that is kept, where the best is
  std::string text = {};  // the scores in a line
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

enum class RunEnd { kDone, kStopped };

// Trains to the end, or until the observer wants to stop; `out` then holds the adapter and
// metrics.json, or a checkpoint to go on from. `share`: the folder with presets/ and tasks/ that
// come by name (PREFIX/share/graft); empty: none do. `observer` may be null. Runs in folders of
// their own may train in several threads. Throws InputError listing every fault, before anything is
// written.
RunEnd train(const RunRequest& request, const std::string& share = {},
             Observer* observer = nullptr);

// How one of several runs ended.
struct RunOutcome {
  std::string out;  // its folder
  RunEnd end = RunEnd::kDone;
  std::string failure = {};  // why it failed, and the others went on; empty unless it did
  int64_t steps_done = 0, total_steps = 0;
};

// Trains several runs of one model, which is in memory once. Those that leave its weights alone
// share forward and backward passes; those that change them (full fine-tuning, BitFit) take turns.
// Each writes the files that `train` writes of it, bit for bit. `observers`: none, or one a run,
// which may be null; a run whose observer wants to stop leaves with a checkpoint, and the others go
// on. Throws InputError as `train` does, and for requests of different models, before anything is
// written.
std::vector<RunOutcome> train_together(const std::vector<RunRequest>& requests,
                                       const std::string& share = {},
                                       const std::vector<Observer*>& observers = {});

// Goes on with the run in folder `out`, bit for bit as if it had never stopped; one that is done
// stays as it is.
RunEnd resume(const std::string& out, const std::string& share = {}, Observer* observer = nullptr);

}  // namespace graft
