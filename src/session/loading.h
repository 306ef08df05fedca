// What is opened once: a model with its words, and adapters that belong to it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edit/adapter_file.h"
#include "feed/model_text.h"
#include "model/trunk.h"

namespace graft {

// What answers, in messages: "the adapter in 'runs/mail'", or "the bare model" where `dir` is
// empty.
std::string subject_name(const std::string& dir);

// What the user names, and what the adapters in these folders were trained with. A folder that
// holds no adapter is left for those who load it; so is an empty name.
IgnoredKeys ignored_keys(const std::vector<std::string>& named,
                         const std::vector<std::string>& adapters);

struct OpenedModel {
  std::string path;  // as the user wrote it
  std::shared_ptr<const Model> model;
  ModelText text;
};

OpenedModel open_model(const std::string& path, Precision precision, const IgnoredKeys& ignored);

// The adapter in folder `dir`. Throws InputError where its format, its tensors, its base or its
// tokenizer are not those that it was trained with.
LoadedAdapter load_checked(const std::string& dir, const OpenedModel& opened);

// The model alone: no edits and, where `task` needs a head, the one that its folder brings; without
// a task the task of that head.
struct BareModel {
  LoadedAdapter loaded;
  std::string note;  // for the user: what the folder's own head answers; "" where it has no say
};
// Throws InputError where a head is needed and there is none.
BareModel load_bare(const OpenedModel& opened, const std::optional<Task>& task);

// Throws InputError where `out` of what writes an adapter holds one already, or is the folder of a
// run.
void check_free_for_adapter(const std::string& out);

}  // namespace graft
