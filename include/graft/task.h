// What a model is asked about a text. Plain values: safe to copy between threads.
#pragma once

#include <string>
#include <vector>

namespace graft {

// A task, as its file describes it (doc/data.md).
struct TaskInfo {
  std::string name;
  std::string kind;                  // "classification", "regression", "generation" or "choice"
  std::vector<std::string> labels;   // classification: in the order of an answer's scores
  std::vector<std::string> columns;  // the text of a row, or its two texts, are made of these
  std::vector<std::string> metrics;  // what Session::score gives beside the loss
};

}  // namespace graft
