// Compositions for the contract suite: adapters of one to three edits, nested at random from a
// fixed seed.
#pragma once

#include <vector>

#include "tests/contract/table.h"

namespace graft::testing {

// At least 30, all different; every combinator and every leaf occurs. Row::trained is worked out
// here, from the shapes alone.
std::vector<Row> composition_rows();

}  // namespace graft::testing
