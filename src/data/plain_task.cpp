#include "data/plain_task.h"

#include <set>

#include "base/error.h"
#include "data/metrics.h"

namespace graft {

namespace {

constexpr size_t kMaxLabels = 10000;

template <class Question>
Task with_columns(Question question) {
  question.text = column_or_template("text");
  question.label_column = "label";
  Task task;
  task.name = "text";
  task.question = std::move(question);
  task.id_column = "id";
  task.metrics = default_metrics(task.kind());
  task.primary_metric = task.metrics.front();
  return task;
}

}  // namespace

Task plain_task(const std::vector<std::string>& labels) {
  if (const std::string fault = labels_fault(labels); !fault.empty()) throw InputError(fault);
  Classification question;
  question.labels = labels;
  return with_columns(std::move(question));
}

Task plain_task_of(int64_t outputs) {
  return outputs == 1 ? with_columns(Regression{}) : plain_task(unnamed_labels(outputs));
}

std::vector<std::string> unnamed_labels(int64_t outputs) {
  std::vector<std::string> labels;
  for (int64_t i = 0; i < outputs; ++i) labels.push_back("LABEL_" + std::to_string(i));
  return labels;
}

std::string labels_fault(const std::vector<std::string>& labels) {
  if (labels.size() < 2)
    return "expected at least two labels, found " + std::to_string(labels.size());
  if (labels.size() > kMaxLabels)
    return "expected at most " + std::to_string(kMaxLabels) + " labels, found " +
           std::to_string(labels.size());
  std::set<std::string> seen;
  for (const std::string& label : labels) {
    if (label.empty()) return "a label is empty";
    if (label.front() == ' ' || label.back() == ' ')
      return "label " + quote(label) + " has blanks around it";
    if (!seen.insert(label).second) return "label " + quote(label) + " appears twice";
  }
  return "";
}

}  // namespace graft
