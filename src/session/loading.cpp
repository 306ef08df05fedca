#include "session/loading.h"

#include <filesystem>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/own_head.h"

namespace graft {

namespace fs = std::filesystem;

namespace {

void check_tokenizer(const LoadedAdapter& loaded, const OpenedModel& opened,
                     const std::string& adapter) {
  const std::string& trained_with = loaded.provenance.tokenizer;
  if (trained_with.empty() || opened.text.tokenizer->digest() == trained_with) return;
  throw InputError("'" + adapter + "': trained with another tokenizer than " + opened.path +
                   " has; give the model folder it was trained with");
}

LoadedAdapter no_adapter(const Model& model, const Task& task) {
  Adapter bare = Adapter::none({model.config, model.sites}, task);
  if (!bare.params().empty()) {
    throw InputError(option_name("adapter") + ": missing; task " + quote(task.name) +
                     " is answered by a trained head, and the model's folder brings none. Without "
                     "an adapter: tasks of kind "
                     "generation or choice, cloze tasks, and folders of classifiers");
  }
  return {std::move(bare), {}, {}};
}

}  // namespace

std::string subject_name(const std::string& dir) {
  return dir.empty() ? "the bare model" : "the adapter in '" + dir + "'";
}

IgnoredKeys ignored_keys(const std::vector<std::string>& named,
                         const std::vector<std::string>& adapters) {
  IgnoredKeys ignored{.named = named};
  for (const std::string& dir : adapters) {
    if (std::error_code error; dir.empty() || !fs::exists(Path(dir) / "adapter.json", error))
      continue;
    const std::vector<std::string> own = read_adapter_header(dir).provenance.ignored_config_keys;
    ignored.remembered.insert(ignored.remembered.end(), own.begin(), own.end());
  }
  return ignored;
}

OpenedModel open_model(const std::string& path, Precision precision, const IgnoredKeys& ignored) {
  auto model = load_model(path, precision, ignored);
  return {path, std::move(model), load_model_text(path)};
}

LoadedAdapter load_checked(const std::string& dir, const OpenedModel& opened) {
  LoadedAdapter loaded = load_adapter(dir, *opened.model);
  check_tokenizer(loaded, opened, dir);
  return loaded;
}

BareModel load_bare(const OpenedModel& opened, const std::optional<Task>& task) {
  const Model& model = *opened.model;
  const bool needs_head = !task || !(task->is_answered_in_words() || task->cloze() != nullptr);
  const std::optional<OwnHead> own =
      needs_head ? read_own_head(opened.path, model.config) : std::nullopt;
  if (!own) {
    if (!task)
      throw InputError("give " + option_name("adapter") + ", or " + option_name("task") +
                       " for the bare model; its folder brings no head of its own");
    return {no_adapter(model, *task), ""};
  }
  const Task& asked = task ? *task : own->task;
  return {own_head_adapter(*own, model, asked),
          "the model's own head answers: " + matched_text(*own, asked)};
}

void check_free_for_adapter(const std::string& out) {
  if (fs::exists(Path(out) / "adapter.json"))
    throw InputError(option_name("out") + ": '" + out +
                     "' holds an adapter already; choose another folder");
  if (fs::exists(Path(out) / "run.yaml"))
    throw InputError(option_name("out") + ": '" + out + "' is a run; choose another folder");
}

}  // namespace graft
