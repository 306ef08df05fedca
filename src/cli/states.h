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

struct States {
  OpenedModel opened;
  Task task;
  Table table;
  Dataset data;
  int64_t max_length = 0;
  std::vector<Site> sites;  // in the order of execution
  at::Tensor values;        // [rows, K] float32, site by site
};

// Throws InputError where model, adapter, task, rows and sites do not belong together.
States read_states(const StateFlags& flags, LabelUse labels);

}  // namespace graft
