// What eval and predict ask: a model, an adapter or none, and a task. Its rows come after, since
// any fault of these is told before one of theirs.
#pragma once

#include <memory>
#include <string>

#include "cli/generation.h"
#include "edit/adapter_file.h"
#include "infer/evaluate.h"
#include "model/trunk.h"

namespace CLI {
class App;
}

namespace graft {

struct SubjectFlags {
  std::string model, adapter, task, data, data_format;
  std::vector<std::string> ignored_keys;
  RouteOptions route;
  bool gives_routes = false, gives_route_seed = false, gives_route_unit = false;
  GenerationFlags generate;
  Precision precision = Precision::kFloat32;
  int64_t threads = 0;
  int64_t max_length = 0;  // tokens of a row; 0: as in training
  bool is_quiet = false;
};

struct Subject {
  std::shared_ptr<const Model> model;
  LoadedAdapter loaded;  // without --adapter: no edits, and the head of the model's folder where
                         // the task needs one
  Task task;
  ModelText text;
  int64_t max_length = 0;  // tokens of a row
};

// The name of --routing.
std::string routing_name(Routing routing);
// That of --route-unit.
std::string route_unit_name(RouteUnit unit);

// The flags that both commands have.
void add_subject(CLI::App& command, SubjectFlags& flags);

// Loads all of it. Throws InputError where task, adapter and model do not belong together, or a
// task needs a head and has none.
Subject load_subject(const SubjectFlags& flags);

// Throws InputError where `path`, the value of --records, is given and nothing in the adapter
// records anything.
void check_records(const Subject& subject, const SubjectFlags& flags, const std::string& path);

}  // namespace graft
