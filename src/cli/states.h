// What collect and steer read: which states of which rows, as flags.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "feed/dataset.h"
#include "session/loading.h"

namespace CLI {
class App;
}

namespace graft {

struct StateFlags {
  std::string model, adapter, task, data, data_format;
  std::vector<std::string> ignored_keys;
  std::vector<std::string> sites = {"enc.*.out|out"};
  std::vector<int64_t> layers = {-1};
  std::string positions = "last";
  Precision precision = Precision::kFloat32;
  int64_t threads = 0;
  int64_t max_length = 0;
};

void add_states(CLI::App& command, StateFlags& flags);

// What is to be computed.
struct AskedStates {
  OpenedModel opened;
  std::optional<LoadedAdapter> loaded;
  Task task;
  Table table;
  Dataset data;
  Adapter adapter;  // with an edit that collects
  int64_t max_length = 0;

  const std::vector<Site>& sites() const;  // in the order of execution
};

// Throws InputError where model, adapter, task, rows and sites do not belong together.
AskedStates read_asked_states(const StateFlags& flags, LabelUse labels);

// [rows, K] float32, site by site.
at::Tensor compute_states(const AskedStates& asked);

}  // namespace graft
