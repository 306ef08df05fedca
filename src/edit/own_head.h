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
  // Why it answers no task of Graft, and then it has no tensors. Empty if it answers one.
  std::string refusal;
  NamedTensors tensors;  // as an adapter stores them ("head/out.weight"), float32
};

// Nothing if `architectures` in the folder's config.json names no classifier of its family. Throws
// InputError if the folder's labels and tensors do not match.
std::optional<OwnHead> read_own_head(const Path& folder, const ModelConfig& config);

// For each label of `task`, the output of the head that answers it: the one of the same name or
// spelling, in any case; by order if the outputs have no names. Nothing if the labels differ.
std::optional<std::vector<int64_t>> matched_outputs(const OwnHead& own, const Task& task);

// What a head answers: "a number", or the labels, quoted.
std::string answers_text(const Task& task);
// One line for the user: the head's labels, each with the task's name for it if that differs.
// Requires: matched_outputs gives something.
std::string matched_text(const OwnHead& own, const Task& task);

// The tensors of the head in the order of the task's labels. Requires: as above.
NamedTensors matched_tensors(const OwnHead& own, const Task& task);

// The head as an adapter without edits. Throws InputError if it does not answer `task`.
LoadedAdapter own_head_adapter(const OwnHead& own, const Model& model, const Task& task);

}  // namespace graft
