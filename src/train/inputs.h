// What a run reads: model, task, tokenized data.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "edit/adapter.h"
#include "infer/evaluate.h"
#include "infer/kept_rows.h"
#include "model/trunk.h"
#include "train/batches.h"
#include "train/config.h"
#include "train/epochs.h"
#include "train/shared_rows.h"

namespace graft {

// A data set that is evaluated by a task of its own.
struct EvalTaskData {
  std::string name;
  Task task;
  std::shared_ptr<const EvalData> data;  // runs of a process share their rows
  std::string group = {};  // the tasks of a group count once in the mean; may be empty
};

// Everything that a run reads. It is loaded and checked before the run's folder is touched.
struct RunInputs {
  RunConfig config;
  std::shared_ptr<const Model> model;
  Task task;
  std::shared_ptr<const Adapter> adapter;  // as config.adapter defines it
  ModelText text;
  std::string tokenizer_digest;
  int64_t max_length = 0;
  // For a mixture, the rows of all parts, end to end.
  std::shared_ptr<const Dataset> train = std::make_shared<const Dataset>();
  std::optional<DrawnParts> parts;             // for a mixture
  std::shared_ptr<const EvalData> eval, test;  // null where there are none
  std::vector<EvalTaskData> eval_tasks;
  std::optional<Dataset> plain = {};  // of data.forgetting
  // The head in the model's folder, if it answers the task's labels; else empty.
  NamedTensors head_start = {};
  // For rows that pass more than once, where that is worth it (train/row_cache.h); else null.
  std::shared_ptr<KeptRows> kept_train = {}, kept_eval = {};
  // Of the runs that share rows.
  std::shared_ptr<KeptPool> kept_pool = std::make_shared<KeptPool>();
  // A line for the user about that head; empty if the folder has none.
  std::string head_note = {};
  // A line for the user: what the model's own settings add to config.generation. May be empty.
  std::string generation_note = {};
};

// The adapter that the settings define, with a head for a task that has one. Throws InputError for
// a definition that does not fit the model or the task.
std::shared_ptr<const Adapter> defined_adapter(const RunConfig& config, const ModelConfig& model,
                                               const Task& task);

// Loads model, tokenizer and data as `config` says.
//   tasks_dir  holds the ready tasks
//   model      config.model in its precision, if it is in memory already; null: it is loaded
//   shared     for runs that load in one process, one after another: what two of them read alike
//              is read and tokenised once, and belongs to both. May be null.
// A setting without effect on this task, these rows or this length is refused if the user gave it,
// and reset if only the preset did. If texts are written, the model's own settings of generation
// are added to the run's (read_model_generation). Throws InputError; among others if a part of a
// mixture is not a task of texts, if the primary metrics of eval_tasks have no common mean, and if
// `model` is another one.
RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir,
                      std::shared_ptr<const Model> model = nullptr, SharedRows* shared = nullptr);

// Whether `model` is config.model in its precision.
bool is_model_of(const Model& model, const RunConfig& config);

// The keys with which all random draws of a run begin.
enum class Draws { kInitialValues, kOrder, kSteps };
RandomKey key_of(const RunConfig& config, Draws draws);
// The batches of the run.
Epochs epochs_of(const RunInputs& inputs);

}  // namespace graft
