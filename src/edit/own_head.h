// The head that a model folder brings: a fine-tuned classifier of the library that the folder
// format comes from (XForSequenceClassification), or one that graft merge wrote.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "edit/adapter_file.h"

namespace graft {

struct OwnHead {
  std::string source;  // the folder
  Task task;           // what its outputs mean; of a merged folder the task that it was trained for
  bool has_names = true;  // false: config.json names no labels, or LABEL_0, LABEL_1, ...
  std::string
      refusal;  // why it answers no task of graft's; empty where it does. Then there are no tensors
  NamedTensors tensors;  // as an adapter stores them ("head/out.weight"), float32
};

// Nothing where `architectures` of the folder's config.json names no classifier of its family.
// Throws InputError where the folder's labels and tensors do not go together.
std::optional<OwnHead> read_own_head(const Path& folder, const ModelConfig& config);

// By label of `task` the output of the head that answers it: by name or spelling, whatever the
// case; in order where nobody named the outputs. Nothing where the labels are others.
std::optional<std::vector<int64_t>> matched_outputs(const OwnHead& own, const Task& task);

// What a head answers: "a number", or the labels, quoted.
std::string answers_text(const Task& task);
// One line for people: the head's labels, each with the task's where that is another. Requires
// matched_outputs.
std::string matched_text(const OwnHead& own, const Task& task);

// The tensors of the head in the order of the labels of `task`. Requires matched_outputs.
NamedTensors matched_tensors(const OwnHead& own, const Task& task);

// The head alone, as an adapter without edits. Throws InputError where it does not answer `task`.
LoadedAdapter own_head_adapter(const OwnHead& own, const Model& model, const Task& task);

}  // namespace graft
