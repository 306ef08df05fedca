#include "interop/foreign.h"

#include <ATen/ops/isfinite.h>

#include <algorithm>

#include "base/error.h"
#include "base/printable.h"
#include "base/spelling.h"
#include "base/version.h"
#include "base/wording.h"
#include "data/plain_task.h"
#include "edit/own_head.h"
#include "interop/pickle.h"
#include "model/families.h"
#include "tensor/safetensors.h"

namespace graft {

using at::Tensor;

namespace {

constexpr size_t kMostNamed = 10;  // faults of tensors in one message

std::string listed(const std::vector<std::string>& faults) {
  std::string out;
  for (size_t i = 0; i < faults.size() && i < kMostNamed; ++i)
    out += (i == 0 ? "" : "\n") + faults[i];
  if (faults.size() > kMostNamed)
    out += "\n... and " + std::to_string(faults.size() - kMostNamed) + " more";
  return out;
}

// The task of the head's outputs; without a head, a task whose answers are texts.
std::optional<Task> task_of_head(const ForeignAdapter& foreign, const std::optional<Task>& given,
                                 const Path& source) {
  const int64_t outputs = foreign.head_outputs;
  if (outputs == 0) {
    if (given && !given->is_answered_in_words())
      throw InputError(option_name("task") + ": the adapter in '" + source.string() +
                       "' has no head, so no labels; leave it out, or give a task whose "
                       "answers are texts");
    return given;
  }
  const std::string count = std::to_string(outputs) + " " + plural(outputs, "output");
  std::optional<Task> task = given ? given : foreign.task;
  if (!task && outputs > 1) task = plain_task_of(outputs);
  if (!task) {
    throw InputError("'" + source.string() + "': the head has " + count +
                     ", but the folder does not say what it means: give " + option_name("task") +
                     " with a ready task "
                     "or a YAML file (a regression)");
  }
  const int64_t wanted = task->kind() == TaskKind::kRegression ? 1 : task->num_labels();
  if (wanted != outputs) {
    throw InputError((given ? option_name("task") + ": " : "'" + source.string() + "': ") +
                     "the task " + quote(task->name) + " needs " + std::to_string(wanted) + " " +
                     plural(wanted, "output") + ", but the head has " + count);
  }
  return task;
}

// Outputs that the folder names come in the order of the task's labels, where these are the same
// names.
void order_outputs(ForeignAdapter& foreign, const std::optional<Task>& task) {
  if (!task || !foreign.task) return;
  OwnHead named;
  named.task = *foreign.task;
  named.tensors = std::move(foreign.tensors);
  foreign.tensors =
      matched_outputs(named, *task) ? matched_tensors(named, *task) : std::move(named.tensors);
}

}  // namespace

Tensor ForeignTensors::take(const std::string& name, at::IntArrayRef shape) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    fault("tensor " + quote(name) + " is missing");
    return {};
  }
  taken_.push_back(name);
  if (found->second.sizes() != shape || !found->second.is_floating_point()) {
    fault("tensor " + quote(name) + ": expected numbers of shape " + shape_text(shape) +
          ", found " + safetensors_dtype(found->second.scalar_type()) + " " +
          shape_text(found->second.sizes()));
    return {};
  }
  return found->second.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
}

void ForeignTensors::finish(const std::string& before) {
  std::sort(taken_.begin(), taken_.end());
  for (const auto& [name, tensor] : tensors_) {
    if (!std::binary_search(taken_.begin(), taken_.end(), name))
      fault("tensor " + quote(name) + " " + shape_text(tensor.sizes()) +
            " has no place in a Graft adapter");
  }
  std::string message = before;
  if (!faults_.empty()) message += (message.empty() ? "" : "\n") + listed(faults_);
  if (!message.empty()) throw InputError(message);
}

std::string ForeignAdapter::add(const std::string& kind, Node options) {
  edits.push_back(Node::map({{kind, std::move(options)}}));
  return std::to_string(edits.size() - 1) + "." + kind + "/";
}

void ForeignAdapter::put(const std::string& name, Tensor tensor) {
  if (tensor.defined()) tensors[name] = std::move(tensor);
}

void ForeignAdapter::put_head_layer(const std::string& ours, const std::string& theirs,
                                    const ModelConfig& config, ForeignTensors& file) {
  const bool is_last = ours == std::string(Adapter::kHeadPath) + "out";
  const auto found = file.all().find(theirs + ".weight");
  const int64_t rows = is_last && found != file.all().end() && found->second.dim() > 0
                           ? found->second.size(0)
                           : config.width;
  if (is_last) head_outputs = rows;
  put(ours + ".weight", file.take(theirs + ".weight", {rows, config.width}));
  if (config.head_style != HeadStyle::kScore)
    put(ours + ".bias", file.take(theirs + ".bias", {rows}));
}

