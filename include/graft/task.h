// What is asked of a text. Plain values: safe to copy between threads.
#pragma once

#include <string>
#include <vector>

namespace graft {

// A task as its file says it (doc/data.md).
struct TaskInfo {
  std::string name;
  std::string kind;                  // "classification", "regression", "generation" or "choice"
  std::vector<std::string> labels;   // of a classification, in the order of its scores
  std::vector<std::string> columns;  // that a row's text, or pair of texts, is made of
  std::vector<std::string> metrics;  // of Session::score, behind the loss
};

}  // namespace graft
