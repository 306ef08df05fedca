// What gates, routers and edits did with the rows of a data set: kept row by row, as lines of a
// file, and in short.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "feed/dataset.h"
#include "model/hooks.h"
#include "tensor/named_tensors.h"

namespace graft {

// By name: "0.gate/enc.3.attn.q.gate".
struct Records {
  NamedTensors rows;                                      // [rows, K] float32
  std::map<std::string, std::vector<at::Tensor>> tokens;  // [row]: [R, 1 + K], the token first

  bool empty() const { return rows.empty(); }
};

// Puts what a pass recorded of the rows `group` of a data set of `rows` rows to that of the others:
// [N] or [N, K] a name, and of "<name>.tokens" what token_record (edit/sequences.h) gives.
void keep_records(const std::vector<SideOutput>& recorded, const std::vector<int64_t>& group,
                  int64_t rows, Records& records);

// A number stays a number.
Node id_node(const Example& example);

// Numbers of a one-dimensional tensor; null for one that is not finite.
Node number_list(const at::Tensor& values);

// The same as float64; of a tensor of more dimensions, row after row.
std::vector<double> doubles_of(const at::Tensor& values);

// JSON lines {id, tokens, name, values}, one a row and name; tokens: those of the row's ids. Of
// single tokens {id, tokens, name: NAME.tokens, places: [R], values: [R][K]}.
std::string record_lines(const Dataset& data, const Records& records);

// {NAME: {mean: [K], low, high, counts: [K][20]}}: how many rows have a value in each of 20 bins
// from the least to the greatest of all K columns. What is not finite is in no bin.
Node records_summary(const Records& records);

}  // namespace graft