LoadedAdapter assemble(ForeignAdapter foreign, const Model& model, const std::optional<Task>& task,
                       const Path& source) {
  const Node definition = Node::map({{"edits", Node::list(foreign.edits)}, {"head", foreign.head}});
  Adapter adapter(definition, source.string(), {model.config, model.sites},
                  task_of_head(foreign, task, source));
  order_outputs(foreign, task);
  NamedTensors tensors;
  std::vector<std::string> faults;
  for (const ParamSpec& param : adapter.params()) {
    if (param.role == Role::kDrawn) continue;
    const auto found = foreign.tensors.find(param.name);
    if (found == foreign.tensors.end()) {
      faults.push_back(source.string() + ": holds nothing for '" + param.name + "'");
    } else if (found->second.sizes() != at::IntArrayRef(param.shape)) {
      faults.push_back(source.string() + ": '" + param.name + "': expected " +
                       shape_text(param.shape) + ", found " + shape_text(found->second.sizes()));
    } else if (!at::isfinite(found->second).all().item<bool>()) {
      faults.push_back(source.string() + ": '" + param.name +
                       "' holds numbers that are not finite");
    } else {
      tensors[param.name] =
          found->second.detach().clone().requires_grad_(param.role == Role::kTrained);
    }
    if (found != foreign.tensors.end()) foreign.tensors.erase(found);
  }
  for (const auto& [name, tensor] : foreign.tensors)
    faults.push_back(source.string() + ": " + named(name) + " fits no slot of the adapter");
  const bool lacks_layer = adapter.head() != nullptr && !adapter.head()->trains_pooler() &&
                           !has_layer_under_head(model.config, model.weights);
  if (lacks_layer) {
    faults.push_back(source.string() + ": its head reads a " + layer_under_head(model.config) +
                     ", but the model '" + model.source +
                     "' has none; give the base it was trained on");
  }
  if (!faults.empty()) throw InputError(listed(faults));
  adapter.draw(tensors, model.weights);
  Provenance provenance;
  provenance.graft_version = kVersionText;
  provenance.model = model.source;
  provenance.origin = foreign.origin + ", " + source.string();
  return {std::move(adapter), std::move(tensors), std::move(provenance)};
}

PlainAdapter flat_adapter(const Adapter& adapter, const NamedTensors& tensors, const Model& model) {
  std::vector<TensorList> values;
  std::vector<Node> edits;
  for (size_t i = 0; i < adapter.parts().size(); ++i) {
    const Edit& edit = *adapter.parts()[i].edit;
    TensorList stored = adapter.stored_of(i, tensors);
    std::optional<Flattened> flat = edit.flattened(Params(stored));
    edits.push_back(flat ? std::move(flat->definition) : edit.describe());
    values.push_back(flat ? std::move(flat->tensors) : std::move(stored));
  }
  Node definition = adapter.describe();
  definition["edits"] = Node::list(std::move(edits));
  PlainAdapter out{Adapter(definition, "the adapter", {model.config, model.sites}, adapter.task()),
                   {}};
  for (size_t i = 0; i < values.size(); ++i) {
    auto value = values[i].begin();
    for (const std::string& name : out.adapter.parts()[i].names) out.tensors[name] = *value++;
  }
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(Adapter::kHeadPath)) out.tensors[name] = tensor;
  }
  return out;
}

double number_in(const Node& options, const char* name) {
  return options.find_number(name).value();
}

int64_t integer_in(const Node& options, const char* name) {
  return options.find_integer(name).value();
}

bool is_true(const Node& options, const char* name) { return options.find_bool(name).value(); }

const std::string& word_in(const Node& options, const char* name) {
  return options.find(name)->scalar;
}

NamedTensors head_named(const Adapter& adapter, const NamedTensors& tensors,
                        const std::vector<std::pair<std::string, std::string>>& layers) {
  NamedTensors out;
  for (const ParamSpec& param : adapter.head()->params()) {
    for (const auto& [ours, theirs] : layers) {
      if (param.label == ours)
        out[theirs + param.name.substr(ours.size())] = tensors.at(Adapter::kHeadPath + param.name);
    }
  }
  return out;
}

ForeignTensors load_foreign_tensors(const Path& dir, const std::string& name,
                                    const std::string& bin) {
  const auto exists = [](const Path& path) {
    std::error_code error;
    return std::filesystem::exists(path, error);
  };
  const Path safe = dir / name, legacy = dir / bin;
  if (exists(safe) && exists(legacy))
    throw InputError("'" + dir.string() + "': holds both " + name + " and " + bin +
                     ": leave the one out that is not meant");
  if (exists(safe)) return {load_safetensors(safe).tensors, safe.string()};
  if (exists(legacy)) return {load_torch_file(legacy), legacy.string()};
  throw InputError("'" + dir.string() + "': expected " + name + " or " + bin + ", found neither");
}

bool has_numbered_labels(const Task& task) {
  return !task.labels().empty() && task.labels() == unnamed_labels(task.num_labels());
}

bool is_unused(const Node* node) {
  if (node == nullptr || node->kind == Node::Kind::kNull) return true;
  if (node->kind == Node::Kind::kScalar) return !node->as_bool().value_or(true);
  return node->items.empty() && node->members.empty();
}

void refuse_fields(Options& options,
                   const std::vector<std::pair<const char*, const char*>>& keys_and_reasons) {
  for (const auto& [key, reason] : keys_and_reasons) {
    if (!is_unused(options.raw(key))) options.fault(key, reason);
  }
}

void ignore_unused(Options& options, const Node& json) {
  for (const auto& [key, value] : json.members) {
    if (is_unused(&value)) options.ignore(key);
  }
}

void ignore_fields(Options& options, const std::vector<const char*>& keys) {
  for (const char* key : keys) options.ignore(key);
}

std::string notes_text(const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += "; " + note;
  return text;
}

std::string faults_of(Options& options) {
  try {
    options.finish();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace graft
