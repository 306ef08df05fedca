// graft eval --report: scores of every class, the confusion matrix, errors of values, and the worst
// mistakes with their texts.
#pragma once

#include <cstdio>
#include <optional>

#include "data/report.h"
#include "infer/mistakes.h"

namespace graft {

struct Report {
  std::vector<std::string> labels;     // of a classification; of a choice the places of its options
  std::optional<ClassReport> classes;  // of a classification or choice
  std::optional<ValueReport> values;   // of a regression
  Mistakes mistakes;
};

// `most`: mistakes to keep.
Report make_report(const Task& task, const EvalData& data, const Evaluation& evaluation,
                   int64_t most);

// {classes, macro, weighted, accuracy, confusion} or {values}, and {measure, wrong_rows, mistakes};
// doc/run_folder.md has the keys.
Node to_node(const Report& report);

// For people, to standard output.
void print_report(std::FILE* out, const Report& report);

}  // namespace graft
