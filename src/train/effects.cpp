#include "train/effects.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "infer/generation_settings.h"
#include "infer/model_generation.h"

namespace graft {

namespace {

// `key` has no effect in this run: a fault, unless only the preset gave it.
void refuse_given(const RunConfig& config, const std::string& key, const std::string& message) {
  if (!config.is_suggested(key)) throw InputError(key + ": " + message);
}

// What earlier versions took without effect. A run that one of them began goes on with it: its
// checkpoints hold the digest of its settings.
void refuse_idle_settings(const RunInputs& in) {
  if (std::filesystem::exists(Path(in.config.out) / "run.yaml")) return;
  if (in.config.data.eval_rows > 0 && in.config.data.eval.empty())
    refuse_given(in.config, "data.eval_rows", "counts the rows of data.eval, which is missing");
  if (in.task.kind() != TaskKind::kRegression) return;
  const Objective& objective = in.config.objective;
  for (const auto& [key, value] : {std::pair{"label_smoothing", objective.label_smoothing},
                                   std::pair{"z_loss", objective.z_loss}}) {
    if (value == 0) continue;
    refuse_given(in.config, key,
                 "found " + Node::number(value).scalar + ", and task " + quote(in.task.name) +
                     " is a regression, whose loss is a squared error without a softmax; leave it "
                     "out");
  }
}

// The prompts after which evaluations write.
std::vector<const Dataset*> written_after(const RunInputs& in) {
  std::vector<const Dataset*> out;
  const auto add = [&](const EvalData& data) {
    if (data.prompts) out.push_back(&*data.prompts);
  };
  if (in.eval) add(*in.eval);
  if (in.test) add(*in.test);
  for (const EvalTaskData& each : in.eval_tasks) add(*each.data);
  return out;
}

// No text is written: what was given of how to write is refused.
void refuse_generation(RunInputs& in) {
  for (const auto& [name, value] : unusual_generation(in.config.generation).members) {
    refuse_given(in.config, "generation." + name,
                 "found " +
                     (value.kind == Node::Kind::kScalar ? value.scalar : to_json(value, -1)) +
                     ", and no evaluation of this run writes texts: that takes a task of kind "
                     "generation with a metric of "
                     "texts, and rows to evaluate on; leave it out");
  }
  in.config.generation = RunConfig{}.generation;
}

// The run's settings over those of the model's files.
void join_model_generation(RunInputs& in) {
  RunConfig& config = in.config;
  if (!config.uses_model_generation) return;
  Node own = unusual_generation(config.generation);
  const Node all = generation_node(config.generation);
  for (const std::string& key : config.given_generation) {
    if (const Node* value = all.find(key)) own[key] = *value;
  }
  const ModelGeneration model = read_model_generation(config.model, in.model->config);
  const JoinedGeneration joined =
      join_generation(own, model.settings, "generation.*", model.source);
  config.generation = joined.options;
  in.generation_note = model.note(joined.from_model);
}

// Texts are written at an evaluation, hours after the start: what cannot be is refused now.
void check_generation_settings(const RowLayout& layout, RunInputs& in) {
  const std::vector<const Dataset*> written = written_after(in);
  if (written.empty()) return refuse_generation(in);
  join_model_generation(in);
  const GenerateOptions& own = in.config.generation;
  for (const Dataset* prompts : written) {
    const int64_t room = room_for_texts(in.model->config, layout, prompts->sequences);
    with_context("checking the settings generation.*", [&] {
      check_generation(own, in.model->config);
      for (size_t i = 0; i < prompts->sequences.size(); ++i)
        limit_of(in.model->config, layout, prompts->sequences[i], own,
                 prompts->examples[i].where());
    });
    if (own.max_total_tokens > 0 || own.max_new_tokens <= std::max<int64_t>(room, 1)) continue;
    throw InputError("generation.max_new_tokens: found " + std::to_string(own.max_new_tokens) +
                     ", and of the " + std::to_string(in.model->config.max_positions) +
                     " positions of this model the longest prompt leaves room for at most " +
                     std::to_string(std::max<int64_t>(room, 1)) +
                     "; give fewer, or a shorter max_length");
  }
}

// Of rows only those can be recorded that are evaluated, and of those no options of a choice.
void check_recorded_rows(const RunInputs& in) {
  const RecordConfig& record = in.config.record;
  const auto refuse = [&](const char* key, const std::string& reason) {
    refuse_given(in.config, std::string("record.") + key,
                 "found true, and " + reason + ", or leave it out");
  };
  const auto check = [&](const char* key, bool has_rows, bool has_kept) {
    if (!has_rows)
      refuse(key,
             "there are no rows to evaluate on; give " + option_name("eval") + " or data.held_out");
    else if (!has_kept)
      refuse(key, "task " + quote(in.task.name) +
                      " is a choice, whose options share a prompt: nothing is kept of its rows; "
                      "take a task of kind generation");
  };
  const auto is_kept = [](const Task& task) { return task.kind() != TaskKind::kChoice; };
  const bool keeps_task = std::any_of(in.eval_tasks.begin(), in.eval_tasks.end(),
                                      [&](const EvalTaskData& each) { return is_kept(each.task); });
  const bool has_own = in.eval || in.test;
  for (const auto& [key, is_asked] :
       {std::pair{"rows", record.rows}, std::pair{"tokens", record.tokens},
        std::pair{"changes", record.changes}}) {
    if (is_asked)
      check(key, has_own || !in.eval_tasks.empty(), (has_own && is_kept(in.task)) || keeps_task);
  }
  if (record.experts) check("experts", in.eval || !in.eval_tasks.empty(), /*has_kept=*/true);
}

}  // namespace

void check_effects(const RowLayout& layout, RunInputs& in) {
  RunConfig& config = in.config;
  if (config.early_stop > 0 && !in.eval && in.eval_tasks.empty()) {
    refuse_given(config, "early_stop",
                 "found " + std::to_string(config.early_stop) +
                     " evaluations, and there are no rows to evaluate on; give " +
                     option_name("eval") +
                     " or "
                     "data.held_out, or leave early_stop out");
    config.early_stop = 0;
  }
  if (config.objective.averages_rows && !in.task.is_answered_in_words()) {
    refuse_given(
        config, "loss_unit",
        "found row, which is of texts, and task " + quote(in.task.name) +
            " is answered by labels or numbers, where rows always count alike; leave it out");
    config.objective.averages_rows = false;
  }
  refuse_idle_settings(in);
  check_recorded_rows(in);
  check_generation_settings(layout, in);
  if (config.warmup.steps == 0) return;
  if (const int64_t steps = epochs_of(in).total_steps(); config.warmup.steps > steps) {
    throw InputError("warmup: found " + std::to_string(config.warmup.steps) +
                     " steps, and the run has " + std::to_string(steps) +
                     ", so that it never comes to its learning rate; give fewer, or a share of "
                     "them such as 0.06");
  }
}

}  // namespace graft
