#include "cli/study_engine.h"

#include <ATen/core/grad_mode.h>

#include <filesystem>

#include "base/error.h"
#include "cli/common.h"
#include "cli/training.h"
#include "edit/adapter.h"
#include "edit/adapter_file.h"
#include "infer/evaluate.h"
#include "session/presets.h"
#include "session/run_request.h"
#include "study/harvest.h"
#include "train/loop.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

Node without_folder(Node settings) {
  std::erase_if(settings.members, [](const auto& each) { return each.first == "out"; });
  return settings;
}

void check_there(const std::string& path, const char* what) {
  if (!path.empty() && !fs::exists(path))
    throw InputError(std::string(what) + ": '" + path + "': no such file, as the task says");
}

std::string label_text(const Task& task, double value) {
  if (task.kind() == TaskKind::kClassification) return task.labels().at(static_cast<size_t>(value));
  return Node::number(value).scalar;
}

// What a row was answered, and what is right.
void add_answers(const std::string& side, const Task& task, const EvalData& data,
                 const Evaluation& evaluation, MemberResult& out) {
  const bool is_text = task.kind() == TaskKind::kGeneration;
  if (is_text && evaluation.outputs.empty()) return;  // judged by the loss alone
  const Dataset& rows = is_text ? *data.prompts : data.rows;
  for (size_t i = 0; i < rows.examples.size(); ++i) {
    const Example& example = rows.examples[i];
    RowAnswer answer{side, static_cast<int64_t>(i), example.id_text, "", ""};
    if (is_text) {
      answer.truth = example.at<GenerationRow>().truth();
      answer.answer = evaluation.outputs[i];
    } else {
      answer.truth = example.label ? label_text(task, *example.label) : "";
      answer.answer = label_text(task, evaluation.answers[i]);
    }
    out.answers.push_back(std::move(answer));
  }
}

// What is left of a run's inputs when it has taken them.
struct ScoredRows {
  std::shared_ptr<const Model> model;
  Task task;
  ModelText text;
  std::optional<EvalData> eval, test;
  GenerateOptions generation;
};

MemberResult result_of(const ScoredRows& rows, const Path& folder) {
  MemberResult out = read_run_folder(folder, rows.task.primary_metric);
  const at::NoGradGuard no_grad;
  const LoadedAdapter kept = load_adapter(folder / "adapter", *rows.model);
  const BoundAdapter bound(*rows.model, kept.adapter, kept.tensors);
  EvaluateOptions options;
  options.generate = rows.generation;
  for (const auto& [side, data] : {std::pair{"eval", &rows.eval}, std::pair{"test", &rows.test}}) {
    if (!*data) continue;
    const Evaluation evaluation =
        evaluate(*rows.model, bound, rows.task, **data, rows.text, options);
    add_answers(side, rows.task, **data, evaluation, out);
  }
  return out;
}

// A run that an earlier process began must be this one.
void check_same_run(const RunConfig& config, const Path& folder) {
  const Path file = folder / "run.yaml";
  const Node found = parse_yaml(read_file(file), file.string());
  if (without_folder(found) == without_folder(run_config_node(config))) return;
  throw IoError("'" + folder.string() +
                "': holds another run than the study's; move it away, or give another --out");
}

}  // namespace

struct RunEngine::Target {
  explicit Target(const StudyFile& study)
      : config(read_config(study.model, {.named = study.ignored_keys})), sites(config) {}

  ModelConfig config;
  Sites sites;
};

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
  std::vector<std::string> settings;
  for (const StudySetting& setting : member.settings)
    settings.push_back(setting.key + "=" + setting.value);
  const RunConfig config =
      resolve_document(std::move(document), std::move(preset), settings, edit_target, study.source);
  defined_adapter(config, target.config, task);  // refuses what does not fit
  return without_folder(run_config_node(config));
}

std::optional<MemberResult> RunEngine::run(const Node& settings, const Path& folder) {
  Node document = settings;
  document["out"] = Node::text(folder.string());
  const RunConfig config = parse_run_config(document, Node::null(), "member");
  RunInputs inputs = load_inputs(config, share().tasks(),
                                 model_ && is_model_of(*model_, config) ? model_ : nullptr);
  model_ = inputs.model;
  const bool goes_on = fs::exists(folder / "run.yaml");
  if (goes_on) check_same_run(inputs.config, folder);
  const ScoredRows rows{inputs.model, inputs.task, inputs.text,
                        inputs.eval,  inputs.test, inputs.config.generation};
  if (!Run::is_finished(folder)) {
    TrainingProgress progress(Verbosity::kQuiet);
    Run run(std::move(inputs), goes_on ? StartMode::kResume : StartMode::kFresh, &progress);
    const StopSignals signals;
    if (drive(run) == RunEnd::kStopped) {
      signal_ = StopSignals::caught();
      return std::nullopt;
    }
  }
  return result_of(rows, folder);
}

}  // namespace graft
