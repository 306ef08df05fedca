// What gates and routers did with each row, as lines of a file.
#pragma once

#include <string>

#include "feed/dataset.h"
#include "tensor/named_tensors.h"

namespace graft {

// A number stays a number.
Node id_node(const Example& example);

// Numbers of a one-dimensional tensor.
Node number_list(const at::Tensor& values);

// JSON lines {id, tokens, name, values}, one a row and name. records: [rows, K] each; tokens: those
// of the row's ids.
std::string record_lines(const Dataset& data, const NamedTensors& records);

}  // namespace graft
