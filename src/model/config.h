// What a model folder's config.json says about the mathematics of the trunk.
//
// A key is honoured, or stands on the list of keys that change nothing here, or is refused by name: never ignored.
#pragma once

#include <cstdint>
#include <string>

#include "base/document.h"
#include "base/files.h"
#include "tensor/fused.h"

namespace graft {

struct ModelConfig {
  std::string model_type;            // the family's name in config.json, e.g. "bert"
  int64_t layers = 0;                // L
  int64_t width = 0;                 // C
  int64_t heads = 0;                 // H
  int64_t ffn_width = 0;             // F
  int64_t vocabulary = 0;            // V
  int64_t max_positions = 0;         // longest sequence the position table serves, after position_offset
  int64_t position_offset = 0;       // row of the position table for the first token
  int64_t type_vocabulary = 0;       // rows of the segment table
  int64_t pad_id = 0;
  double norm_epsilon = 1e-12;
  double hidden_dropout = 0.1;
  double attention_dropout = 0.1;
  double classifier_dropout = 0.1;   // before the last linear layer of the head
  Activation activation = Activation::kGelu;

  int64_t head_width() const { return width / heads; }
};

// Throws InputError listing every fault of the file.
ModelConfig parse_config(const Node& json, const std::string& source);
ModelConfig load_config(const Path& model_dir);

}  // namespace graft
