// Tables of foreign adapters, as tools/golden/cells.py writes them: many folders in one file. A
// cell holds the config and the shapes of its tensors; their numbers are a formula of their names.
#pragma once

#include <map>
#include <string>

#include "interop/interop.h"

namespace graft::testing {

struct Cell {
  std::string key;        // "lora/bert"
  std::string model;      // below tests/golden: "models/bert-tiny"
  int64_t labels = 0;     // of its head; 0: logits over the vocabulary
  Node config, head;      // adapter_config.json, and AdapterHub's head_config.json
  std::string reft_kind;  // AdapterHub's NoReFT and DiReFT, which it writes alike
  NamedTensors tensors, head_tensors;
  at::Tensor logits;  // what the peer computes; undefined where only the refusal counts
};

// By key; loaded once.
const std::map<std::string, Cell>& load_cells(const std::string& golden);

std::shared_ptr<const Model> model_of(const Cell& cell);
// A folder as the peer left it.
void write_folder(const Cell& cell, const std::string& format, const Path& dir);
// Of a folder that is gone again.
LoadedAdapter import_cell(const Cell& cell, const std::string& format = "peft");
// The logits of the cell's rows by an imported adapter against the peer's. `golden`: as for
// load_cells.
void expect_cell_logits(const Cell& cell, const std::string& golden, const LoadedAdapter& loaded);

}  // namespace graft::testing
