// What eval and predict ask: a model, an adapter or none, and a task, as flags.
#pragma once

#include <string>
#include <vector>

#include "cli/generation.h"
#include "session/subject.h"

namespace CLI {
class App;
}

namespace graft {

struct SubjectFlags {
  std::string model, adapter, task, data, data_format;
  std::vector<std::string> ignored_keys;
  RouteRequest route;
  GenerationRequest generate;
  Precision precision = Precision::kFloat32;
  int64_t threads = 0;
  int64_t max_length = 0;  // tokens of a row; 0: as in training
  bool is_quiet = false;
};

// The flags that both commands have.
void add_subject(CLI::App& command, SubjectFlags& flags);

// All that the flags name, loaded and checked.
struct AskedSubject {
  OpenedModel opened;
  Subject subject;
  RouteOptions route;

  const Model& model() const { return *opened.model; }
  const Task& task() const { return subject.task; }
};
AskedSubject load_asked(const SubjectFlags& flags);

// Throws InputError where `path`, the value of --records, is given and nothing in the adapter
// records anything.
void check_records(const AskedSubject& asked, const SubjectFlags& flags, const std::string& path);

}  // namespace graft
