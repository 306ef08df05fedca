// What eval and predict look at: a model, an adapter or none, a task, and the rows of a file.
#pragma once

#include <memory>
#include <string>

#include "edit/adapter_file.h"
#include "infer/evaluate.h"
#include "model/trunk.h"

namespace CLI {
class App;
}

namespace graft {

struct SubjectFlags {
  std::string model, adapter, task, data;
  RouteOptions route;
  GenerateOptions generate;
  Precision precision = Precision::kFloat32;
  int64_t threads = 0;
  bool is_quiet = false;
};

struct Subject {
  std::shared_ptr<const Model> model;
  LoadedAdapter loaded;          // without --adapter: no edits
  Task task;
  ModelText text;
  std::vector<Example> examples;
  int64_t max_length = 0;        // of their tokens
};

// The flags that both commands have.
void add_subject(CLI::App& command, SubjectFlags& flags);

// Loads all of it. Throws InputError where task, adapter and model do not belong together, or a task needs a head and has none.
Subject load_subject(const SubjectFlags& flags, LabelUse use);

}  // namespace graft
