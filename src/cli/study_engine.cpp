#include "cli/study_engine.h"

#include <filesystem>
#include <map>

#include "base/error.h"
#include "cli/common.h"
#include "cli/training.h"
#include "edit/adapter.h"
#include "session/presets.h"
#include "session/run_request.h"
#include "session/settings.h"
#include "train/recording.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

Node without_folder(Node settings) {
  std::erase_if(settings.members, [](const auto& each) { return each.first == "out"; });
  return settings;
}

// "rank" and "adapter.rank" are one setting; of equal keys the file's reader has told.
void check_given_once(const std::vector<StudySetting>& settings) {
  std::map<std::string, const StudySetting*> given;
  for (const StudySetting& setting : settings) {
    const auto [first, is_new] = given.emplace(full_setting_name(setting.key), &setting);
    if (!is_new)
      throw InputError("/" + setting.key + ": the same setting is given at " +
                       first->second->place + " already");
  }
}

void check_there(const std::string& path, const char* what) {
  if (!path.empty() && !fs::exists(path))
    throw InputError(std::string(what) + ": '" + path + "': no such file, as the task says");
}

}  // namespace

struct RunEngine::Target {
  explicit Target(const StudyFile& study)
      : config(read_config(study.model, {.named = study.ignored_keys})), sites(config) {}

  ModelConfig config;
  Sites sites;
};

RunEngine::RunEngine(StudyLimits limits)
    : limits_(limits), inputs_(share().tasks()), forecast_(inputs_, limits) {}

const RunEngine::Target& RunEngine::target_of(const StudyFile& study) {
  if (!target_) target_ = std::make_shared<const Target>(study);
  return *target_;
}

Node RunEngine::resolve(const StudyFile& study, const MemberDraft& member) {
  const Target& target = target_of(study);
  Node document = Node::map({{"model", Node::text(study.model)},
                             {"task", Node::text(member.task)},
                             {"out", Node::text("-")}});
  if (!study.ignored_keys.empty()) document["ignore_config_keys"] = Node::texts(study.ignored_keys);
  DataConfig data = find_data(member.data.empty() ? member.train : member.data);
  if (!member.eval.empty()) data.eval = member.eval;
  if (!member.test.empty()) data.test = member.test;
  for (const auto& [key, path] : {std::pair{"train", data.train}, std::pair{"eval", data.eval},
                                  std::pair{"test", data.test}}) {
    check_there(path, key);
  }
  put_data(data, document, study.source);
  AdapterPreset preset = member.definition.empty()
                             ? load_preset(member.adapter, share())
                             : AdapterPreset{parse_yaml(member.definition, "method"), Node::null(),
                                             Node::null(), "", "method"};
  document["adapter_name"] = Node::text(member.adapter.empty() ? "own" : member.adapter);
  const Task task = load_task(member.task, share().tasks());
  check_task(task, target.config);
  const EditTarget edit_target{target.config, target.sites, !task.is_answered_in_words()};
  check_given_once(member.settings);
  std::vector<std::string> settings;
  for (const StudySetting& setting : member.settings)
    settings.push_back(setting.key + "=" + setting.value);
  const RunConfig config =
      resolve_document(std::move(document), std::move(preset), settings, edit_target, study.source);
  // Refuses what does not fit.
  check_recording(config, *defined_adapter(config, target.config, task));
  return without_folder(run_config_node(config));
}

bool RunEngine::run(const std::vector<StudyRun>& runs, StudyEnds& ends) {
  StudyMembers members(runs, ends, inputs_, limits_);
  const StopSignals signals;
  while (!members.is_done()) {
    members.step();
    if (StopSignals::caught() == 0 || members.is_done()) continue;
    members.stop();
    return false;
  }
  return StopSignals::caught() == 0;  // one may have come while the last member was evaluated
}

}  // namespace graft
