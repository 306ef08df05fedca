// What a run reads: model, task, tokenized data.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "infer/evaluate.h"
#include "infer/kept_rows.h"
#include "model/trunk.h"
#include "train/batches.h"
#include "train/config.h"
#include "train/epochs.h"
#include "train/shared_rows.h"

namespace graft {

// A data set that is scored by a task of its own.
struct EvalTaskData {
  std::string name;
  Task task;
  std::shared_ptr<const EvalData> data;  // runs of a process share their rows
  std::string group = {};                // tasks of one group count once in the mean; may be empty
};

// Everything a run reads, loaded and checked before its folder is touched.
struct RunInputs {
  RunConfig config;
  std::shared_ptr<const Model> model;
  Task task;
  ModelText text;
  std::string tokenizer_digest;
  int64_t max_length = 0;
  // Of a mixture the rows of all parts, end to end.
  std::shared_ptr<const Dataset> train = std::make_shared<const Dataset>();
  std::optional<DrawnParts> parts;             // of a mixture
  std::shared_ptr<const EvalData> eval, test;  // null where there are none
  std::vector<EvalTaskData> eval_tasks;
  NamedTensors head_start =
      {};  // the head of the model's own folder, where it answers the task's labels; else empty
  // Of the rows that pass more than once, where that is worth it (train/row_cache.h); else null.
  std::shared_ptr<KeptRows> kept_train = {}, kept_eval = {};
  std::shared_ptr<KeptPool> kept_pool =
      std::make_shared<KeptPool>();  // of the runs that share rows
  std::string head_note = {};  // what became of such a head; empty where the folder brings none
  std::string generation_note = {};  // a line for the user: what the model's own settings add to
                                     // config.generation; may be empty
};

// Loads model, tokenizer and data as `config` says. `tasks_dir` holds the ready tasks. Throws
// InputError; of a mixture also where a part is no task of texts, of eval_tasks where their primary
// metrics have no common mean. A setting that task, rows or length leave without effect is refused
// where the user gave it, and its default again where only the preset did. Where texts are written,
// the model's own settings of generation are taken into the run's (read_model_generation).
// `model`: config.model in its precision, when it is in memory already; else it is loaded. Throws
// InputError for another one. `shared`: of runs that load in one process one after another; what
// two of them read alike is read and tokenised once, and theirs together. May be null.
RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir,
                      std::shared_ptr<const Model> model = nullptr, SharedRows* shared = nullptr);

// Whether `model` is config.model in its precision.
bool is_model_of(const Model& model, const RunConfig& config);

// What all random draws of a run begin with.
enum class Draws { kInitialValues, kOrder, kSteps };
RandomKey key_of(const RunConfig& config, Draws draws);
// The batches of the run.
Epochs epochs_of(const RunInputs& inputs);

}  // namespace graft
