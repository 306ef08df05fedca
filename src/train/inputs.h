// What a run reads: model, task, tokenized data.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "infer/evaluate.h"
#include "model/trunk.h"
#include "train/batches.h"
#include "train/config.h"
#include "train/epochs.h"

namespace graft {

// A data set that is scored by a task of its own.
struct EvalTaskData {
  std::string name;
  Task task;
  EvalData data;
  std::string group = {};  // tasks of one group count once in the mean; may be empty
};

// Everything a run reads, loaded and checked before its folder is touched.
struct RunInputs {
  RunConfig config;
  std::shared_ptr<const Model> model;
  Task task;
  ModelText text;
  std::string tokenizer_digest;
  int64_t max_length = 0;
  Dataset train;                    // of a mixture the rows of all parts, end to end
  std::optional<DrawnParts> parts;  // of a mixture
  std::optional<EvalData> eval, test;
  std::vector<EvalTaskData> eval_tasks;
  std::optional<Dataset> plain;  // of data.forgetting
  NamedTensors head_start =
      {};  // the head of the model's own folder, where it answers the task's labels; else empty
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
// InputError for another one.
RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir,
                      std::shared_ptr<const Model> model = nullptr);

// Whether `model` is config.model in its precision.
bool is_model_of(const Model& model, const RunConfig& config);

// What all random draws of a run begin with.
enum class Draws { kInitialValues, kOrder, kSteps };
RandomKey key_of(const RunConfig& config, Draws draws);
// The batches of the run.
Epochs epochs_of(const RunInputs& inputs);

}  // namespace graft
