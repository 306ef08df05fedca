// What a run reads: model, task, tokenized data.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "edit/adapter.h"
#include "infer/evaluate.h"
#include "model/trunk.h"
#include "train/batches.h"
#include "train/config.h"
#include "train/epochs.h"

namespace graft {

// A data set that is evaluated by a task of its own.
struct EvalTaskData {
  std::string name;
  Task task;
  EvalData data;
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
  Dataset train;                    // for a mixture, the rows of all parts, end to end
  std::optional<DrawnParts> parts;  // for a mixture
  std::optional<EvalData> eval, test;
  std::vector<EvalTaskData> eval_tasks;
  // The head in the model's folder, if it answers the task's labels; else empty.
  NamedTensors head_start = {};
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
// A setting without effect on this task, these rows or this length is refused if the user gave it,
// and reset if only the preset did. If texts are written, the model's own settings of generation
// are added to the run's (read_model_generation). Throws InputError; among others if a part of a
// mixture is not a task of texts, if the primary metrics of eval_tasks have no common mean, and if
// `model` is another one.
RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir,
                      std::shared_ptr<const Model> model = nullptr);

// Whether `model` is config.model in its precision.
bool is_model_of(const Model& model, const RunConfig& config);

// The keys with which all random draws of a run begin.
enum class Draws { kInitialValues, kOrder, kSteps };
RandomKey key_of(const RunConfig& config, Draws draws);
// The batches of the run.
Epochs epochs_of(const RunInputs& inputs);

}  // namespace graft
