#include "edit/own_head.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/ascii.h"
#include "base/error.h"
#include "base/spelling.h"
#include "data/plain_task.h"
#include "model/families.h"
#include "model/gguf_model.h"
#include "tensor/safetensors.h"

namespace graft {

using at::Tensor;

namespace {

// At most ten names, each as it may be shown.
std::string shown(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  for (const std::string& name : names) quoted.push_back(quote(name));
  return joined_first(quoted, 10);
}

// id2label in the order of its numbers; nothing where the file has none.
std::optional<std::vector<std::string>> named_labels(const Node& json, int64_t outputs,
                                                     const std::string& source) {
  const Node* names = json.find("id2label");
  if (names == nullptr || names->kind == Node::Kind::kNull) return std::nullopt;
  std::vector<std::string> labels;
  for (int64_t i = 0; i < outputs; ++i) {
    const Node* name = names->kind == Node::Kind::kMap ? names->find(std::to_string(i)) : nullptr;
    if (name != nullptr && name->kind == Node::Kind::kScalar) labels.push_back(name->scalar);
  }
  const size_t found = names->members.size();
  if (found == labels.size() && static_cast<int64_t>(found) == outputs) return labels;
  throw InputError(source + ": /id2label: expected the names of outputs 0 to " +
                   std::to_string(outputs - 1) + ", as many as the head has, found " +
                   std::to_string(found));
}

// A tensor of the head in float32. `outputs`: that it must have; any number where it is 0.
Tensor head_tensor(const SafetensorsFile& file, const std::string& name, int64_t outputs,
                   std::optional<int64_t> width, const std::string& source) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end())
    throw InputError(source + ": the head's tensor '" + name + "' is missing");
  const Tensor& tensor = found->second;
  const bool has_rank = tensor.dim() == (width ? 2 : 1) && tensor.size(0) > 0;
  if (!has_rank || (outputs > 0 && tensor.size(0) != outputs) ||
      (width && tensor.size(1) != *width) || !tensor.is_floating_point()) {
    throw InputError(source + ": the head's tensor '" + name + "': found " +
                     shape_text(tensor.sizes()) + ", which does not fit the model");
  }
  if (!at::isfinite(tensor).all().item<bool>())
    throw InputError(source + ": tensor '" + name +
                     "' holds numbers that are not finite: the file is damaged or half-written");
  return tensor.to(at::kFloat).clone();
}

NamedTensors read_tensors(const Path& folder, const ModelConfig& config) {
  const Family& family = family_of(config);
  const SafetensorsFile file = load_sharded(folder);
  NamedTensors out;
  for (const auto& [ours, theirs] : family.head_names) {
    const std::string path = Adapter::kHeadPath + ours;
    const int64_t outputs = ours == "out" ? 0 : config.width;
    const Tensor weight =
        head_tensor(file, theirs + ".weight", outputs, config.width, folder.string());
    out[path + ".weight"] = weight;
    if (config.head_style == HeadStyle::kScore) continue;
    out[path + ".bias"] =
        head_tensor(file, theirs + ".bias", weight.size(0), std::nullopt, folder.string());
  }
  return out;
}

// Why a head of so many outputs, trained as `problem_type` says, answers no task.
std::string refusal_of(const std::string& problem, int64_t outputs) {
  if (problem == "multi_label_classification")
    return "its head gives several labels at once (problem_type multi_label_classification), which "
           "is no task here";
  if (problem == "regression" && outputs > 1)
    return "its head gives " + std::to_string(outputs) +
           " numbers at once (problem_type regression); a task here has one";
  if (problem == "single_label_classification" && outputs == 1)
    return "its head gives one number, and problem_type single_label_classification makes that the "
           "only label";
  const bool is_known =
      problem.empty() || problem == "regression" || problem == "single_label_classification";
  return is_known ? "" : "problem_type " + quote(problem) + " is not known here";
}

// The task that a merged folder was trained for, where it still names these labels.
std::optional<Task> merged_task(const Path& folder, const Task& plain) {
  const Path file = folder / "merge.json";
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return std::nullopt;
  const Node json = parse_json(read_file(file), file.string());
  const Node* node = json.find("task");
  if (node == nullptr) return std::nullopt;
  Task task = parse_task(*node, file.string());
  if (task.kind() != plain.kind() ||
      (task.kind() == TaskKind::kClassification && task.labels() != plain.labels()))
    return std::nullopt;
  return task;
}

