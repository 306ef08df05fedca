// Tasks that follow from the outputs of a head alone: text and label stand in the columns of those
// names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/task.h"

namespace graft {

// A classification. Throws InputError where two labels have one name, one has none, or there are
// fewer than two.
Task plain_task(const std::vector<std::string>& labels);
// Of a head whose outputs nobody named: one is a regression's, more are the classes of
// unnamed_labels.
Task plain_task_of(int64_t outputs);

// "LABEL_0", "LABEL_1", ...: what transformers calls the outputs of a head that nobody named.
std::vector<std::string> unnamed_labels(int64_t outputs);

// What is wrong with a list of label names, or "".
std::string labels_fault(const std::vector<std::string>& labels);

}  // namespace graft
