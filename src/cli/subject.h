// What eval and predict ask: a model, an adapter or none, and a task, as flags.
#pragma once

#include <list>
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
  std::vector<std::string> others;  // adapters beside the first
  std::vector<std::string> ignored_keys;
  RouteRequest route;
  DropoutRequest dropout;
  std::vector<std::string> gates;      // forced: VALUE, or NAME=VALUE
  std::vector<std::string> recording;  // what --records holds beside gates and routers
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
  std::vector<LoadedAdapter> others;
  SampleOptions samples;  // without the others

  bool has_samples() const { return num_samples(samples) > 1 || !others.empty(); }
  const Model& model() const { return *opened.model; }
  const Task& task() const { return subject.task; }
  // Throws InputError for the first row that one of the adapters cannot answer.
  void check_rows(const std::vector<Example>& examples) const;
};
AskedSubject load_asked(const SubjectFlags& flags);

// Its adapters as passes want them; `asked` must live as long.
class BoundSubject {
 public:
  explicit BoundSubject(const AskedSubject& asked);
  BoundSubject(const BoundSubject&) = delete;

  const BoundAdapter& first() const { return bound_.front(); }
  const SampleOptions& samples() const { return samples_; }

 private:
  std::list<BoundAdapter> bound_;
  SampleOptions samples_;
};

// --records FILE into `path`, and --record.
void add_records(CLI::App& command, SubjectFlags& flags, std::string& path);

// Throws InputError where `path`, the value of --records, is given and nothing in the adapter
// records anything.
void check_records(const AskedSubject& asked, const SubjectFlags& flags, const std::string& path);

// Of --record.
Recording recording_of(const SubjectFlags& flags);

}  // namespace graft
