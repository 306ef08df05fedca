// Checkpoints of a run: everything that a resume needs to go on bit for bit (doc/run_folder.md).
//
// checkpoints/step-N/ holds state.safetensors, state.json and, last of all, `complete`. A folder
// without that file does not count. Each file vouches for another: `complete` holds the digest of
// state.json, which holds that of the tensors. Randomness is a pure function of (seed, step, ...)
// and the order of rows one of (seed, epoch): neither is saved.
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
  double value = 0;   // of the primary metric, larger is better
  double loss = 0;    // decides between equal values
  // By what early_stop goes: the best value of the evaluations that count towards it, and how many
  // of them came since it was reached first.
  std::optional<double> counted = {};
  int64_t stale = 0;

  bool is_better_than(const BestSoFar& other) const;
  // One more that counts towards early_stop. A lower loss alone is no improvement.
  void count(double value_of_it);
};

struct Checkpoint {
  int64_t step = 0;       // updates done
  int64_t log_bytes = 0;  // length of log.jsonl at that moment
  int64_t tokens = 0;     // real tokens seen
  double seconds = 0;     // spent training so far
  std::string config;     // digest of run.yaml
  std::map<std::string, std::string>
      inputs;  // what was read ("the training data", ...) and its digest
  BestSoFar best;
  NamedTensors tensors;    // the adapter's, by their names
  NamedTensors optimizer;  // m/, v/, t/
};

// Writes checkpoints/step-N and removes older ones. A complete step-N stays as it is: the same run
// computes the same state. Throws IoError; the previous checkpoint then still stands.
void save_checkpoint(const Path& run_dir, const Checkpoint& checkpoint);

// The complete checkpoint with the most steps, or nothing. Throws InputError for that of a newer
// graft and for a damaged one: bytes that are not those written, a step that is not the folder's.
// Of version 1, which graft 0.1.0 wrote, state.json has no digest: its step and its tensors are
// checked.
std::optional<Checkpoint> load_newest_checkpoint(const Path& run_dir);

// Of a run that is done. Failures are ignored: what stays takes room and harms nothing.
void remove_checkpoints(const Path& run_dir);

}  // namespace graft
