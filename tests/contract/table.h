// The contract table: one row or more for every registered edit. A new edit gets its row here, and
// with it every contract test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "edit/adapter.h"
#include "model/config.h"

namespace graft::testing {

struct Row {
  std::string edit;                                    // its name in the registry
  std::string name;                                    // of the row, an identifier
  std::string definition;                              // the entry of an `edits:` list
  std::function<int64_t(const ModelConfig&)> trained;  // parameters, by a formula of its own
  bool has_exact_gradient = true;  // false where a method defines another than that of the loss
  // The reason for which a family refuses the row; empty where it does not.
  std::function<std::string(const ModelConfig&)> refusal = [](const ModelConfig&) {
    return std::string();
  };
};

const std::vector<Row>& contract_rows();

struct Case {
  const Row* row;
  std::string family;  // a name of contract_families()

  std::string adapter() const { return "{edits: [" + row->definition + "]}"; }
};

void PrintTo(const Case& one, std::ostream* out);

// Rows x families that do not refuse them, and the compositions, each on one family.
std::vector<Case> contract_cases();
std::string case_name(const ::testing::TestParamInfo<Case>& info);

}  // namespace graft::testing
