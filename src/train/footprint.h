// The peak memory of a training run, from shapes alone: what lies in memory all the time, and what
// a step adds to it.
#pragma once

#include <cstdint>
#include <vector>

#include "edit/adapter.h"
#include "model/config.h"
#include "model/weights.h"

namespace graft {

// Batches of a run, and how they are computed.
struct PlanShape {
  double mean_length = 32;  // tokens of a row, in the first stack
  double mean_target =
      0;  // tokens of a row that are to be given; in an encoder-decoder those of the decoder
  int64_t batch_rows = 32;
  int64_t batch_tokens = 1024;  // real tokens of a micro-batch, in the first stack
  int64_t passes = 1;           // over the rows: two with a consistency loss
  Precision precision = Precision::kFloat32;
  bool saves_memory = false;
  double stored_item = 4;  // bytes of a parameter in the model's file
  int64_t kept_bytes = 0;  // of rows that are kept from pass to pass (train/row_cache.h)
  bool is_mapped = true;   // the file is read where it lies; else its tensors are copies in the
                           // trunk's dtype (GGUF)
};

// Resident bytes of a run at its peak. Measured cases deviate by less than 15 %
// (doc/performance.md).
struct Footprint {
  int64_t trunk = 0;         // the program and the frozen weights: once for all runs of a model
  int64_t own = 0;           // trained tensors, their moments, and gradients from step to step
  int64_t rows = 0;          // what is kept of rows from epoch to epoch
  int64_t step = 0;          // of a step: rows kept for the backward pass and in work
  int64_t pass_tokens = 0;   // of a micro-batch, all of its passes
  bool shares_pass = false;  // with other runs of the model

  int64_t peak() const { return trunk + own + rows + step; }
};

Footprint footprint_of(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape);

// Of runs of one model in one process: those that share passes do so in their order, as run_passes
// (step_work.h) has it; one pass at a time is in memory.
int64_t peak_bytes_together(const std::vector<Footprint>& runs, int64_t most_tokens);

}  // namespace graft
