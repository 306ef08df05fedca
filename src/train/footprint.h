// The peak memory of a training run, from shapes alone: what lies in memory all the time, and what
// a step adds to it.
#pragma once

#include <cstdint>

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
  bool is_mapped = true;   // the file is read where it lies; else its tensors are copies in the
                           // trunk's dtype (GGUF)
};

// Resident bytes at the peak. Measured cases deviate by less than 15 % (doc/performance.md).
int64_t peak_bytes(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape);

}  // namespace graft