std::optional<int64_t> find_whatever_case(const Task& task, const std::string& label) {
  if (const auto found = task.at<Classification>().find_label(label)) return found;
  std::optional<int64_t> out;
  for (size_t i = 0; i < task.labels().size(); ++i) {
    if (lower_ascii(task.labels()[i]) != lower_ascii(label)) continue;
    if (out) return std::nullopt;
    out = static_cast<int64_t>(i);
  }
  return out;
}

}  // namespace

std::optional<OwnHead> read_own_head(const Path& folder, const ModelConfig& config) {
  if (!config.is_classifier || is_gguf(folder)) return std::nullopt;
  const std::string source = (folder / "config.json").string();
  const Node json = parse_json(read_file(source), source);
  NamedTensors tensors = read_tensors(folder, config);
  const int64_t outputs = tensors.at(std::string(Adapter::kHeadPath) + "out.weight").size(0);
  const Node* problem = json.find("problem_type");
  OwnHead own{.source = folder.string(), .task = {}, .refusal = {}, .tensors = {}};
  own.refusal = refusal_of(
      problem != nullptr && problem->kind == Node::Kind::kScalar ? problem->scalar : "", outputs);
  const auto labels = named_labels(json, outputs, source);
  own.has_names = outputs > 1 && labels && *labels != unnamed_labels(outputs);
  if (const std::string fault = own.has_names ? labels_fault(*labels) : ""; !fault.empty())
    own.refusal = "its labels (id2label): " + fault;
  if (!own.refusal.empty()) return own;
  own.task = own.has_names ? plain_task(*labels) : plain_task_of(outputs);
  if (const std::optional<Task> task = merged_task(folder, own.task)) own.task = *task;
  own.tensors = std::move(tensors);
  return own;
}

std::optional<std::vector<int64_t>> matched_outputs(const OwnHead& own, const Task& task) {
  if (!own.refusal.empty() || task.kind() != own.task.kind() || task.cloze() != nullptr)
    return std::nullopt;
  if (task.kind() == TaskKind::kRegression) return std::vector<int64_t>{0};
  const std::vector<std::string>& labels = own.task.labels();
  if (labels.size() != task.labels().size()) return std::nullopt;
  std::vector<int64_t> outputs(labels.size(), -1);
  for (size_t i = 0; i < labels.size(); ++i) {
    const std::optional<int64_t> label = own.has_names ? find_whatever_case(task, labels[i])
                                                       : std::optional(static_cast<int64_t>(i));
    if (!label || outputs[static_cast<size_t>(*label)] >= 0) return std::nullopt;
    outputs[static_cast<size_t>(*label)] = static_cast<int64_t>(i);
  }
  return outputs;
}

std::string answers_text(const Task& task) {
  return task.kind() == TaskKind::kRegression ? "a number" : shown(task.labels());
}

std::string matched_text(const OwnHead& own, const Task& task) {
  if (task.kind() == TaskKind::kRegression) return "a number";
  const std::vector<int64_t> outputs = matched_outputs(own, task).value();
  std::vector<std::string> parts;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& theirs = own.task.labels()[static_cast<size_t>(outputs[i])];
    parts.push_back(quote(theirs) +
                    (theirs == task.labels()[i] ? "" : " as " + quote(task.labels()[i])));
  }
  return joined_first(parts, 10) + (own.has_names ? "" : " (the folder names no labels)");
}

NamedTensors matched_tensors(const OwnHead& own, const Task& task) {
  const Tensor outputs = at::tensor(matched_outputs(own, task).value(), at::kLong);
  NamedTensors out = own.tensors;
  for (auto& [name, tensor] : out) {
    if (name.starts_with(std::string(Adapter::kHeadPath) + "out."))
      tensor = tensor.index_select(0, outputs);
  }
  return out;
}

LoadedAdapter own_head_adapter(const OwnHead& own, const Model& model, const Task& task) {
  if (!own.refusal.empty())
    throw InputError("'" + own.source + "': " + own.refusal + "; give " + option_name("adapter") +
                     " with a head for a task");
  if (!matched_outputs(own, task)) {
    throw InputError("'" + own.source + "': the folder's own head answers " +
                     answers_text(own.task) + ", and task " + quote(task.name) + " asks for " +
                     answers_text(task) +
                     "; name the head's answers in the task's labels or spellings, or give " +
                     option_name("adapter"));
  }
  if (!has_layer_under_head(model.config, model.weights))
    throw InputError("'" + own.source + "': the folder's own head reads a " +
                     layer_under_head(model.config) + ", and the folder holds none");
  Adapter adapter(Node::map(), "own head", {model.config, model.sites}, task);
  return {std::move(adapter), matched_tensors(own, task), {}};
}

}  // namespace graft
