// What a run reads: model, task, tokenized data.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "infer/dataset.h"
#include "model/trunk.h"
#include "train/config.h"

namespace graft {

// Everything a run reads, loaded and checked before its folder is touched.
struct RunInputs {
  RunConfig config;
  std::shared_ptr<const Model> model;
  Task task;
  std::string tokenizer_digest;
  int64_t max_length = 0;
  Dataset train;
  std::optional<Dataset> eval, test;
};

// Loads model, tokenizer and data as `config` says. `tasks_dir` holds the ready tasks.
RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir);

}  // namespace graft
