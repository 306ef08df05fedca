// A training run in memory: random sequences on a golden model, in a folder of its own.
#pragma once

#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/run.h"

namespace graft::testing {

using TrainingRun = graft::Run;  // inside a TEST, Run is GoogleTest's

// `rows` training rows of 1..20 tokens with three labels; no evaluation data, dropout 0, no
// checkpoints unless `settings` says so. `settings`: YAML over the defaults, as in run.yaml. `out`:
// the run's folder.
RunInputs run_inputs(const std::string& definition, const Path& out, const std::string& settings,
                     int64_t rows = 24);

// Its training rows, as a copy that may be changed.
Dataset& own_rows(RunInputs& inputs);
// Of every three rows one names row 0 of a subspace, and one the rows 1 and 2.
void name_subspaces(Dataset& rows);
// The same rows for evaluations.
std::shared_ptr<const EvalData> evaluation_rows(const RunInputs& inputs);
// Another task for the run, and the adapter's head for it.
void set_task(RunInputs& inputs, const Task& task);

// Drives a run to its end (or to `steps`), without finishing it.
void drive_to(Run& run, int64_t steps = INT64_MAX);

std::vector<Node> log_events(const Path& run_dir, const std::string& kind);

}  // namespace graft::testing
