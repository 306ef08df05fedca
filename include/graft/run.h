// Training runs: how one is requested, and what it reports while it runs. A run prints nothing and
// knows no terminal. An observer receives its reports and may stop it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace graft {

// An empty string means "not given". What is given takes precedence over `file`. A plain value.
struct RunRequest {
  std::string file;              // a run.yaml with any of the settings (doc/run_folder.md)
  std::string model;             // a folder or a GGUF file
  std::string task;              // a name or a file
  std::string out;               // the folder of the run
  std::string adapter;           // what to train: a preset, or a YAML file
  std::string definition;        // or its text: "edits: [{lora: {rank: 4}}]"
  std::string data, eval, test;  // files of rows; data may be a folder with train.* and dev.*
  std::vector<std::string> settings = {};      // "epochs=5", "adapter.rank=4"
  std::vector<std::string> ignored_keys = {};  // of the model's config.json
  bool ignores_model_generation = false;       // texts are written without the model's own settings
  std::string source = "request";              // the name of the request in messages
};

struct StepReport {
  int64_t step = 0;  // steps done, including this one
  int64_t total_steps = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  int64_t tokens = 0;        // in this step
  double seconds = 0;        // that this step took
};

struct EvaluationReport {
  int64_t step = 0;
  double epoch = 0;
  // The loss and every metric on the evaluation rows. If data sets have tasks of their own, their
  // mean is here under "mean".
  std::vector<std::pair<std::string, double>> scores = {};
  bool is_best = false;   // the best evaluation so far
  std::string text = {};  // the scores in one line
};

// All methods are called between two steps, in the thread that steps the run. A slow call delays
// the run. An exception ends the run in the same way as an error inside it.
class Observer {
 public:
  virtual ~Observer() = default;

  // Before the first step, and when a run goes on from a checkpoint.
  virtual void started(int64_t /*steps_done*/, int64_t /*total_steps*/) {}
  virtual void stepped(const StepReport& /*report*/) {}
  virtual void evaluated(const EvaluationReport& /*report*/) {}
  // The checkpoint of this step is complete on disk.
  virtual void checkpointed(int64_t /*step*/) {}
  // Something is wrong that does not stop the run.
  virtual void warned(const std::string& /*warning*/) {}
  // The adapter and metrics.json are written. `warnings`: those of metrics.json.
  virtual void finished(const std::vector<std::string>& /*warnings*/) {}
  // Asked after every step. If it returns true, the run writes a checkpoint and ends; `resume` goes
  // on from there.
  virtual bool wants_stop() { return false; }
};

enum class RunEnd { kDone, kStopped };

// Trains to the end, or until the observer wants to stop. Afterwards `out` holds the adapter and
// metrics.json, or a checkpoint from which the run can be resumed.
//   share     the folder that holds presets/ and tasks/, those that are known by name
//             (PREFIX/share/graft); empty: none are, and a name is refused
//   observer  may be null
// Several threads may train at once if each run has a folder of its own. Throws InputError that
// lists every fault, before anything is written.
RunEnd train(const RunRequest& request, const std::string& share = {},
             Observer* observer = nullptr);

// How one of several runs ended.
struct RunOutcome {
  std::string out;  // its folder
  RunEnd end = RunEnd::kDone;
  std::string failure = {};  // why it failed; empty if it did not
  int64_t steps_done = 0, total_steps = 0;
};

// Trains several runs of one model, which is in memory once. Runs that leave the model's weights
// alone share forward and backward passes. Runs that change them (full fine-tuning, BitFit) take
// turns. Each run writes the same files as `train` does, bit for bit.
// `observers` is empty, or has one entry for each run, which may be null. If an observer wants to
// stop, its run ends with a checkpoint and the others go on; so they do if a run fails, or cannot
// begin because its folder cannot be made or two of its edits train one tensor. What else `train`
// refuses throws InputError before anything is written; so do requests that name different models
// or one folder twice.
std::vector<RunOutcome> train_together(const std::vector<RunRequest>& requests,
                                       const std::string& share = {},
                                       const std::vector<Observer*>& observers = {});

// Continues the run in the folder `out`. The result has the same bits as a run that never stopped.
// A run that has ended is left as it is.
RunEnd resume(const std::string& out, const std::string& share = {}, Observer* observer = nullptr);

}  // namespace graft
