// Checkpoints of a run: everything that a resume needs to go on bit for bit (doc/run_folder.md).
//
// checkpoints/step-N/ holds state.safetensors, state.json and, last of all, an empty file `complete`. A folder without that file
// does not count. Randomness is a pure function of (seed, step, ...) and the order of rows one of (seed, epoch):
// neither is saved.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/files.h"
#include "tensor/named_tensors.h"

namespace graft {

struct BestSoFar {
  int64_t step = -1;  // -1: no evaluation yet
  double value = 0;   // of the primary metric
  int64_t stale = 0;  // evaluations since
};

struct Checkpoint {
  int64_t step = 0;                           // updates done
  int64_t log_bytes = 0;                      // length of log.jsonl at that moment
  int64_t tokens = 0;                         // real tokens seen
  double seconds = 0;                         // spent training so far
  std::string config;                         // digest of run.yaml
  std::map<std::string, std::string> inputs;  // what was read ("the training data", ...) and its digest
  BestSoFar best;
  NamedTensors tensors;    // the adapter's, by their names
  NamedTensors optimizer;  // m/, v/, t/
};

// Writes checkpoints/step-N and removes older ones. A complete step-N stays as it is: the same run computes the same state.
// Throws IoError; the previous checkpoint then still stands.
void save_checkpoint(const Path& run_dir, const Checkpoint& checkpoint);

// The complete checkpoint with the most steps, or nothing. Throws InputError for a damaged one.
std::optional<Checkpoint> load_newest_checkpoint(const Path& run_dir);

// Of a run that is done. Failures are ignored: what stays takes room and harms nothing.
void remove_checkpoints(const Path& run_dir);

}  // namespace graft
